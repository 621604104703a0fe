"""The record of a finished search that later ones learn from."""

import time
from collections.abc import Sequence

from autotl import __version__
from autotl.data import Task
from autotl.experience import CurvePoint, DataFingerprint, RunRecord, TrialRecord
from autotl.search.finish.finish import Finish
from autotl.search.study.candidate import Outcome


def run_record(
    task: Task,
    fingerprint: DataFingerprint,
    outcomes: Sequence[Outcome],
    *,
    floor: float | None,
    finish: Finish,
    device: str,
) -> RunRecord:
    """Return what a search leaves: numbers of the data, what was tried, and what came of it.

    Args:
        task: The task.
        fingerprint: Of its data.
        outcomes: What the trials have shown.
        floor: The floor's validation value.
        finish: What came of it.
        device: Where it ran.
    """
    n_samples = sum(len(f.train) + len(f.validation) for f in task.split.folds)
    return RunRecord(
        finished_at=time.time(),
        version=__version__,
        device=device.partition(":")[0],
        fingerprint=fingerprint,
        trials=tuple(_trial(o, n_samples) for o in outcomes if o.ran),
        floor=floor,
        gap=finish.gap.value if finish.gap is not None else None,
        verdict=finish.verdict,
    )


def _trial(outcome: Outcome, n_samples: int) -> TrialRecord:
    candidate = outcome.candidate
    points = zip(outcome.history, outcome.costs, strict=False)  # a step may have ended without
    return TrialRecord(
        backbone=candidate.backbone,
        adaptation=candidate.adaptation,
        params=dict(candidate.params),
        state="pruned" if outcome.open else outcome.state,
        value=outcome.value,
        curve=tuple(
            CurvePoint(step, value, seconds) for step, (value, seconds) in enumerate(points, 1)
        ),
        steps=len(outcome.history),
        seconds=max(0.0, outcome.seconds - outcome.embed_seconds),
        n_samples=n_samples,
    )
