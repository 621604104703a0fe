"""Fit the finalist, and what joins it in an ensemble, on train and validation together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autotl.data import Task
from autotl.search.budget import Budget, OutOfTime
from autotl.search.finish.again import Contender, fit_again, fit_seconds, holdout_seconds
from autotl.search.finish.contest import Standing
from autotl.search.finish.ensemble import Ensemble
from autotl.search.finish.soup import Soup, stir
from autotl.search.progress import Progress
from autotl.specs import SavedState

REPORT_SECONDS = 1.5
_NO_REFIT = (
    "No time was left to refit on train and validation; the shipped model was fitted on the "
    "training part. A larger budget avoids this."
)
_ALONE = (
    "No time was left to fit the ensemble's members on train and validation, or one of them "
    "failed; the finalist is used alone."
)


@dataclass(kw_only=True)
class Refitted:
    """A finalist as it may be shipped.

    Args:
        contender: The finalist.
        saved: Its predictor.
        ensemble: What it is a member of; None when it stands alone.
        others: Predictors of the other members.
        soup: What its weights were averaged with, or might have been; None where none was better.
    """

    contender: Contender
    saved: SavedState
    ensemble: Ensemble | None = None
    others: list[SavedState] = field(default_factory=list)
    soup: Soup | None = None


class Refit:
    """Fit again on all that is not in the holdout.

    Args:
        task: The task.
        budget: The clock.
        progress: Where to say what is happening.
        seed: Of the fits.
        hurried: Whether the user waits for the end: an ensemble is then left out.
    """

    def __init__(
        self,
        task: Task,
        budget: Budget,
        progress: Progress,
        seed: int,
        hurried: Callable[[], bool],
    ) -> None:
        self.task, self.budget, self.progress = task, budget, progress
        self.seed, self.hurried = seed, hurried
        self.notes: list[str] = []

    def run(
        self,
        first: Contender,
        standing: Standing,
        blend: Ensemble | None,
        soup: Soup | None = None,
    ) -> Refitted | None:
        """Fit the finalist, else the best trial of the search, and then an ensemble's others.

        Args:
            first: The best trial of the search, whose predictor is at hand.
            standing: The finalist; becomes `first` where the finalist cannot be had.
            blend: The ensemble around the finalist, where one was built.
            soup: The average around the finalist's weights, where one was better.
        """
        finalist = standing.finalist
        saved = self._fit(finalist)
        if saved is None and finalist.outcome.trial != first.outcome.trial:
            self.notes.append(f"{finalist.name} could not be fitted again; {first.name} is taken.")
            standing.finalist = finalist = first
            saved, blend, soup = self._fit(first), None, None
        if saved is None:
            return None
        if blend is not None and blend.better:
            others = self._fit_others(blend.members[1:])
            if not others:
                self.notes.append(_ALONE)
            return Refitted(
                contender=finalist, saved=saved, ensemble=blend if others else None, others=others
            )
        if soup is not None:
            others = self._fit_others([contender for _, contender in soup.parts[1:]])
            if others:
                soup, saved = self._stir(soup, [saved, *others])
        return Refitted(contender=finalist, saved=saved, soup=soup)

    def _stir(self, soup: Soup, saved: list[SavedState]) -> tuple[Soup, SavedState]:
        """Average what was fitted again; where that fails, the finalist is used alone."""
        try:
            return stir(soup, saved, self.task)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # plugin code restores
            self.notes.append(f"Weights could not be averaged ({type(error).__name__}: {error}).")
            return soup, saved[0]

    def _fit_others(self, members: Sequence[Contender]) -> list[SavedState]:
        """Fit what joins the finalist; empty where one could not be."""
        found: list[SavedState] = []
        n_members = len(members)
        if sum(map(self._seconds, members)) > self.budget.left() - REPORT_SECONDS:
            members = []
        for member in members:
            saved = None if self.hurried() else self._fit(member, alone=False)
            if saved is None:
                break
            found.append(saved)
        return found if len(found) == n_members else []

    def _seconds(self, contender: Contender) -> float:
        n_samples = len(self.task.split.train_validation)
        return fit_seconds(contender.outcome, self.task, n_samples) + holdout_seconds(
            contender.outcome.tuned, contender.session, self.task
        )

    def _fit(self, contender: Contender, *, alone: bool = True) -> SavedState | None:
        """Fit one; where that fails, one that stands alone falls back on its first fold's fit."""
        outcome, rows = contender.outcome, self.task.split.train_validation
        fallback = outcome.saved if alone else None
        until = self.budget.seconds - REPORT_SECONDS
        until -= holdout_seconds(outcome.tuned, contender.session, self.task)
        if self.budget.elapsed() + 0.5 * fit_seconds(outcome, self.task, len(rows)) > until:
            self._note(_NO_REFIT, alone)
            return fallback
        resource = contender.spec.resource
        try:
            with self.budget.stage(until):
                predictor = fit_again(
                    contender,
                    self.task,
                    rows,
                    seed=self.seed * 10_007 + outcome.trial,
                    on_step=lambda i: self.progress.advance(f"{resource} {i}", i, outcome.steps),
                )
                return predictor.save()
        except (OutOfTime, KeyboardInterrupt):
            self._note(_NO_REFIT, alone)
        except Exception as error:  # noqa: BLE001  # a method is plugin code; its trial had worked
            self._note(
                f"Refitting failed ({type(error).__name__}: {error}); the shipped model is the "
                "one fitted on the training part.",
                alone,
            )
        return fallback

    def _note(self, text: str, alone: bool) -> None:
        if alone:
            self.notes.append(text)
