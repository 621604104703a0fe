"""Fit the best few again on fresh splits: of many trials the luckiest leads, not the best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.data import Fold, Task
from autotl.result.intervals import QUICK_REPETITIONS, Gap, paired_gap
from autotl.search.budget import Budget, OutOfTime
from autotl.search.finish.again import Contender, fit_again, fit_seconds
from autotl.search.finish.repeats import Lead, Repeats, fresh_splits
from autotl.search.floor.baselines import Baseline
from autotl.search.floor.measurement import FloorMeasurement, validation_rows
from autotl.search.progress import Progress

TWO_STANDARD_ERRORS = 0.954  # two-sided level of such an interval
MOST_FINALISTS = 4
_MOST_SPLITS = {False: 5, True: 3}  # by whether a finalist trains its backbone
_LEAST_SPLITS = 2  # that a finalist beside the best is worth


@dataclass(frozen=True, kw_only=True)
class ShippingRule:
    """When the finalist is shipped rather than the floor.

    Args:
        margin: What its mean must exceed the floor's by.
        cautious: Ask this of the lower end of its lead in place of the mean.
        negative: Trials that the guard has flagged; none of them is shipped.
    """

    margin: float = 0.0
    cautious: bool = False
    negative: frozenset[int] = frozenset()

    def decide(self, trial: int, lead: Lead, low: float | None) -> tuple[bool, str]:
        """Return whether a finalist is shipped, and why not in words.

        Args:
            trial: The finalist.
            lead: It against the floor.
            low: Lower end of its lead where the splits are too few to tell one.
        """
        if trial in self.negative:
            return False, "the guard has flagged it as worse than the floor"
        if not self.cautious:
            beaten = lead.difference > self.margin
            return beaten, "" if beaten else "it does not beat the floor"
        bound = lead.low()
        bound = low if bound is None else bound
        beaten = bound is not None and bound > self.margin
        return beaten, "" if beaten else "its lead over the floor may be chance"


def compare(
    task: Task, one: np.ndarray, other: np.ndarray, rows: np.ndarray, confidence: float
) -> Gap:
    """Return the paired interval of one predictor's lead over another on some rows."""
    return paired_gap(
        task.metric.kind,
        task.metric,
        task.y[rows],
        one,
        other,
        groups=task.groups[rows],
        confidence=confidence,
        repetitions=QUICK_REPETITIONS,
    )


def select_finalists(
    best: Contender, contenders: Sequence[Contender], task: Task, negative: frozenset[int]
) -> list[Contender]:
    """Return the best and those that may be as good, one of each backbone and method.

    As good may be what lies within two standard errors of the highest validation.
    """
    able = [c for c in contenders if c.outcome.value is not None and c.outcome.proba is not None]
    able = [c for c in able if c.outcome.state == "complete" and c.outcome.trial not in negative]
    if not able or best.outcome.proba is None:
        return [best]
    able.sort(key=lambda c: (-(c.outcome.value or 0.0), c.outcome.log_loss))
    rows, top = validation_rows(task), able[0]
    chosen = [best] if best.outcome.trial not in negative else []
    for contender in able:
        if len(chosen) == MOST_FINALISTS:
            break
        if any(contender.family == c.family for c in chosen):
            continue
        proba, top_proba = contender.outcome.proba, top.outcome.proba
        if proba is None or top_proba is None:
            continue
        if compare(task, top_proba, proba, rows, TWO_STANDARD_ERRORS).low <= 0:
            chosen.append(contender)
    return chosen or [best]


