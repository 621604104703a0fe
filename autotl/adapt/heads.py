"""A linear head on frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autotl.specs import Inputs, SavedState


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits of shape (n_samples, n_classes) into probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(scores: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit the factor on held-out scores (n_samples, n_classes) whose softmax predicts `y` best.

    Returns the factor and the log-loss it reaches, nats.
    """
    from scipy.optimize import minimize_scalar

    truth = np.arange(len(y)), y

    def loss(log_factor: float) -> float:
        scaled = scores * np.exp(log_factor)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[truth]))

    fitted = minimize_scalar(loss, bounds=(-1.0, 5.0), method="bounded")
    return float(np.exp(fitted.x)), float(fitted.fun)


def as_array(value: object) -> np.ndarray:
    """Return an array or tensor as a NumPy array."""
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    array: np.ndarray = np.asarray(detached)
    return array


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Predict by `softmax((features - mean) / scale @ weight.T + bias)`.

    Args:
        weight: Shape (n_classes, embed_dim).
        bias: Shape (n_classes,).
        mean: Shape (embed_dim,).
        scale: Shape (embed_dim,), positive.
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        shapes = [np.shape(v) for v in (self.weight, self.bias, self.mean, self.scale)]
        n_classes, width = len(self.bias), len(self.mean)
        if shapes != [(n_classes, width), (n_classes,), (width,), (width,)]:
            raise ValueError(
                f"weight, bias, mean and scale have shapes {shapes}; expected "
                "(n_classes, embed_dim), (n_classes,), (embed_dim,) and (embed_dim,)."
            )

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits of shape (n_samples, n_classes)."""
        result: np.ndarray = ((features - self.mean) / self.scale) @ self.weight.T + self.bias
        return result

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes)."""
        return softmax(self.logits(inputs.features()))

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Return the four arrays by name, float32."""
        named = {"weight": self.weight, "bias": self.bias, "mean": self.mean, "scale": self.scale}
        return {k: np.array(v, dtype=np.float32) for k, v in named.items()}

    def save(self) -> SavedState:
        """Return the four arrays."""
        return SavedState(tensors=self.tensors(), config={})

    @classmethod
    def restore(cls, saved: SavedState) -> "LinearHead":
        """Rebuild a head from what `save` returned."""
        return cls(**{k: as_array(saved.tensors[k]) for k in ("weight", "bias", "mean", "scale")})
