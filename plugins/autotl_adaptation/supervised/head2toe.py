"""Solve a linear classifier on the few features, of all layers, that tell the classes apart.

References:
    Evci, Dumoulin, Larochelle, Mozer: Head2Toe: Utilizing Intermediate Representations for Better
    Transfer Learning. ICML 2022.
"""

from collections.abc import Generator

import numpy as np

from autotl.adapt import LinearHead, as_array, softmax, solve_logistic_panel, standardiser
from autotl.specs import AdaptationTask, Inputs, SavedState, Step
from autotl_adaptation.supervised.linear_probe import INVERSE_STRENGTHS

_PENALTY = 0.05  # of the group lasso, relative to the least that leaves no feature
_ITERATIONS = 100
_LEAST_KEPT = 16  # features


class LayersHead:
    """Predict by a linear head on some features of all layers.

    Args:
        kept: Positions of the features among those of all layers, shape (n_kept,).
        head: On these features.
    """

    def __init__(self, kept: np.ndarray, head: LinearHead) -> None:
        self.kept, self.head = kept, head

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes)."""
        return softmax(self.head.logits(all_layers(inputs)[:, self.kept]))

    def save(self) -> SavedState:
        """Return the head's arrays and the positions."""
        tensors = {**self.head.tensors(), "kept": self.kept.astype(np.int64)}
        return SavedState(tensors=tensors, config={})

    @classmethod
    def restore(cls, saved: SavedState) -> "LayersHead":
        """Rebuild a predictor from what `save` returned."""
        return cls(as_array(saved.tensors["kept"]), LinearHead.restore(saved))


restore = LayersHead.restore


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength, strong to weak; all are solved at the first step."""
    start = int(state.config["step"]) if state is not None else 0
    strengths = INVERSE_STRENGTHS[: task.n_steps]
    if start >= len(strengths):
        return
    features = all_layers(task.train)
    scaling = standardiser(features)
    scaled = (features - scaling["mean"]) / scaling["scale"]
    n_kept = max(_LEAST_KEPT, round(task.params["share"] * scaled.shape[1]))
    kept = np.sort(relevant(scaled, task.y, task.n_classes)[:n_kept])
    of_kept = {name: values[kept] for name, values in scaling.items()}
    panel = solve_logistic_panel(
        scaled[:, kept], task.y, task.n_classes, strengths, class_weights=task.class_weights
    )
    solved = zip(panel.weights, panel.biases, panel.losses, strict=True)
    for index, (weight, bias, loss) in enumerate(list(solved)[start:], start=start + 1):
        here = SavedState(tensors={}, config={"step": index})
        yield Step(
            predictor=LayersHead(kept, LinearHead(weight=weight, bias=bias, **of_kept)),
            state=lambda here=here: here,  # type: ignore[misc]  # default binds this step
            loss=float(loss),
        )


def all_layers(inputs: Inputs) -> np.ndarray:
    """Return the features of all layers side by side, each layer's rows of unit length."""
    layers = inputs.layer_features()
    lengths = [np.linalg.norm(layer, axis=1, keepdims=True) + 1e-12 for layer in layers]
    return np.concatenate([a / b for a, b in zip(layers, lengths, strict=True)], axis=1)


def relevant(scaled: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the positions of features, those that the classifier needs most first.

    A feature counts by the norm of its weights under a group lasso, as in the paper; those whose
    weights are zero follow by how close they came.

    Args:
        scaled: Standardised features of shape (n_samples, n_features).
        y: Class codes of shape (n_samples,).
        n_classes: Number of classes.
    """
    n_samples = len(y)
    X = scaled.astype(np.float32)
    Y = np.eye(n_classes, dtype=np.float32)[y]
    # The loss's curvature is at most half the largest eigenvalue of the Gram matrix.
    rate = np.float32(2.0 * n_samples / max(_largest_eigenvalue(X), 1e-12))
    prior = np.log(Y.mean(axis=0).clip(1e-6))

    def slope(weights: np.ndarray) -> np.ndarray:
        gradient: np.ndarray = X.T @ (softmax(X @ weights + prior) - Y) / n_samples
        return gradient

    weights = ahead = np.zeros((X.shape[1], n_classes), np.float32)
    penalty = _PENALTY * float(np.linalg.norm(slope(weights), axis=1).max())
    momentum = 1.0
    for _ in range(_ITERATIONS):  # FISTA
        step = ahead - rate * slope(ahead)
        norms = np.linalg.norm(step, axis=1, keepdims=True)
        shrunk = step * np.clip(1 - rate * penalty / np.maximum(norms, 1e-12), 0, None)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = shrunk + np.float32((momentum - 1) / following) * (shrunk - weights)
        weights, momentum = shrunk, following
    scores = np.linalg.norm(weights, axis=1)
    close = np.linalg.norm(slope(weights), axis=1) / max(penalty, 1e-12)
    return np.lexsort((-close, -scores))


def _largest_eigenvalue(X: np.ndarray) -> float:
    """Return the largest eigenvalue of X.T @ X, by power iteration."""
    vector = np.ones(X.shape[1], np.float32) / np.sqrt(X.shape[1])
    length = 0.0
    for _ in range(20):
        vector = X.T @ (X @ vector)
        length = float(np.linalg.norm(vector))
        vector = vector / max(length, 1e-12)
    return length * 1.05  # it is approached from below
