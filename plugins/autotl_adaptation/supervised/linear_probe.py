"""Solve a linear classifier on frozen features, one regularisation strength a step."""

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from autotl.adapt import LinearHead, fit_temperature, solve_logistic_panel, standardiser
from autotl.specs import AdaptationTask, SavedState, SpectralDecomposition, Step

# From strong to weak; for features of unit variance the best lies well inside.
INVERSE_STRENGTHS = tuple(float(c) for c in np.logspace(-3, 1, 9))


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength, strong to weak; all are solved at the first step."""
    start = int(state.config["step"]) if state is not None else 0
    strengths = INVERSE_STRENGTHS[: task.n_steps]
    if start >= len(strengths):
        return
    solve = _ridge if task.params["solver"] == "ridge" else _logistic
    for index, (head, loss) in enumerate(solve(task, strengths)[start:], start=start + 1):
        here = SavedState(tensors={}, config={"step": index})
        yield Step(predictor=head, state=lambda here=here: here, loss=loss)  # type: ignore[misc]  # default binds this step


def _scaling(task: AdaptationTask) -> dict[str, np.ndarray]:
    """Standardise each feature, or all of them by one common factor."""
    features = task.train.features()
    found = dict(standardiser(features))
    if task.params["scaling"] == "global":
        spread = float(np.sqrt(np.mean(features.var(axis=0)))) + 1e-8
        found["scale"] = np.full(features.shape[1], spread, np.float32)
    return found


def _logistic(
    task: AdaptationTask, inverse_strengths: Sequence[float]
) -> list[tuple[LinearHead, float]]:
    """Return multinomial logistic heads with their training losses."""
    scaling = _scaling(task)
    scaled = (task.train.features() - scaling["mean"]) / scaling["scale"]
    panel = solve_logistic_panel(
        scaled, task.y, task.n_classes, inverse_strengths, class_weights=task.class_weights
    )
    return [
        (LinearHead(weight=weight, bias=bias, **scaling), float(loss))
        for weight, bias, loss in zip(panel.weights, panel.biases, panel.losses, strict=True)
    ]


def _ridge(
    task: AdaptationTask, inverse_strengths: Sequence[float]
) -> list[tuple[LinearHead, float]]:
    """Return ridge heads on centred one-hot targets with their leave-one-out losses.

    The temperature of the softmax is fitted on exact leave-one-out predictions.
    """
    scaling = _scaling(task)
    parts = _scaled_decomposition(task, scaling)
    Y = np.eye(task.n_classes)[task.y]
    prior = Y.mean(axis=0)
    # Weighing classes alike moves the odds, not the fit.
    odds = 0.0 if task.class_weights is None else np.log(task.class_weights)
    strengths = 1.0 / np.asarray(inverse_strengths)
    heads = []
    for weights, loo in zip(
        parts.ridge_weights_path(Y - prior, strengths),
        parts.ridge_loo_path(Y - prior, strengths),
        strict=True,
    ):
        temperature, loss = fit_temperature(prior + loo, task.y)
        head = LinearHead(
            weight=(temperature * weights.T).astype(np.float32),
            bias=(temperature * prior + odds).astype(np.float32),
            **scaling,
        )
        heads.append((head, loss))
    return heads


def _scaled_decomposition(
    task: AdaptationTask, scaling: dict[str, np.ndarray]
) -> SpectralDecomposition:
    shared = task.train.decomposition()
    if task.params["scaling"] == "global":
        # One common factor leaves the singular vectors as they are.
        return replace(shared, singular=shared.singular / float(scaling["scale"][0]))
    scaled = (task.train.features() - scaling["mean"]) / scaling["scale"]
    left, singular, transposed = np.linalg.svd(scaled, full_matrices=False)
    keep = singular > 1e-5 * max(float(singular[0]), 1e-30)
    return SpectralDecomposition(
        mean=shared.mean, left=left[:, keep], singular=singular[keep], right=transposed[keep].T
    )
