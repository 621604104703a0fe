"""Hold trials against the floor: stop those that cannot reach it, flag those that fell below."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autotl.data import Task
from autotl.guard import (
    ALPHA,
    GainBound,
    Walk,
    certify,
    count_false_stops,
    detectable_gap,
    flag_negative,
    gain_bound,
    is_audited,
    plan_walk,
    residual_gains,
)
from autotl.search.study.candidate import Outcome

_BLOCK = 64  # guard samples that are predicted before the evidence is looked at again
Predict = Callable[[Outcome, np.ndarray], np.ndarray | None]


class FloorGuard:
    """Stop and flag what is worse than the floor.

    A trial that has ended is held against the floor on the guard's own samples, one after the
    other; under k-fold validation, where there are none, on the validation samples, and then
    nothing is stopped for it. A trial that runs is stopped when not even the largest gain to be
    expected takes it to the floor; a random few go on all the same and show how often that errs.

    Args:
        task: The task.
        floor: The floor's validation value; None where nothing was measured.
        floor_proba: Its probabilities of the guard's samples, or of the validation samples where
            the guard has none; None without a floor.
        predict: Returns an outcome's probabilities of some rows by the predictor it keeps.
        seed: Of the order of the guard's samples, and of audits.
        shipped: Gains still to come on other data sets, used while this search knows few.
    """

    def __init__(
        self,
        task: Task,
        floor: float | None,
        floor_proba: np.ndarray | None,
        predict: Predict,
        *,
        seed: int,
        shipped: np.ndarray | None = None,
    ) -> None:
        self._task, self._floor, self._predict = task, floor, predict
        self._seed, self._shipped = seed, shipped
        self.certifies = len(task.split.guard) > 0
        self._rows = task.split.guard if self.certifies else _validation_rows(task)
        self._walk = self._plan(floor_proba)
        self._learnt: tuple[list[tuple[int, float | None]], GainBound] | None = None
        self._asked: Sequence[Outcome] = ()
        self._n_asked = -1
        self._floor_right: np.ndarray | None = None
        if floor_proba is not None:
            self._floor_right = floor_proba.argmax(axis=1) == task.y[self._rows]

    @property
    def kind(self) -> str:
        """What the guard may say: "certificate", "advisory" or "none"."""
        if self._walk is None:
            return "none"
        return "certificate" if self.certifies else "advisory"

    def spares(self, trial: int) -> bool:
        """Say whether a trial is an audit: one that runs to its end whatever it shows."""
        return self._floor is not None and is_audited(trial, self._seed)

    def watch(self, outcome: Outcome, outcomes: Sequence[Outcome]) -> str:
        """Say why a trial that runs is to be stopped, or ""."""
        if self._floor is None or outcome.value is None or outcome.doubted:
            return ""
        bound = self._bound(outcomes)
        audited = is_audited(outcome.trial, self._seed)
        if bound.source != "none" and not audited:
            outcome.unselected = False
        fraction = len(outcome.history) / outcome.planned_steps
        if not bound.stops(outcome.value, fraction, self._floor):
            return ""
        outcome.doubted, outcome.audited = True, audited
        if audited:
            return ""
        return (
            f"{outcome.value:.3f} after {len(outcome.history)} of {outcome.planned_steps} steps: "
            f"a gain of {bound.at(fraction):.3f}, the most to be expected, does not reach the "
            f"floor's {self._floor:.3f}"
        )

    def judge(self, outcome: Outcome) -> None:
        """Weigh a trial that has ended against the floor."""
        if self._walk is None or self._floor_right is None:
            return
        if not self.certifies:
            if outcome.proba is not None:
                right = outcome.proba.argmax(axis=1) == self._task.y[self._rows]
                self._certify(outcome, right[self._walk.order])
            return
        right = np.zeros(0, bool)
        for block in self._walk.blocks(max(1, math.ceil(len(self._walk) / _BLOCK))):
            rows = self._rows[block.order]
            proba = self._predict(outcome, rows)
            if proba is None:
                return
            right = np.concatenate([right, proba.argmax(axis=1) == self._task.y[rows]])
            if self._certify(outcome, right):
                outcome.state = "pruned"
                outcome.reason = (
                    f"worse than the floor by the guard's samples, certain after {len(right)} "
                    f"(error rate {ALPHA:.2f})"
                )
                return

    def summary(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """Return what the guard did, and flag what is negative with a bounded rate of errors."""
        judged = [o for o in outcomes if o.log_e is not None]
        flagged = flag_negative(np.array([o.log_e for o in judged], float)).flagged
        stopped = [o for o in outcomes if o.doubted and not o.audited]
        audited = [
            (o.doubted, o.value)
            for o in outcomes
            if is_audited(o.trial, self._seed) and _ran_to_its_end(o) and o.value is not None
        ]
        floor = self._floor if self._floor is not None else -math.inf
        false_stops = count_false_stops(audited, floor)
        return {
            "kind": self.kind,
            "n_examples": len(self._rows) if self._walk is not None else 0,
            "alpha": ALPHA,
            "detectable_gap": self._detectable(judged),
            "n_judged": len(judged),
            "n_stopped": len(stopped),
            "n_audited": false_stops.n_audited,
            "n_doubted": false_stops.n_stoppable,
            "false_prunes": false_stops.n_false,
            "false_prune_limit": false_stops.high,
            "flags": [o.trial for o, flag in zip(judged, flagged, strict=True) if flag],
        }

    def _plan(self, floor_proba: np.ndarray | None) -> Walk | None:
        task, rows = self._task, self._rows
        if floor_proba is None:
            return None
        shares = np.bincount(task.y[task.split.selection], minlength=len(task.classes))
        groups = task.groups[rows]
        grouped = len(np.unique(groups)) < len(groups)
        return plan_walk(
            task.metric.kind,
            task.y[rows],
            class_shares=shares.astype(float),
            groups=groups if grouped else None,
            seed=self._seed,
        )

    def _certify(self, outcome: Outcome, right: np.ndarray) -> bool:
        """Keep the evidence against a trial; returns whether it is certainly worse."""
        if self._walk is None or self._floor_right is None:
            return False
        floor_right = self._floor_right[self._walk.order][: len(right)]
        found = certify(self._walk, right, floor_right)
        outcome.log_e = found.log_e_negative
        outcome.discordance = float(np.mean(right != floor_right))
        return found.finding == "negative"

    def _bound(self, outcomes: Sequence[Outcome]) -> GainBound:
        """Return the bound on gains, learnt from trials that it did not select."""
        # Asked after every step: while a trial runs, the list of trials stays the same.
        if self._learnt is not None and (
            outcomes is self._asked and len(outcomes) == self._n_asked
        ):
            return self._learnt[1]
        self._asked, self._n_asked = outcomes, len(outcomes)
        ended = [
            o for o in outcomes if _ran_to_its_end(o) and o.unselected and o.planned_steps > 1
        ]
        shown = [(o.trial, o.value) for o in ended]
        if self._learnt is None or self._learnt[0] != shown:
            curves = [residual_gains(o.history, o.planned_steps) for o in ended]
            self._learnt = shown, gain_bound(np.array(curves), shipped=self._shipped)
        return self._learnt[1]

    def _detectable(self, judged: Sequence[Outcome]) -> float | None:
        """Return the smallest gap that would mostly be found, at the discordance of the trials."""
        if self._walk is None or not judged:
            return None
        discordance = float(np.median([o.discordance for o in judged]))
        return detectable_gap(len(self._walk), discordance)


def _ran_to_its_end(outcome: Outcome) -> bool:
    """Say whether a tuned trial did all it would, also where the guard's samples then spoke."""
    ended = outcome.state == "complete" or (
        outcome.state == "pruned" and outcome.log_e is not None
    )
    return outcome.tuned and ended and outcome.value is not None


def _validation_rows(task: Task) -> np.ndarray:
    return np.concatenate([f.validation for f in task.split.folds])
