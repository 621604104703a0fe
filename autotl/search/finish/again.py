"""Fit a candidate again, on other rows than in its trial, for as many steps as were best there."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession
from autotl.search.floor.measurement import class_weights
from autotl.search.study.candidate import Outcome
from autotl.search.study.evaluate import adaptation_task
from autotl.specs import AdaptationSpec, Predictor

REFIT_MARGIN = 1.3  # on what a fit is expected to take


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A trial that may win, with what it takes to fit it again.

    Args:
        outcome: What it has shown.
        spec: Its method.
        session: Its backbone over the task's samples.
    """

    outcome: Outcome
    spec: AdaptationSpec
    session: BackboneSession

    @property
    def family(self) -> tuple[str, str]:
        """Its backbone and its method: trials that share them are variants of one another."""
        candidate = self.outcome.candidate
        return candidate.backbone, candidate.adaptation

    @property
    def name(self) -> str:
        """Name it in a message."""
        backbone, adaptation = self.family
        return f"{adaptation!r} on {backbone!r}"


def contenders(
    outcomes: Sequence[Outcome],
    methods: Mapping[str, AdaptationSpec],
    sessions: Mapping[str, BackboneSession],
) -> list[Contender]:
    """Return the trials that may win, with what it takes to fit them again."""
    return [
        Contender(outcome=o, spec=methods[name], session=sessions[o.candidate.backbone])
        for o in outcomes
        if o.state == "complete" and o.proba is not None
        if (name := o.candidate.adaptation) in methods and o.candidate.backbone in sessions
    ]


def fit_again(
    contender: Contender,
    task: Task,
    rows: np.ndarray,
    *,
    seed: int,
    on_step: Callable[[int], None] = lambda _index: None,
) -> Predictor:
    """Fit a contender on some rows.

    Args:
        contender: What to fit.
        task: The task.
        rows: To fit on.
        seed: Of the fit.
        on_step: Called with the number of each step.

    Raises:
        RuntimeError: Its method ended before its first step.
    """
    outcome = contender.outcome
    predictor: Predictor | None = None
    one = adaptation_task(
        outcome.candidate,
        contender.spec,
        contender.session,
        task,
        rows,
        depth=outcome.freeze_depth,
        n_steps=outcome.planned_steps,
        weights=class_weights(task),
        seed=seed,
    )
    with closing(contender.spec.steps(one, None)) as steps:
        for index, step in enumerate(steps, start=1):
            contender.session.check()
            on_step(index)
            predictor = step.predictor
            if index >= outcome.steps:
                break
    if predictor is None:
        raise RuntimeError(f"{contender.spec.name!r} ended before its first step.")
    return predictor


def fit_seconds(outcome: Outcome, task: Task, n_rows: int) -> float:
    """Return about how long `fit_again` takes on so many rows."""
    growth = n_rows / sum(len(fold.train) for fold in task.split.folds)
    done = outcome.steps / max(1, len(outcome.history))
    return (outcome.seconds - outcome.embed_seconds) * growth * done * REFIT_MARGIN


def holdout_seconds(tuned: bool, session: BackboneSession, task: Task) -> float:
    """Return about how long predicting the holdout takes, by a tuned network or a probe."""
    rows = task.split.holdout
    n_samples = len(rows) if tuned else session.missing(rows)
    return (session.seconds_per_sample or 0.0) * n_samples
