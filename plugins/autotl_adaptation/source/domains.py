"""Both domains on frozen features, and the probe that is solved on them once they are aligned."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from autotl.adapt import LinearHead, solve_logistic_panel
from autotl.specs import AdaptationTask, SavedState, SourceData, Step
from autotl_adaptation.supervised.linear_probe import INVERSE_STRENGTHS

_MOST_DIRECTIONS = (
    128  # of all features' variance; covariances of more are guessed from too little
)


@dataclass(frozen=True, kw_only=True)
class Domains:
    """Features of both domains in the leading directions of all of them.

    Args:
        source: Of the source, shape (n_source, n_directions).
        source_y: Codes among the task's classes, shape (n_source,).
        source_weights: Of the source's samples, mean 1, shape (n_source,).
        target: Of the target, shape (n_target, n_directions); the labelled samples come first.
        target_y: Codes of the labelled ones, shape (n_labelled,).
        mean: Of all features, shape (embed_dim,).
        scale: Of each feature, shape (embed_dim,), positive.
        basis: Directions, orthonormal, shape (embed_dim, n_directions).
    """

    source: np.ndarray
    source_y: np.ndarray
    source_weights: np.ndarray
    target: np.ndarray
    target_y: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    basis: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Features of the target samples that have labels."""
        return self.target[: len(self.target_y)]

    def head(self, weight: np.ndarray, bias: np.ndarray, shift: np.ndarray) -> LinearHead:
        """Return a head on embeddings from one on `target - shift`.

        Args:
            weight: Shape (n_classes, n_directions).
            bias: Shape (n_classes,).
            shift: Shape (n_directions,).
        """
        return LinearHead(
            weight=(weight @ self.basis.T).astype(np.float32),
            bias=(bias - weight @ shift).astype(np.float32),
            mean=self.mean,
            scale=self.scale,
        )


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """What a method makes of both domains.

    Args:
        source: The source's features where the target's are, shape (n_source, n_features).
        target: The labelled target samples' features, shape (n_labelled, n_features).
        weights: Of the source's samples, mean 1, shape (n_source,); None weighs all alike.
        into: Maps `Domains.target - shift` to the aligned space, shape (n_directions, n_features).
        shift: Taken off the target's features before that, shape (n_directions,).
    """

    source: np.ndarray
    target: np.ndarray
    weights: np.ndarray | None
    into: np.ndarray
    shift: np.ndarray


Align = Callable[[Domains], Aligned]


def unmoved(both: Domains, *, with_target: bool = True) -> Aligned:
    """Return both domains as they are, or the source's samples alone."""
    width = both.source.shape[1]
    return Aligned(
        source=both.source,
        target=both.labelled if with_target else both.labelled[:0],
        weights=None,
        into=np.eye(width, dtype=np.float32),
        shift=np.zeros(width, np.float32),
    )


def with_classes(task: AdaptationTask) -> list[SourceData]:
    """Return the sources that share classes with a task.

    Raises:
        ValueError: There are none.
    """
    found = [source for source in task.sources if source.shared is not None]
    if not found:
        raise ValueError(
            f"None of the {len(task.sources)} sources shares a class with the task; expected "
            "task.sources with at least one that does."
        )
    return found


def domains(task: AdaptationTask) -> Domains:
    """Return both domains of a task: all sources with its classes, and all target samples."""
    shared = with_classes(task)
    sources = [s.shared.features() for s in shared if s.shared is not None]
    labelled = task.train.features()
    others = [task.unlabeled.features()] if task.unlabeled is not None else []
    source, target = np.concatenate(sources), np.concatenate([labelled, *others])
    mean, scale, basis = _directions(source, target)
    weights = np.concatenate([np.full(len(s.shared_y), s.weight) for s in shared])
    return Domains(
        source=((source - mean) / scale) @ basis,
        source_y=np.concatenate([s.shared_y for s in shared]),
        source_weights=weights / weights.mean(),
        target=((target - mean) / scale) @ basis,
        target_y=task.y if task.labelled else task.y[:0],
        mean=mean,
        scale=scale,
        basis=basis,
    )


def _directions(
    source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, scale and leading directions of both domains, each counting alike."""
    means = [source.mean(axis=0), target.mean(axis=0)]
    mean = (means[0] + means[1]) / 2
    variance = (source.var(axis=0) + target.var(axis=0)) / 2
    scale = np.sqrt(variance)
    scale = np.maximum(scale, 0.05 * float(np.sqrt(variance.mean())) + 1e-8).astype(np.float32)
    rows = [((x - mean) / scale) / np.sqrt(len(x)) for x in (source, target)]
    stacked = np.concatenate(rows)
    wide = stacked.shape[0] < stacked.shape[1]
    gram = stacked @ stacked.T if wide else stacked.T @ stacked
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    keep = np.argsort(-values)[:_MOST_DIRECTIONS]
    keep = keep[values[keep] > 1e-8 * values[keep[0]]]
    basis = vectors[:, keep]
    if wide:
        basis = (stacked.T @ basis) / np.sqrt(values[keep])
    return mean.astype(np.float32), scale, basis.astype(np.float32)


def aligned_steps(
    task: AdaptationTask, state: SavedState | None, align: Align
) -> Generator[Step, None, None]:
    """Yield a probe on both domains for each strength, strong to weak, once they are aligned.

    The labelled target samples count `target_weight` times as much as as many of the source.
    """
    start = int(state.config["step"]) if state is not None else 0
    strengths = INVERSE_STRENGTHS[: task.n_steps]
    if start >= len(strengths):
        return
    both = domains(task)
    found = align(both)
    for index, (head, loss) in enumerate(
        _solve(task, both, found, strengths)[start:], start=start + 1
    ):
        here = SavedState(tensors={}, config={"step": index})
        yield Step(predictor=head, state=lambda here=here: here, loss=loss)  # type: ignore[misc]  # default binds this step


def _solve(
    task: AdaptationTask, both: Domains, found: Aligned, strengths: Sequence[float]
) -> list[tuple[LinearHead, float]]:
    X = np.concatenate([found.source, found.target]).astype(np.float32)
    y = np.concatenate([both.source_y, both.target_y[: len(found.target)]])
    weights = np.ones(len(y))
    own = 1.0 if found.weights is None else found.weights
    weights[: len(found.source)] = both.source_weights * own
    weights[len(found.source) :] = task.params.get("target_weight", 1.0)
    if task.class_weights is not None:
        weights = weights * task.class_weights[y]
    panel = solve_logistic_panel(
        X, y, task.n_classes, strengths, sample_weights=weights / weights.mean()
    )
    return [
        (both.head(weight @ found.into.T, bias, found.shift), float(loss))
        for weight, bias, loss in zip(panel.weights, panel.biases, panel.losses, strict=True)
    ]
