"""H-score with a Ledoit-Wolf covariance, through one Cholesky factorisation."""

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import Array, check_features, check_labels, class_sums

__all__ = ["compute", "h_score"]

_FAR = 1e4  # mean square over variance from which moments about zero lose digits


def compute(given: ScoreInput) -> float:
    """Return the regularised H-score of the features."""
    return h_score(given.features, given.y)


def h_score(features: Array, y: Array) -> float:
    """Compute (1 - a) tr(S_a^-1 B): variance between classes over all; greater is better.

    B is the covariance of each sample's class mean, S_a = (1 - a) S + a tr(S)/embed_dim I the
    shrunk covariance of the features. Neither scale nor rotation of the features matters.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Labels of shape (n_samples,).

    References:
        Ibrahim et al., Newer is Not Always Better, ECML 2022; Ledoit and Wolf, A
        Well-conditioned Estimator for Large-dimensional Covariance Matrices, JMVA 2004.
    """
    from scipy.linalg import cho_factor, cho_solve

    features = check_features(features)
    n, d = features.shape
    codes = check_labels(y, n)
    counts = np.bincount(codes)
    sums = class_sums(features, codes)
    mean = sums.sum(axis=0) / n
    total = np.vdot(features, features) / n
    if n <= d or total >= _FAR * (total - mean @ mean):
        features = features - mean
        if np.vdot(features, features) <= 1e-24 * n * total:
            return 0.0  # constant features, but for rounding, tell no classes apart
        sums, mean = class_sums(features, codes), np.zeros(d)
    gram, squares = _centred_gram(features, mean)
    a = _shrinkage(gram, squares, d)
    # n S_a / (1 - a), or what has the same inverse on the span of the samples
    gram.flat[:: len(gram) + 1] += a / (1 - a) * squares.sum() / d
    weights = 1 / np.sqrt(counts * (n - 1.0))
    between = (sums - counts[:, None] * mean) * weights[:, None]
    if n > d:
        left = right = between.T
    else:  # F (b I + F'F)^-1 F' = (b I + FF')^-1 FF'
        left, right = np.eye(len(counts))[codes] * weights, features @ between.T
    factor = cho_factor(gram.T, overwrite_a=True, check_finite=False)
    return float(n * np.vdot(left, cho_solve(factor, right)))


def _centred_gram(features: Array, mean: Array) -> tuple[Array, Array]:
    """Return the smaller Gram matrix and the squared norms of samples, both less the mean.

    The mean must be zero where features are wider than tall.
    """
    n, d = features.shape
    squares = np.einsum("nd,nd->n", features, features) - 2 * (features @ mean) + mean @ mean
    if n > d:
        gram = features.T @ features
        gram -= n * np.outer(mean, mean)
    else:
        gram = features @ features.T
    return gram, squares


def _shrinkage(gram: Array, squares: Array, d: int) -> float:
    """Return the Ledoit-Wolf weight of the identity, kept off zero and one."""
    square = np.vdot(gram, gram)
    noise = squares @ squares - square / len(squares)
    distance = square - squares.sum() ** 2 / d
    a = min(noise, distance) / distance if distance > 0 else 0.0
    return float(np.clip(a, 1e-10, 1 - 1e-10))
