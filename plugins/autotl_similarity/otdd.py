"""Optimal transport between labelled samples, classes being Gaussians."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import Pair, both_labelled
from autotl_similarity.gaussians import bures, leading_directions, squared_distances
from autotl_similarity.transport import transport_cost

_MOST_SAMPLES = 1_000
_LEAST_DIMENSIONS, _MOST_DIMENSIONS = 16, 64
_MOST_WORK = 40**2 * 64**3
"""Class pairs times dimensions cubed: 40 classes a side in 64 dimensions, a second or two."""


def otdd(source: DomainSample, target: DomainSample) -> float:
    """Return the mean cost ||x - x'||^2 + W_2^2(a_y, a_y') of the cheapest plan.

    a_y is the Gaussian of class y, its covariance shrunk towards that within all classes of its
    domain as if embed_dim samples of it were added. The plan is exact, hence the same samples
    cost 0; two samples of one domain do not, so compare only what has about the same size.
    Features are reduced to the leading 64 principal components of the pooled sample; fewer, at
    least 16, above 1,600 pairs of classes. The cost is in units of the pooled total variance. At
    most 1,000 samples a domain, drawn by its seed.

    Raises:
        InvalidDataError: Features or labels are missing or do not fit each other.
    """
    features, (y_one, y_other) = both_labelled(source, target, _MOST_SAMPLES)
    one, other = _reduced(features, (y_one.max() + 1) * (y_other.max() + 1))
    cost = squared_distances(one, other)
    cost += _between_classes(_gaussians(one, y_one), _gaussians(other, y_other))[y_one][:, y_other]
    return transport_cost(cost, np.ones(len(one)), np.ones(len(other)))


def _reduced(features: Pair, n_pairs: int) -> Pair:
    one, other = features
    n_dimensions = int(np.cbrt(_MOST_WORK / n_pairs) + 1e-9)
    n_dimensions = min(max(n_dimensions, _LEAST_DIMENSIONS), _MOST_DIMENSIONS)
    if one.shape[1] <= n_dimensions:
        return features
    # Each domain counts half, whatever its size.
    basis = leading_directions(one.T @ one / len(one) + other.T @ other / len(other), n_dimensions)
    return one @ basis, other @ basis


def _gaussians(features: np.ndarray, y: np.ndarray) -> Pair:
    """Return class means (n_classes, dim) and shrunk covariances (n_classes, dim, dim)."""
    dim = features.shape[1]
    counts = np.bincount(y)
    members = [features[y == c] for c in range(len(counts))]
    means = np.stack([rows.mean(axis=0) for rows in members])
    centred = [rows - mean for rows, mean in zip(members, means, strict=True)]
    scatters = np.stack([rows.T @ rows for rows in centred])
    within = scatters.sum(axis=0) / max(1, len(y) - len(counts))
    return means, (scatters + dim * within) / (counts - 1 + dim)[:, None, None]


def _between_classes(one: Pair, other: Pair) -> np.ndarray:
    """Return squared 2-Wasserstein distances of shape (n_classes, n_other_classes)."""
    distances = squared_distances(one[0], other[0])
    # Class by class: all pairs at once take gigabytes for hundreds of classes.
    distances += np.stack([bures(covariance, other[1]) for covariance in one[1]])
    return distances
