"""What a look at some samples has shown of one backbone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from autotl.features import (
    BackboneSession,
    Stopped,
    decompose,
    layer_average,
    norm_moments,
    source_probs,
)
from autotl.specs import BackboneSpec, LayerStatistics, ScoreInput, ScoreSpec, SimilaritySpec

__all__ = [
    "LAYERS",
    "Evidence",
    "SourceTraces",
    "Target",
    "attempt",
    "compute_layer_scores",
    "compute_scores",
    "find_traces",
    "known",
    "logit",
]

LAYERS = "_layers"  # ends the name of a score of the average over a text encoder's layers
_NORM_ROWS = 32  # samples behind the moments at batch norms; each has many positions


@dataclass(frozen=True, kw_only=True)
class Target:
    """The labelled samples that a look may fall on.

    Args:
        y: Class codes of all samples of the task.
        n_train: Samples that a model could be fitted on.
        n_classes: Classes of the task.
        prior: Share of each class among them, of shape (n_classes,).
    """

    y: np.ndarray
    n_train: int
    n_classes: int
    prior: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SourceTraces:
    """What passes of their own showed on the first rung, kept for the later ones.

    Args:
        rows: Samples behind `probs`.
        probs: Probabilities over the source classes of shape (len(rows), n_source_classes).
        remembered: Running statistics of the batch norms, by name.
        met: Moments of what the samples bring to them.
    """

    rows: np.ndarray
    probs: np.ndarray | None
    remembered: Mapping[str, LayerStatistics]
    met: Mapping[str, LayerStatistics]


def find_traces(
    session: BackboneSession,
    rows: np.ndarray,
    scores: Sequence[ScoreSpec],
    similarities: Sequence[SimilaritySpec],
) -> SourceTraces:
    """Run the passes that scores and measures need besides the embeddings."""
    probs: np.ndarray | None = None
    if any("source_probs" in spec.needs for spec in scores):
        probs = source_probs(session, rows)
    remembered: Mapping[str, LayerStatistics] = {}
    met: Mapping[str, LayerStatistics] = {}
    if any(spec.needs == "layers" for spec in similarities):
        remembered, met = norm_moments(session, rows[:_NORM_ROWS])
    return SourceTraces(rows=rows, probs=probs, remembered=remembered, met=met)


@dataclass(kw_only=True)
class Evidence:
    """What is known of one backbone on one task.

    Args:
        spec: The backbone.
        target: The task.
        n_samples: Samples looked at.
        seconds_per_sample: To preprocess and embed one sample on this machine.
        scores: By name; those of the average over a text encoder's layers end in "_layers".
        similarity: By name of the measure.
        failed: Reason by name of a score or measure that could not be computed.
    """

    spec: BackboneSpec
    target: Target
    n_samples: int
    seconds_per_sample: float
    scores: dict[str, float] = field(default_factory=dict)
    similarity: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def compute_scores(
    evidence: Evidence,
    session: BackboneSession,
    rows: np.ndarray,
    specs: Sequence[ScoreSpec],
    traces: SourceTraces,
    seed: int,
) -> None:
    """Add the scores of a backbone on some rows; one that fails leaves its reason."""
    y, plain = evidence.target.y, [s for s in specs if "source_probs" not in s.needs]
    embedded = ScoreInput(
        features=session.embed(rows),
        y=y[rows],
        decomposition=lambda: session.decomposition(rows),
        seed=seed,
    )
    for spec in plain:
        attempt(evidence, spec.name, partial(spec.compute, embedded), evidence.scores)
    if traces.probs is not None:
        first = ScoreInput(
            features=session.embed(traces.rows),
            y=y[traces.rows],
            source_probs=traces.probs,
            decomposition=lambda: session.decomposition(traces.rows),
            seed=seed,
        )
        for spec in specs:
            if "source_probs" in spec.needs:
                attempt(evidence, spec.name, partial(spec.compute, first), evidence.scores)


def compute_layer_scores(
    evidence: Evidence,
    session: BackboneSession,
    rows: np.ndarray,
    specs: Sequence[ScoreSpec],
    seed: int,
) -> None:
    """Add the scores of the average over a text encoder's layers, where it has layers."""
    averaged = layer_average(session, rows)
    if averaged is None:
        return
    shared = decompose(averaged)
    given = ScoreInput(
        features=averaged, y=evidence.target.y[rows], decomposition=lambda: shared, seed=seed
    )
    for spec in specs:
        if "source_probs" not in spec.needs:
            attempt(evidence, spec.name + LAYERS, partial(spec.compute, given), evidence.scores)


def attempt(
    evidence: Evidence, name: str, compute: Callable[[], float], into: dict[str, float]
) -> None:
    """Keep one finite value, or the reason why there is none."""
    try:
        with threadpool_limits(1, user_api="blas"):  # threads wait for each other on small data
            value = float(compute())
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  # scores and measures are plugin code
        evidence.failed[name] = f"{type(error).__name__}: {error}"
        return
    if np.isfinite(value):
        into[name] = value
        evidence.failed.pop(name, None)
    else:
        evidence.failed[name] = f"its value is {value}"


def logit(share: float, n: int) -> float:
    """Return the log-odds of a share of n samples, half a sample away from 0 and 1."""
    p = min(max(share, 0.5 / n), 1 - 0.5 / n)
    return float(np.log(p / (1 - p)))


def known(values: Mapping[str, float], name: str) -> float:
    """Return a value, or NaN where it is missing."""
    return values.get(name, float("nan"))
