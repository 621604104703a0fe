"""Classifiers on raw features: what the floor is made of. All save as arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.adapt.heads import as_array, fit_temperature, softmax
from autotl.adapt.logistic import solve_logistic_panel
from autotl.specs import RawFeatureSpec, SavedState

Arrays = Mapping[str, np.ndarray]
_CHUNK = 1024  # rows whose distances to all training samples are held at once


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A classifier as two functions.

    Args:
        name: As it appears in the floor's name.
        fit: `fit(X, y, n_classes, settings, class_weights)` yields arrays for each setting.
        predict: `predict(X, arrays)` -> probabilities of shape (n_samples, n_classes).
        settings: Values that cross-validation chooses from.
        max_samples: Training samples beyond which it is too slow to be a floor.
    """

    name: str
    fit: Callable[[Any, np.ndarray, int, Sequence[float], np.ndarray | None], Iterator[Arrays]]
    predict: Callable[[Any, Arrays], np.ndarray]
    settings: tuple[float, ...] = (0.0,)
    max_samples: int | None = None


def _fit_majority(
    X: Any, y: np.ndarray, n_classes: int, settings: Sequence[float], _weights: np.ndarray | None
) -> Iterator[Arrays]:
    for _ in settings:
        yield {"share": np.bincount(y, minlength=n_classes) / len(y)}


def _predict_majority(X: Any, arrays: Arrays) -> np.ndarray:
    return np.tile(arrays["share"], (X.shape[0], 1))


def _fit_logistic(
    X: Any, y: np.ndarray, n_classes: int, settings: Sequence[float], weights: np.ndarray | None
) -> Iterator[Arrays]:
    panel = solve_logistic_panel(X, y, n_classes, settings, class_weights=weights)
    for weight, bias in zip(panel.weights, panel.biases, strict=True):
        yield {"weight": weight, "bias": bias}


def _predict_logistic(X: Any, arrays: Arrays) -> np.ndarray:
    return softmax(np.asarray(X @ arrays["weight"].T) + arrays["bias"])


def _fit_neighbours(
    X: Any, y: np.ndarray, n_classes: int, settings: Sequence[float], weights: np.ndarray | None
) -> Iterator[Arrays]:
    for setting in settings:
        yield {
            "X": np.asarray(X, np.float32),
            "y": y.astype(np.int64),
            "k": np.array([min(int(setting), len(y)), n_classes]),
            "weights": np.ones(n_classes) if weights is None else weights,
        }


def _predict_neighbours(X: Any, arrays: Arrays) -> np.ndarray:
    k, n_classes = (int(v) for v in arrays["k"])
    shares = np.empty((X.shape[0], n_classes))
    for at in range(0, X.shape[0], _CHUNK):
        squared = _squared_distances(np.asarray(X[at : at + _CHUNK]), arrays["X"])
        near = np.argsort(squared, axis=1, kind="stable")[:, :k]
        # The nearest weigh slightly more, so that ties are broken by closeness.
        votes = np.eye(n_classes)[arrays["y"][near]] * np.linspace(1.0, 0.99, k)[None, :, None]
        shares[at : at + _CHUNK] = votes.sum(axis=1)
    shares *= arrays["weights"]
    normalised: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
    return normalised


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    squared: np.ndarray = (A**2).sum(1)[:, None] + (B**2).sum(1)[None, :] - 2 * (A @ B.T)
    return squared.clip(0)


def _kernel(A: np.ndarray, B: np.ndarray, gamma: float) -> np.ndarray:
    kernel: np.ndarray = np.exp(-gamma * _squared_distances(A, B))
    return kernel


