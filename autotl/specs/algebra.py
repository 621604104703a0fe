"""Algebra of features that every closed-form method shares."""

from collections.abc import Iterable, Iterator
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
        return next(self.ridge_weights_path(Y, (strength,)))

    def ridge_loo(self, Y: "np.ndarray", strength: float) -> "np.ndarray":
        """Predict each row of centred targets from a ridge fit on the other rows, exactly.

        Centring is part of the model: the leverage includes 1/n_samples for the intercept.
        Returns shape (n_samples, n_targets). Raises nothing; strength must be positive.
        """
        return next(self.ridge_loo_path(Y, (strength,)))

    def ridge_weights_path(
        self, Y: "np.ndarray", strengths: Iterable[float]
    ) -> "Iterator[np.ndarray]":
        """Yield what `ridge_weights` returns for each strength; the targets are rotated once."""
        rotated = self.left.T @ Y
        for strength in strengths:
            shrunk = self.singular / (self.singular**2 + strength)
            yield self.right @ (shrunk[:, None] * rotated)

    def ridge_loo_path(
        self, Y: "np.ndarray", strengths: Iterable[float]
    ) -> "Iterator[np.ndarray]":
        """Yield what `ridge_loo` returns for each strength, in the memory of one."""
        rotated, squares = self.left.T @ Y, self.left**2
        for strength in strengths:
            shrink = self.singular**2 / (self.singular**2 + strength)
            fitted = self.left @ (shrink[:, None] * rotated)
            leverage = squares @ shrink + 1.0 / len(self.left)
            yield Y - (Y - fitted) / (1.0 - leverage).clip(1e-12)[:, None]
