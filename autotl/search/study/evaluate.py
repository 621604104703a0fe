"""Run one candidate over the task's folds, one step at a time."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession, freeze_depth
from autotl.search.budget import OutOfTime
from autotl.search.floor.measurement import validation_labels
from autotl.search.study.candidate import Candidate, Outcome
from autotl.specs import AdaptationSpec, AdaptationTask, SavedState, Step

_LEAST_PATIENCE = 3
Signal = tuple[str, str]
"""A state to end in, "pruned" or "paused", and why."""
StepReport = Callable[[float], Signal | None]
"""Takes the seconds of the step that was just taken, and says whether and why to end."""


def adaptation_task(  # noqa: PLR0913  # what one fit is made of
    candidate: Candidate,
    session: BackboneSession,
    task: Task,
    rows: np.ndarray,
    *,
    depth: int,
    n_steps: int,
    weights: np.ndarray | None,
    seed: int,
) -> AdaptationTask:
    """Return a candidate's fit on some rows as its method sees it."""
    return AdaptationTask(
        train=session.inputs(rows),
        y=task.y[rows],
        n_classes=len(task.classes),
        freeze_depth=depth,
        n_steps=n_steps,
        params=candidate.params,
        class_weights=weights,
        device=session.device,
        seed=seed,
    )


class Evaluation:
    """One candidate on all folds in lock-step, its best step kept.

    Args:
        outcome: Filled in while the trial runs, so that an interrupt loses nothing.
        spec: The method.
        session: The backbone.
        task: The task.
        weights: Class weights, or None.
        seed: Of the trial.
        timed: Whether cost is counted in seconds rather than steps.
    """

    def __init__(
        self,
        outcome: Outcome,
        spec: AdaptationSpec,
        session: BackboneSession,
        task: Task,
        weights: np.ndarray | None,
        seed: int,
        *,
        timed: bool = True,
    ) -> None:
        self.outcome, self.spec, self.session, self.task = outcome, spec, session, task
        self.weights, self.seed, self.timed = weights, seed, timed
        self._truth = validation_labels(task)
        self.states: list[SavedState] = []

    def run(
        self, n_steps: int, report: StepReport, states: Sequence[SavedState] | None = None
    ) -> Outcome:
        """Advance all folds step by step until the plan, patience or `report` ends it.

        Args:
            n_steps: Steps that the schedule is laid out for.
            report: Called after each step.
            states: What each fold continues from, after a pause; `self.states` has them when
                the outcome's state is "paused".
        """
        outcome, folds = self.outcome, self.task.split.folds
        outcome.state = "running"
        started, embedding = time.perf_counter(), self.session.embed_seconds
        outcome.planned_steps, outcome.tuned = n_steps, self.spec.trains_backbone
        outcome.freeze_fraction = outcome.candidate.freeze_fraction(self.spec)
        depth = freeze_depth(outcome.freeze_fraction, self.session.n_groups)
        outcome.freeze_depth = depth
        with ExitStack() as stack:
            fits = []
            for k, fold in enumerate(folds):
                one = adaptation_task(
                    outcome.candidate, self.session, self.task, fold.train,
                    depth=depth, n_steps=n_steps, weights=self.weights, seed=self.seed,
                )  # fmt: skip
                fits.append(
                    stack.enter_context(
                        closing(self.spec.steps(one, states[k] if states else None))
                    )
                )
            try:
                self._advance(fits, n_steps, report)
            except OutOfTime:
                outcome.state = "complete" if outcome.value is not None else "pruned"
                outcome.reason = "the budget ended"
                outcome.unselected = False  # cut short: no measure of what trials gain
            finally:
                outcome.seconds += time.perf_counter() - started
                outcome.embed_seconds += self.session.embed_seconds - embedding
        return outcome

    def _advance(
        self, fits: list[Generator[Step, None, None]], n_steps: int, report: StepReport
    ) -> None:
        validation = [self.session.inputs(f.validation) for f in self.task.split.folds]
        for index in range(len(self.outcome.history) + 1, n_steps + 1):
            began, embedding = time.perf_counter(), self.session.embed_seconds
            steps = []
            for fit in fits:
                self.session.check()
                steps.append(next(fit, None))
            if any(step is None for step in steps):
                self._end("complete", f"the method ended after {index - 1} steps")
                return
            probas = [
                step.predictor.predict_proba(inputs)
                for step, inputs in zip(steps, validation, strict=True)
                if step is not None
            ]
            self._record(index, np.concatenate(probas), steps[0])
            computing = self.session.embed_seconds - embedding  # paid once, not in each epoch
            seconds = time.perf_counter() - began - computing
            before = self.outcome.costs[-1] if self.outcome.costs else 0.0
            self.outcome.costs.append(before + seconds if self.timed else float(index))
            signal = report(seconds)
            if signal is not None:
                self._end(*signal)
                if signal[0] == "paused":
                    self.states = [step.state() for step in steps if step is not None]
                return
            since_best = index - self.outcome.steps
            if since_best >= max(_LEAST_PATIENCE, n_steps // 4):
                self._end("complete", f"no gain in {since_best} {self.spec.resource} steps")
                return
        self._end("complete", f"all {n_steps} {self.spec.resource} steps done")

    def _end(self, state: str, reason: str) -> None:
        self.outcome.state, self.outcome.reason = state, reason

    def _record(self, index: int, proba: np.ndarray, first: Step | None) -> None:
        """Score a step and keep it when it is the best so far."""
        outcome = self.outcome
        if not np.isfinite(proba).all():
            raise FloatingPointError(
                f"{outcome.candidate.adaptation!r} on {outcome.candidate.backbone!r} predicted "
                "NaN or infinity; its learning rate is probably too high."
            )
        value = float(self.task.metric(self._truth, proba))
        if not np.isfinite(value):
            raise FloatingPointError(
                f"{self.task.metric.name!r} is {value!r} on the validation samples; it may need "
                "every class among them. Choose another metric."
            )
        own = proba[np.arange(len(proba)), self._truth]
        log_loss = float(-np.log(np.clip(own, 1e-12, None)).mean())
        outcome.history.append(value)
        if outcome.value is None or (value, -log_loss) > (outcome.value, -outcome.log_loss):
            outcome.value, outcome.log_loss, outcome.steps = value, log_loss, index
            outcome.proba = proba
            outcome.saved = first.predictor.save() if first is not None else None
            outcome.predictor_kept = False