def _fit_rbf(
    X: Any, y: np.ndarray, n_classes: int, settings: Sequence[float], weights: np.ndarray | None
) -> Iterator[Arrays]:
    """Solve least squares in an RBF kernel space; strength and temperature by leave-one-out."""
    X = np.asarray(X, np.float32)
    prior = np.bincount(y, minlength=n_classes) / len(y)
    Y = np.eye(n_classes)[y] - prior
    for setting in settings:
        gamma = setting / max(float(X.var(axis=0).sum()), 1e-12)
        values, vectors = np.linalg.eigh(_kernel(X, X, gamma).astype(np.float64))
        rotated, squares = vectors.T @ Y, vectors**2
        tried = []
        for strength in np.logspace(-4, 1, 6):
            inverse = 1.0 / (values.clip(0) + strength)
            alpha = vectors @ (inverse[:, None] * rotated)
            loo = Y - alpha / (squares @ inverse)[:, None] + prior
            tried.append((float(np.mean(loo.argmax(axis=1) != y)), alpha, loo))
        _, alpha, loo = min(tried, key=lambda t: t[0])
        temperature = fit_temperature(loo, y)[0]
        yield {
            "X": X,
            "alpha": (temperature * alpha).astype(np.float32),
            "prior": temperature * prior + (0.0 if weights is None else np.log(weights)),
            "gamma": np.array([gamma]),
        }


def _predict_rbf(X: Any, arrays: Arrays) -> np.ndarray:
    gamma, parts = float(arrays["gamma"][0]), []
    for at in range(0, X.shape[0], _CHUNK):
        kernel = _kernel(np.asarray(X[at : at + _CHUNK]), arrays["X"], gamma)
        parts.append(softmax(kernel @ arrays["alpha"] + arrays["prior"]))
    return np.concatenate(parts) if parts else np.zeros((0, len(arrays["prior"])))


MAJORITY = Classifier(name="majority", fit=_fit_majority, predict=_predict_majority)
LOGISTIC = Classifier(
    name="logistic_regression",
    fit=_fit_logistic,
    predict=_predict_logistic,
    settings=(0.1, 1.0, 10.0, 100.0),
)
NEIGHBOURS = Classifier(
    name="nearest_neighbours",
    fit=_fit_neighbours,
    predict=_predict_neighbours,
    settings=(1, 3, 5),
    max_samples=20_000,
)
RBF = Classifier(
    name="rbf_machine",
    fit=_fit_rbf,
    predict=_predict_rbf,
    settings=(0.3, 1.0, 3.0),
    max_samples=4_000,
)
CLASSIFIERS = {c.name: c for c in (MAJORITY, LOGISTIC, NEIGHBOURS, RBF)}


class RawModel:
    """A classifier on raw features, ready to predict samples.

    Args:
        feature: The raw feature; None for the majority class, which looks at nothing.
        feature_state: What the feature learnt from training samples.
        classifier: The classifier.
        arrays: What the classifier learnt.
    """

    def __init__(
        self,
        feature: RawFeatureSpec | None,
        feature_state: SavedState | None,
        classifier: Classifier,
        arrays: Arrays,
    ) -> None:
        self.feature, self.feature_state = feature, feature_state
        self.classifier, self.arrays = classifier, arrays

    def predict_proba(self, samples: Sequence[Any]) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes)."""
        if self.feature is None or self.feature_state is None:
            matrix: Any = np.zeros((len(samples), 0))
        else:
            matrix = self.feature.transform(samples, self.feature_state)
        return self.classifier.predict(matrix, self.arrays)

    def save(self) -> SavedState:
        """Return the feature's state and the classifier's arrays."""
        tensors: dict[str, Any] = {f"classifier.{k}": v for k, v in self.arrays.items()}
        config: dict[str, Any] = {"classifier": self.classifier.name, "feature": None}
        if self.feature is not None and self.feature_state is not None:
            tensors |= {f"feature.{k}": v for k, v in self.feature_state.tensors.items()}
            config["feature"] = self.feature.name
            config["feature_config"] = dict(self.feature_state.config)
        return SavedState(tensors=tensors, config=config)

    @classmethod
    def restore(cls, saved: SavedState, features: Sequence[RawFeatureSpec]) -> "RawModel":
        """Rebuild a model from what `save` returned and the modality's raw features."""
        parts: dict[str, dict[str, np.ndarray]] = {"feature": {}, "classifier": {}}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = as_array(value)
        feature, state = None, None
        if saved.config["feature"] is not None:
            feature = {f.name: f for f in features}[saved.config["feature"]]
            state = SavedState(tensors=parts["feature"], config=saved.config["feature_config"])
        return cls(feature, state, CLASSIFIERS[saved.config["classifier"]], parts["classifier"])
