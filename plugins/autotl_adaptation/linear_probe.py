"""Solve a linear classifier on frozen features, one regularisation strength a step."""

from collections.abc import Generator

import numpy as np

from autotl.adapt import LinearHead, LogisticPath, as_array, fit_temperature, standardiser
from autotl.specs import AdaptationTask, SavedState, SpectralDecomposition, Step

# From strong to weak; for features of unit variance the best lies well inside.
INVERSE_STRENGTHS = tuple(float(c) for c in np.logspace(-3, 1, 9))


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength, strong to weak, warm-started along the path."""
    start = int(state.config["step"]) if state is not None else 0
    solver = _Ridge(task) if task.params["solver"] == "ridge" else _Logistic(task, state)
    for index in range(start, min(task.n_steps, len(INVERSE_STRENGTHS))):
        head, loss = solver.solve(INVERSE_STRENGTHS[index])
        here = SavedState(tensors=solver.warm_start(), config={"step": index + 1})
        yield Step(predictor=head, state=lambda here=here: here, loss=loss)  # type: ignore[misc]  # default binds this step


def _scaling(task: AdaptationTask) -> dict[str, np.ndarray]:
    """Standardise each feature, or all of them by one common factor."""
    features = task.train.features()
    found = dict(standardiser(features))
    if task.params["scaling"] == "global":
        spread = float(np.sqrt(np.mean(features.var(axis=0)))) + 1e-8
        found["scale"] = np.full(features.shape[1], spread, np.float32)
    return found


class _Logistic:
    """Multinomial logistic regression; the loss it reports is the training loss."""

    def __init__(self, task: AdaptationTask, state: SavedState | None) -> None:
        self.scaling = _scaling(task)
        scaled = (task.train.features() - self.scaling["mean"]) / self.scaling["scale"]
        self.path = LogisticPath(scaled, task.y, task.n_classes, task.class_weights)
        if state is not None:
            self.path.resume(*(as_array(state.tensors[k]) for k in ("coef", "intercept")))

    def solve(self, inverse_strength: float) -> tuple[LinearHead, float]:
        """Fit for one strength; returns the head and the mean training loss."""
        weight, bias = self.path.solve(inverse_strength)
        return LinearHead(weight=weight, bias=bias, **self.scaling), self.path.loss()

    def warm_start(self) -> dict[str, np.ndarray]:
        """Return what the next strength starts from."""
        return self.path.warm_start()


class _Ridge:
    """Ridge regression on centred one-hot targets, turned into probabilities.

    The temperature of the softmax is fitted on exact leave-one-out predictions.
    """

    def __init__(self, task: AdaptationTask) -> None:
        self.task, self.scaling = task, _scaling(task)
        shared = task.decomposition()
        if task.params["scaling"] == "global":
            # One common factor leaves the singular vectors as they are.
            factor = float(self.scaling["scale"][0])
            left, singular, right = shared.left, shared.singular / factor, shared.right
        else:
            scaled = (task.train.features() - self.scaling["mean"]) / self.scaling["scale"]
            left, singular, transposed = np.linalg.svd(scaled, full_matrices=False)
            keep = singular > 1e-5 * max(float(singular[0]), 1e-30)
            left, singular, right = left[:, keep], singular[keep], transposed[keep].T
        self.parts = SpectralDecomposition(
            mean=shared.mean, left=left, singular=singular, right=right
        )
        self.Y = np.eye(task.n_classes)[task.y]

    def solve(self, inverse_strength: float) -> tuple[LinearHead, float]:
        """Solve for one strength; returns the head and the leave-one-out loss."""
        prior = self.Y.mean(axis=0)
        centred = self.Y - prior
        loo = prior + self.parts.ridge_loo(centred, 1.0 / inverse_strength)
        temperature, loss = fit_temperature(loo, self.task.y)
        weights = self.parts.ridge_weights(centred, 1.0 / inverse_strength)
        # Weighing classes alike moves the odds, not the fit.
        odds = 0.0 if self.task.class_weights is None else np.log(self.task.class_weights)
        head = LinearHead(
            weight=(temperature * weights.T).astype(np.float32),
            bias=(temperature * prior + odds).astype(np.float32),
            **self.scaling,
        )
        return head, loss

    def warm_start(self) -> dict[str, np.ndarray]:
        """Return nothing: each strength is solved directly."""
        return {}
