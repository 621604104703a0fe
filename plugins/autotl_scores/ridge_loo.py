"""Exact leave-one-out accuracy of ridge classification."""

from dataclasses import replace

import numpy as np

from autotl.specs import ScoreInput, SpectralDecomposition
from autotl_scores.inputs import Array, check_features, check_labels

__all__ = ["STRENGTHS", "compute", "ridge_loo"]

STRENGTHS = tuple(10.0**i for i in np.arange(-6, 1.5, 0.5).tolist())
"""Strengths of the path, relative to the sum of squares of the centred features."""


def compute(given: ScoreInput) -> float:
    """Return the leave-one-out accuracy of ridge at its best strength."""
    decompose = given.decomposition
    return ridge_loo(given.features, given.y, decompose() if decompose is not None else None)


def ridge_loo(
    features: Array, y: Array, decomposition: SpectralDecomposition | None = None
) -> float:
    """Compute the best leave-one-out accuracy along `STRENGTHS`, in [0, 1].

    Ridge regression with an intercept on one-hot labels, of features as they come.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Labels of shape (n_samples,).
        decomposition: Of the features, where there is one.
    """
    features = check_features(features)
    codes = check_labels(y, len(features))
    found = decomposition if decomposition is not None else _decompose(features)
    kind = found.left.dtype  # of all, or each product would copy the singular vectors
    size = np.linalg.norm(found.singular) or 1.0
    found = replace(found, singular=(found.singular / size).astype(kind))
    targets = np.eye(codes.max() + 1, dtype=kind)[codes]
    mean = targets.mean(axis=0)
    predictions = found.ridge_loo_path(targets - mean, STRENGTHS)
    return max(float(((p + mean).argmax(axis=1) == codes).mean()) for p in predictions)


def _decompose(features: Array) -> SpectralDecomposition:
    mean = features.mean(axis=0)
    left, singular, right = np.linalg.svd(features - mean, full_matrices=False)
    keep = singular > 1e-6 * max(singular[0], np.finfo(float).eps * np.linalg.norm(features))
    return SpectralDecomposition(
        mean=mean, left=left[:, keep], singular=singular[keep], right=right[keep].T
    )