class Rematch:
    """Measure finalists and the floor on the same fresh splits, as far as time allows.

    Args:
        task: The task.
        measurement: Fits the floor.
        budget: The clock.
        progress: Where to say what is happening.
        seed: Of splits and fits.
        hurried: Whether the user waits for the end, so that no more is begun.
    """

    def __init__(
        self,
        task: Task,
        measurement: FloorMeasurement,
        budget: Budget,
        progress: Progress,
        seed: int,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self.task, self.measurement, self.budget = task, measurement, budget
        self.progress, self.seed, self.hurried = progress, seed, hurried
        self.notes: list[str] = []

    def seconds(self, contender: Contender) -> float:
        """Return about how long one split takes."""
        return fit_seconds(contender.outcome, self.task, self._n_train)

    @property
    def _n_train(self) -> int:
        return len(self.task.split.folds[0].train)

    def run(
        self,
        finalists: Sequence[Contender],
        floor: Baseline,
        until_for: Callable[[Contender], float],
    ) -> Repeats:
        """Measure finalists split by split; the first is kept longest where time is short.

        Args:
            finalists: The best first.
            floor: Measured later on the same splits; its time is kept free.
            until_for: Returns the seconds after the start when both must have ended if a
                finalist is to be refitted then.
        """
        chosen, n_splits = self._plan(list(finalists), floor, until_for)
        repeats, until = Repeats(), min(map(until_for, chosen))
        until -= n_splits * self.measurement.split_seconds(floor)
        for index, fold in enumerate(fresh_splits(self.task, n_splits, self.seed)):
            if self.hurried():
                break
            self.progress.advance("finalists on fresh splits", index, n_splits)
            try:
                with self.budget.stage(until):
                    found = self._round(chosen, fold, index)
            except (OutOfTime, KeyboardInterrupt):
                break
            if not found:
                break
            repeats.folds.append(fold)
            for trial, proba in found.items():
                repeats.proba.setdefault(trial, []).append(proba)
        # Who failed on a later split is out on all of them.
        alive = {c.outcome.trial for c in chosen}
        repeats.proba = {t: p for t, p in repeats.proba.items() if t in alive}
        repeats.scores = {
            trial: np.array(
                [self._score(p, f) for p, f in zip(probas, repeats.folds, strict=True)]
            )
            for trial, probas in repeats.proba.items()
        }
        return repeats

    def _plan(
        self,
        finalists: list[Contender],
        floor: Baseline,
        until_for: Callable[[Contender], float],
    ) -> tuple[list[Contender], int]:
        """Return who takes part and on how many splits; the costliest are left out first."""
        elapsed, rows = self.budget.elapsed(), self.task.split.train_validation
        base = self.measurement.split_seconds(floor)

        def affordable() -> float:
            left = min(map(until_for, finalists)) - elapsed
            # Another process may have run the trials: what it embedded need not be at hand here.
            for session in {id(c.session): c.session for c in finalists}.values():
                left -= session.missing(rows) * (session.seconds_per_sample or 0.0)
            return left / max(base + sum(map(self.seconds, finalists)), 1e-9)

        while len(finalists) > 1 and affordable() < _LEAST_SPLITS:
            costliest = max(finalists[1:], key=self.seconds)
            finalists.remove(costliest)
            self.notes.append(
                f"No time was left to fit {costliest.name} again on fresh splits, so it could "
                "not become the finalist."
            )
        most = _MOST_SPLITS[any(c.outcome.tuned for c in finalists)]
        return finalists, max(0, int(min(most, affordable())))

    def _round(self, chosen: list[Contender], fold: Fold, index: int) -> dict[int, np.ndarray]:
        found = {}
        for contender in list(chosen):
            try:
                proba = self._proba(contender, fold, index)
            except OutOfTime:
                raise
            except Exception as error:  # noqa: BLE001  # methods and backbones are plugin code
                chosen.remove(contender)
                self.notes.append(
                    f"{contender.name} failed on a fresh split ({type(error).__name__}: {error}), "
                    "so it could not become the finalist."
                )
                continue
            found[contender.outcome.trial] = proba
        return found

    def _proba(self, contender: Contender, fold: Fold, index: int) -> np.ndarray:
        seed = self.seed * 10_007 + 1_000 * (index + 1) + contender.outcome.trial
        predictor = fit_again(
            contender, self.task, fold.train, seed=seed, on_step=self._stop_if_hurried
        )
        proba = predictor.predict_proba(contender.session.inputs(fold.validation))
        if not (np.isfinite(proba).all() and np.isfinite(self._score(proba, fold))):
            raise FloatingPointError("it predicted NaN or infinity")
        return proba

    def _stop_if_hurried(self, _index: int) -> None:
        if self.hurried():
            raise OutOfTime

    def measure_floor(self, repeats: Repeats, floor: Baseline, until: float) -> None:
        """Measure the floor on the splits of the finalists, in the same order."""
        scores: list[float] = []
        try:
            with self.budget.stage(until):
                for fold in repeats.folds:
                    scores.append(self._score(self.measurement.on_split(floor, fold), fold))
        except (OutOfTime, KeyboardInterrupt):
            pass
        except Exception as error:  # noqa: BLE001  # raw features are plugin code
            self.notes.append(
                f"The floor failed on a fresh split ({type(error).__name__}: {error})."
            )
        repeats.floor = np.array(scores)

    def _score(self, proba: np.ndarray, fold: Fold) -> float:
        return float(self.task.metric(self.task.y[fold.validation], proba))

    def winner(self, finalists: Sequence[Contender], repeats: Repeats) -> Contender:
        """Return the best on average over the fresh splits; of equals a probe, then the first."""
        known = [c for c in finalists if c.outcome.trial in repeats.scores]
        if not known:
            return finalists[0]

        def standing(contender: Contender) -> tuple[float, bool]:
            mean = float(repeats.scores[contender.outcome.trial].mean())
            return mean, not contender.outcome.tuned

        return max(known, key=standing)


def finals_rows(
    finalists: Sequence[Contender], winner: Contender | None, repeats: Repeats
) -> list[dict[str, Any]]:
    """Return the finalists as `result.json` lists them."""
    rows = []
    for contender in finalists:
        trial = contender.outcome.trial
        scores, lead = repeats.scores.get(trial), repeats.lead(trial)
        rows.append(
            {
                "trial": trial,
                "backbone": contender.family[0],
                "adaptation": contender.family[1],
                "validation": contender.outcome.value,
                "mean": None if scores is None else float(scores.mean()),
                "difference": lead.difference if lead else None,
                "standard_error": lead.standard_error if lead else None,
                "chosen": contender is winner,
            }
        )
    return rows
