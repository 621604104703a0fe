"""Algebra of features that every closed-form method shares."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class SpectralDecomposition:
    """Thin SVD of centred features, shared by every closed-form method.

    `features - mean = left @ diag(singular) @ right.T`, numerically zero directions dropped.

    Args:
        mean: Shape (embed_dim,).
        left: Shape (n_samples, rank), orthonormal columns.
        singular: Shape (rank,), positive, descending.
        right: Shape (embed_dim, rank), orthonormal columns.
    """

    mean: "np.ndarray"
    left: "np.ndarray"
    singular: "np.ndarray"
    right: "np.ndarray"

    def ridge_weights(self, Y: "np.ndarray", strength: float) -> "np.ndarray":
        """Solve ridge regression of centred targets (n_samples, n_targets) for one strength.

        Returns weights of shape (embed_dim, n_targets) that apply to `features - mean`.
        """
        shrunk = self.singular / (self.singular**2 + strength)
        weights: np.ndarray = self.right @ (shrunk[:, None] * (self.left.T @ Y))
        return weights

    def ridge_loo(self, Y: "np.ndarray", strength: float) -> "np.ndarray":
        """Predict each row of centred targets from a ridge fit on the other rows, exactly.

        Centring is part of the model: the leverage includes 1/n_samples for the intercept.
        Returns shape (n_samples, n_targets). Raises nothing; strength must be positive.
        """
        shrink = self.singular**2 / (self.singular**2 + strength)
        fitted = self.left @ (shrink[:, None] * (self.left.T @ Y))
        leverage = (self.left**2) @ shrink + 1.0 / len(self.left)
        loo: np.ndarray = Y - (Y - fitted) / (1.0 - leverage).clip(1e-12)[:, None]
        return loo
