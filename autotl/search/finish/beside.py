"""What one domain alone gives: shown next to every model that learnt from two."""

from typing import Any

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession
from autotl.registry import get_registry
from autotl.search.budget import Budget, OutOfTime
from autotl.search.finish.forgetting import forgetting
from autotl.search.finish.refit import REPORT_SECONDS, Refitted
from autotl.search.floor.measurement import class_weights
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.evaluate import Evaluation
from autotl.search.study.guessing import Guesses
from autotl.specs import AdaptationSpec

SOURCE_ONLY, TARGET_ONLY = "source_only", "linear_probe"
_SHARE, _SECONDS = 0.05, 10.0  # of the budget; at most
_NAMES = {SOURCE_ONLY: "source only", TARGET_ONLY: "target only"}


def beside(task: Task, session: BackboneSession, seed: int) -> list[dict[str, Any]]:
    """Return how a probe of the source alone does, and one of the target's labels alone.

    Both are fitted on the training part, on the finalist's backbone as it was pretrained; the
    strength is chosen on validation.

    Args:
        task: A task with sources that share its classes, or an unsupervised one.
        session: The finalist's backbone.
        seed: Of the fits.
    """
    wanted = [SOURCE_ONLY] if task.unsupervised else [SOURCE_ONLY, TARGET_ONLY]
    catalog = get_registry().adaptations
    return [_row(catalog.get(name), task, session, seed) for name in wanted if name in catalog]


def beside_seconds(task: Task, budget: Budget) -> float:
    """Return the seconds to keep for it."""
    return min(_SHARE * budget.seconds, _SECONDS) if task.unsupervised or task.sources else 0.0


def _row(spec: AdaptationSpec, task: Task, session: BackboneSession, seed: int) -> dict[str, Any]:
    candidate = Candidate(
        backbone=session.spec.name, adaptation=spec.name, params=dict(spec.defaults)
    )
    outcome = Outcome(trial=0, candidate=candidate, state="running")
    guesses = Guesses(task, seed) if task.unsupervised else None
    Evaluation(outcome, spec, session, task, class_weights(task), seed, guesses=guesses).run(
        spec.max_steps(candidate.params), lambda _seconds: None
    )
    row: dict[str, Any] = {
        "name": _NAMES[spec.name],
        "adaptation": spec.name,
        "backbone": candidate.backbone,
        "validation": outcome.value,
        "holdout": None,
        "guesses": outcome.guesses,
    }
    if outcome.saved is not None:
        rows = task.split.holdout
        proba = spec.restore(outcome.saved).predict_proba(session.inputs(rows))
        row["holdout"] = float(task.metric(task.y[rows], proba))
    return row


def other_data(
    task: Task,
    fitted: Refitted | None,
    budget: Budget,
    seed: int,
    notes: list[str],
) -> dict[str, Any] | None:
    """Return what `result.json` tells of samples beside the labelled ones; None without any.

    Args:
        task: The task.
        fitted: The finalist; None leaves out what needs one.
        budget: The clock; what no time is left for is left out.
        seed: Of fits.
        notes: Told of what could not be measured.
    """
    if not (len(task.split.unlabeled) or task.sources):
        return None
    found: dict[str, Any] = {
        "unsupervised": task.unsupervised,
        "n_unlabeled": len(task.split.unlabeled),
        "sources": [
            {
                "name": s.name, "n_samples": len(s.rows), "n_classes": len(s.classes),
                "n_shared": int(np.count_nonzero(s.codes >= 0)), "weight": s.weight,
            }
            for s in task.sources
        ],
        "beside": [],
        "forgetting": None,
    }  # fmt: skip
    if fitted is None:
        return found
    contender = fitted.contender
    try:
        with budget.stage(budget.seconds - REPORT_SECONDS):
            if task.unsupervised or any(
                len(source.shared) and source.weight > 0 for source in task.sources
            ):
                found["beside"] = beside(task, contender.session, seed)
            predictor = contender.spec.restore(fitted.saved)
            found["forgetting"] = forgetting(task, contender.session, predictor)
    except (OutOfTime, KeyboardInterrupt):
        notes.append("No time was left to measure what one domain alone gives.")
    except Exception as error:  # noqa: BLE001  # backbones and methods are plugin code
        notes.append(
            f"What one domain alone gives could not be measured ({type(error).__name__}: {error})."
        )
    return found
