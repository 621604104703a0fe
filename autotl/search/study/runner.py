"""Run candidates: how long, on which session, from where they were paused."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from autotl.data import Task
from autotl.ranking import Screened
from autotl.search.budget import Budget, OutOfTime
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.evaluate import Evaluation, StepReport
from autotl.search.study.guessing import Guesses
from autotl.search.study.planner import Planner
from autotl.specs import AdaptationSpec, SavedState

_HELD_BYTES = 2**30  # of networks and prepared inputs between trials


class Runner(Protocol):
    """What a study needs to run trials."""

    def plan(self, candidate: Candidate, left: float, *, first: bool) -> tuple[int, str]:
        """Return the steps to lay a schedule out for, or 0 and why."""
        ...

    def run(
        self, outcome: Outcome, until: float, report: StepReport,
        states: Sequence[SavedState] | None = None,
    ) -> list[SavedState]:  # fmt: skip
        """Run an outcome's planned steps, or what is left of them after a pause.

        Returns:
            What each fold continues from where `report` paused it, else nothing.
        """
        ...

    def predict(self, outcome: Outcome, rows: np.ndarray) -> np.ndarray | None:
        """Return probabilities of some rows by the predictor that an outcome keeps."""
        ...


class CandidateRunner:
    """Fit candidates on a task's folds.

    Args:
        task: The task.
        screened: Usable backbones by name.
        adaptations: Methods by name.
        planner: Knows what fits.
        budget: The clock.
        weights: Class weights, or None.
        seed: Of the search.
    """

    def __init__(
        self,
        task: Task,
        screened: Mapping[str, Screened],
        adaptations: Mapping[str, AdaptationSpec],
        planner: Planner,
        budget: Budget,
        *,
        weights: np.ndarray | None,
        seed: int,
    ) -> None:
        self._task, self._screened, self._adaptations = task, screened, adaptations
        self._planner, self._budget = planner, budget
        self._weights, self._seed = weights, seed
        self._loaded: list[str] = []
        self._guesses = Guesses(task, seed) if task.unsupervised else None

    def plan(self, candidate: Candidate, left: float, *, first: bool) -> tuple[int, str]:
        """Return the steps to lay a schedule out for, or 0 and why."""
        spec = self._adaptations[candidate.adaptation]
        return self._planner.plan(spec, candidate, left, first=first)

    def run(
        self,
        outcome: Outcome,
        until: float,
        report: StepReport,
        states: Sequence[SavedState] | None = None,
    ) -> list[SavedState]:
        """Fit an outcome's candidate until `until` seconds after the start of the search."""
        candidate = outcome.candidate
        spec = self._adaptations[candidate.adaptation]
        session = self._screened[candidate.backbone].session
        evaluation = Evaluation(
            outcome, spec, session, self._task, self._weights,
            self._seed * 10_007 + outcome.trial, timed=self._budget.timed, guesses=self._guesses,
        )  # fmt: skip

        def learn(seconds: float) -> tuple[str, str] | None:
            # The first step also copies and initialises.
            if spec.trains_backbone and (len(outcome.history) > 1 or outcome.planned_steps == 1):
                self._planner.learn_epoch(spec, candidate, seconds)
            return report(seconds)

        try:
            with self._budget.stage(until):
                evaluation.run(outcome.planned_steps, learn, states)
        except OutOfTime:
            outcome.state, outcome.reason = "pruned", "the budget ended"
        finally:
            self._release(candidate.backbone)
        if not spec.trains_backbone:
            self._planner.learn_probe(candidate, outcome.seconds - outcome.embed_seconds)
        return evaluation.states

    def predict(self, outcome: Outcome, rows: np.ndarray) -> np.ndarray | None:
        """Return probabilities of some rows; None where that fails or gives no numbers."""
        if outcome.saved is None:
            return None
        spec = self._adaptations[outcome.candidate.adaptation]
        session = self._screened[outcome.candidate.backbone].session
        try:
            proba = spec.restore(outcome.saved).predict_proba(session.inputs(rows))
        except Exception:  # noqa: BLE001  # methods and backbones are plugin code
            return None
        return proba if np.isfinite(proba).all() else None

    def _release(self, latest: str) -> None:
        """Drop the networks that were not used for longest, until the others are small enough."""
        if latest in self._loaded:
            self._loaded.remove(latest)
        self._loaded.append(latest)
        sessions = [self._screened[name].session for name in self._loaded]
        while len(sessions) > 1 and sum(s.held_bytes for s in sessions) > _HELD_BYTES:
            sessions.pop(0).release()
            self._loaded.pop(0)
