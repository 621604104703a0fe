"""Who ships: finalists on fresh splits, against floors that include their own make untrained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autotl.adapt.raw import LOGISTIC
from autotl.data import Task
from autotl.features import BackboneSession
from autotl.features.untrained import UntrainedFeatures, untrained
from autotl.search.budget import Budget, OutOfTime
from autotl.search.finish.again import REFIT_MARGIN, Contender, fit_seconds
from autotl.search.finish.finalists import (
    Rematch,
    ShippingRule,
    compare,
    finals_rows,
    select_finalists,
)
from autotl.search.finish.repeats import Lead, Repeats
from autotl.search.finish.scratch import Scratch
from autotl.search.floor.baselines import Baseline
from autotl.search.floor.measurement import (
    FLOOR_SHARE,
    NO_TIME,
    FloorMeasurement,
    validation_labels,
    validation_rows,
)
from autotl.search.progress import Progress
from autotl.search.study.candidate import Outcome

_KEPT_SHARE = 0.1  # of the budget at most, for comparing finalists
_KEPT_SPLITS = 2
_CAUTIOUS = 0.95
_NO_REMATCH = (
    "No time was left to fit the finalist again on fresh splits, so what is shipped was decided "
    "on the validation of the search, which flatters the best of many trials. A larger budget "
    "avoids this."
)


@dataclass(kw_only=True)
class Standing:
    """The finalist and how it stands against the floor.

    Args:
        task: The task.
        finalist: Who won.
        finalists: Who was compared.
        repeats: What they reached on fresh splits.
    """

    task: Task
    finalist: Contender
    finalists: list[Contender]
    repeats: Repeats
    _decided: tuple[Lead, float | None, str] | None = None

    def decide(self, floor: Baseline, rule: ShippingRule) -> tuple[bool, str]:
        """Return whether the finalist ships, and why not: on fresh splits, else on validation."""
        outcome = self.finalist.outcome
        lead, low = self.repeats.lead(outcome.trial), None
        value = outcome.value
        if self.task.unsupervised and outcome.proba is not None:  # its value is another measure
            value = float(self.task.metric(validation_labels(self.task), outcome.proba))
        if lead is None and floor.validation is not None and value is not None:
            lead = Lead(value=value, floor=floor.validation, standard_error=None, n_splits=0)
        if lead is None:  # nothing to compare with
            return outcome.trial not in rule.negative, "the guard has flagged it"
        low = lead.low(_CAUTIOUS)
        if low is None and outcome.proba is not None and floor.proba is not None:
            rows = validation_rows(self.task)
            low = compare(self.task, outcome.proba, floor.proba, rows, _CAUTIOUS).low
        ships, why = rule.decide(outcome.trial, lead, low)
        self._decided = (lead, low, why)
        return ships, why

    def to_dict(self, rule: ShippingRule) -> dict[str, Any]:
        """Return it as `result.json` lists it."""
        found: dict[str, Any] = {
            "finalists": finals_rows(self.finalists, self.finalist, self.repeats),
            "n_splits": len(self.repeats.folds),
            "margin": rule.margin,
            "cautious": rule.cautious,
        }
        if self._decided is not None:
            lead, low, why = self._decided
            found |= {
                "n_splits": lead.n_splits,
                "mean": lead.value,
                "floor": lead.floor,
                "difference": lead.difference,
                "standard_error": lead.standard_error,
                "low": low,
                "reason": why,
            }
        return found


class Contest:
    """Compare finalists with each other and with the floor.

    Args:
        task: The task.
        measurement: Fits the floor.
        baselines: The floor first; floors of the finalist's make join it.
        budget: The clock.
        progress: Where to say what is happening.
        seed: Of splits, fits and untrained weights.
        hurried: Whether the user waits for the end, so that no more is begun.
    """

    def __init__(
        self,
        task: Task,
        measurement: FloorMeasurement,
        baselines: list[Baseline],
        budget: Budget,
        progress: Progress,
        seed: int,
        hurried: Callable[[], bool],
    ) -> None:
        self.task, self.measurement, self.baselines = task, measurement, baselines
        self.budget, self.progress, self.seed, self.hurried = budget, progress, seed, hurried
        self.notes: list[str] = []

    def reserve(self, best: Outcome, session: BackboneSession) -> float:
        """Return the seconds to keep for it: two splits and one pass of the untrained network."""
        split = fit_seconds(best, self.task, len(self.task.split.folds[0].train))
        split += self.measurement.split_seconds(self.baselines[0])
        need = _KEPT_SPLITS * split + self._pass_seconds(session)
        return min(_KEPT_SHARE * self.budget.seconds, need)

    def run(
        self,
        first: Contender,
        contenders: Sequence[Contender],
        rule: ShippingRule,
        until_for: Callable[[Contender], float],
    ) -> Standing:
        """Find the finalist, measure floors of its make, and the floor on the same splits.

        Args:
            first: The best trial of the search.
            contenders: All that may win.
            rule: When the finalist is shipped.
            until_for: Returns the seconds after the start when all must have ended if a contender
                is to be refitted then.
        """
        finalists = select_finalists(first, contenders, self.task, rule.negative)
        standing = Standing(
            task=self.task, finalist=finalists[0], finalists=finalists, repeats=Repeats()
        )
        if self.hurried():
            return standing
        self.progress.stage("Finalists", "on fresh splits")
        rematch = Rematch(
            self.task, self.measurement, self.budget, self.progress, self.seed, self.hurried
        )
        standing.repeats = rematch.run(finalists, self.baselines[0], until_for)
        standing.finalist = rematch.winner(finalists, standing.repeats)
        until = until_for(standing.finalist)
        try:
            self._same_make(standing.finalist, until, standing.repeats)
        except KeyboardInterrupt:
            return standing
        rematch.measure_floor(standing.repeats, self.baselines[0], until)
        self.notes += rematch.notes
        if not len(standing.repeats.floor):
            self.notes.append(_NO_REMATCH)
        return standing

    def _same_make(self, finalist: Contender, until: float, repeats: Repeats) -> None:
        """Measure the finalist's network without its pretraining: frozen, and from scratch."""
        if self.hurried():
            return
        session = finalist.session
        # What the floor takes on the finalists' splits comes after and must still fit.
        until -= len(repeats.folds) * self.measurement.split_seconds(self.baselines[0])
        until = min(until, self.budget.elapsed() + FLOOR_SHARE * self.budget.seconds)
        twin = BackboneSession(
            untrained(session.spec, self.seed),
            self.task.samples,
            self.task.modality,
            device=session.device,
            check=self._check,
        )
        features = UntrainedFeatures(
            session.spec,
            self.task.modality,
            device=session.device,
            seed=self.seed,
            session=twin,
        )
        frozen = Baseline(feature=features.spec(), classifier=LOGISTIC)
        self._admit(frozen, self._pass_seconds(session), until)
        # A number of trials sets no time aside for training that may outlast all of them.
        if self.budget.timed and finalist.outcome.tuned:
            self._from_scratch(finalist, until)

    def _check(self) -> None:
        self.budget.check()
        if self.hurried():
            raise OutOfTime

    def _from_scratch(self, finalist: Contender, until: float) -> None:
        if finalist.spec.from_scratch is None:
            return
        folds = self.task.split.folds
        n_fits = len(folds) if len(folds) > 1 else 4  # to choose, validate and fit for good
        seconds = n_fits * fit_seconds(finalist.outcome, self.task, len(folds[0].train))
        scratch = Scratch(finalist, self.task, seed=self.seed)
        self._admit(Baseline(network=scratch), seconds, until)
        scratch.release()

    def _admit(self, baseline: Baseline, seconds: float, until: float) -> None:
        if self.budget.elapsed() + seconds > until:
            baseline.state, baseline.reason = "skipped", NO_TIME
            self.baselines.append(baseline)
            return
        self.progress.advance(baseline.name)
        self.measurement.admit(baseline, self.baselines, until)

    def _pass_seconds(self, session: BackboneSession) -> float:
        """Return about how long embedding all samples takes."""
        per_sample = session.seconds_per_sample or 0.0
        if math.isinf(self.budget.seconds):
            return 0.0
        split = self.task.split
        n_samples = len(split.train_validation) + len(split.holdout)
        return per_sample * n_samples * REFIT_MARGIN
