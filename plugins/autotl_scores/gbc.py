"""GBC: overlap of the classes as Gaussians, by Bhattacharyya coefficients."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from autotl.specs import ScoreInput, SpectralDecomposition
from autotl_scores.inputs import (
    Array,
    check_features,
    check_labels,
    class_sums,
    principal_components,
    unit_scale,
)

__all__ = ["compute", "gbc"]

_COMPONENTS = 64
_LEAST_VARIANCE = 1e-4  # of a class; what one with a single sample has


def compute(given: ScoreInput) -> float:
    """Return spherical GBC of scaled features, of more than 64 in their leading components."""
    features = check_features(given.features)
    if features.shape[1] > _COMPONENTS:
        features = _leading(features, given.decomposition)
    return gbc(unit_scale(features - features.mean(axis=0)), given.y)


def _leading(features: Array, decompose: Callable[[], SpectralDecomposition] | None) -> Array:
    if decompose is None:
        return principal_components(features)[0][:, :_COMPONENTS]
    found = decompose()
    if not len(found.singular):
        return np.zeros((len(features), 1))
    leading: Array = found.left[:, :_COMPONENTS].astype(float) * found.singular[:_COMPONENTS]
    return leading


def gbc(
    features: Array,
    y: Array,
    *,
    variant: Literal["spherical", "published", "diagonal"] = "spherical",
) -> float:
    """Compute minus the sum of Bhattacharyya coefficients of classes; at most 0, 0 is no overlap.

    Args:
        features: Shape (n_samples, embed_dim), best in few principal components.
        y: Labels of shape (n_samples,).
        variant: Variances of a class: one for all dimensions ("spherical"), one for each
            ("diagonal"), or "published", spherical with the log term of one dimension only, as
            in the code of the paper.

    References:
        Pandy et al., Transferability Estimation using Bhattacharyya Class Separability,
        CVPR 2022.
    """
    features = check_features(features)
    n, d = features.shape
    codes = check_labels(y, n)
    counts = np.bincount(codes)[:, None]
    means = class_sums(features, codes) / counts
    variances = class_sums((features - means[codes]) ** 2, codes) / counts
    weight = 1.0
    if variant != "diagonal":
        variances = variances.mean(axis=1, keepdims=True)
        weight = d if variant == "spherical" else 1.0
    variances = variances.clip(_LEAST_VARIANCE)
    overlap = 0.0
    for i in range(1, len(means)):  # one class against those before it
        middle = (variances[i] + variances[:i]) / 2
        apart = ((means[i] - means[:i]) ** 2 / middle).sum(axis=1) / 8
        unlike = np.log(middle) - (np.log(variances[i]) + np.log(variances[:i])) / 2
        overlap += float(np.exp(-apart - weight * unlike.sum(axis=1) / 2).sum())
    return 0.0 - 2 * overlap  # each pair counts in both directions
