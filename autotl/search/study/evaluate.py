"""Run one candidate over the task's folds, one step at a time."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np

from autotl.data import Source, Task
from autotl.features import BackboneSession, freeze_depth
from autotl.search.budget import OutOfTime
from autotl.search.floor.measurement import validation_labels
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.guessing import Guesses
from autotl.search.validators import choice_score
from autotl.specs import AdaptationSpec, AdaptationTask, SavedState, SourceData, Step

_LEAST_PATIENCE = 3
Signal = tuple[str, str]
"""A state to end in, "pruned" or "paused", and why."""
StepReport = Callable[[float], Signal | None]
"""Takes the seconds of the step that was just taken, and says whether and why to end."""


def adaptation_task(  # noqa: PLR0913  # what one fit is made of
    candidate: Candidate,
    spec: AdaptationSpec,
    session: BackboneSession,
    task: Task,
    rows: np.ndarray,
    *,
    depth: int,
    n_steps: int,
    weights: np.ndarray | None,
    seed: int,
) -> AdaptationTask:
    """Return a candidate's fit on some rows as its method sees it.

    Of an unsupervised task, `rows` are a source's: a method for two domains gets them as such,
    and any other learns from them as if they were the user's.
    """
    blank = task.split.unlabeled
    one = AdaptationTask(
        train=session.inputs(rows),
        y=task.y[rows],
        n_classes=len(task.classes),
        freeze_depth=depth,
        n_steps=n_steps,
        params=candidate.params,
        class_weights=weights,
        device=session.device,
        seed=seed,
        unlabeled=session.inputs(blank) if len(blank) else None,
        sources=tuple(_source_data(s, session) for s in task.sources if s.weight > 0),
    )
    if not (task.unsupervised and "source" in spec.needs):
        return one
    source = SourceData(
        name="source", inputs=one.train, y=one.y, n_classes=one.n_classes,
        shared=one.train, shared_y=one.y,
    )  # fmt: skip
    return replace(
        one, train=session.inputs(blank), y=np.full(len(blank), -1), unlabeled=None,
        sources=(source,),
    )  # fmt: skip


def _source_data(source: Source, session: BackboneSession) -> SourceData:
    shared, learnt = source.shared, source.learnt
    return SourceData(
        name=source.name,
        inputs=session.inputs(source.rows[learnt]),
        y=source.y[learnt],
        n_classes=len(source.classes),
        shared=session.inputs(source.rows[shared]) if len(shared) else None,
        shared_y=source.codes[shared],
        weight=source.weight,
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
        guesses: Scores of an unsupervised task, in place of the metric.
    """

    def __init__(  # noqa: PLR0913  # what one trial is made of
        self,
        outcome: Outcome,
        spec: AdaptationSpec,
        session: BackboneSession,
        task: Task,
        weights: np.ndarray | None,
        seed: int,
        *,
        timed: bool = True,
        guesses: Guesses | None = None,
    ) -> None:
        self._guesses = guesses
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
                    outcome.candidate, self.spec, self.session, self.task, fold.train,
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
            self._record(index, np.concatenate(probas), [s for s in steps if s is not None])
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

    def _record(self, index: int, proba: np.ndarray, steps: Sequence[Step]) -> None:
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
        guesses: dict[str, float] = {}
        if self._guesses is not None:
            guesses = self._guesses.scores(self.session, [s.predictor for s in steps], proba)
            value = choice_score(guesses)
        own = proba[np.arange(len(proba)), self._truth]
        log_loss = float(-np.log(np.clip(own, 1e-12, None)).mean())
        outcome.history.append(value)
        if outcome.value is None or (value, -log_loss) > (outcome.value, -outcome.log_loss):
            outcome.value, outcome.log_loss, outcome.steps = value, log_loss, index
            outcome.proba = proba
            outcome.guesses = guesses
            outcome.saved = steps[0].predictor.save()
            outcome.predictor_kept = False
