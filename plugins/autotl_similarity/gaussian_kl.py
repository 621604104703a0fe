"""Kullback-Leibler divergence of the Gaussians with the moments of two domains."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import both_moments, pooled_variance
from autotl_similarity.gaussians import on_leading_directions, shrinkage, shrunk

_LEAST_SHARE = 1e-6
"""Of the mean variance of a direction, added where shrinking leaves one without any."""


def gaussian_kl(source: DomainSample, target: DomainSample) -> float:
    """Return KL(target || source) in nats per direction: what the source does not expect.

    Both are compared on the leading directions of their average covariance: one for ten samples
    of the smaller domain, at most 64; in all of them, the divergence of two samples of one domain
    can exceed that of two domains. There both covariances are shrunk towards a multiple of the
    identity by the same intensity, the greater of what the two need: shrunk by each its own, a
    small and a large sample of one domain would differ.

    Raises:
        InvalidDataError: Moments are not finite or of different embed_dim.
    """
    from scipy.linalg import solve_triangular

    source, target = both_moments(source, target)
    variance = pooled_variance(source, target)
    if variance == 0:
        return 0.0
    source, target = on_leading_directions(source, target)
    dim = len(source.mean)
    intensity = max(shrinkage(side.covariance, side.n) for side in (source, target))
    ridge = _LEAST_SHARE * variance / dim * np.eye(dim)
    below = np.linalg.cholesky(shrunk(source.covariance, intensity) + ridge)
    above = np.linalg.cholesky(shrunk(target.covariance, intensity) + ridge)
    spread = (solve_triangular(below, above, lower=True) ** 2).sum()
    gap = (solve_triangular(below, target.mean - source.mean, lower=True) ** 2).sum()
    volume = 2 * np.log(np.diagonal(below) / np.diagonal(above)).sum()
    return max(0.0, float(spread + gap + volume - dim) / (2 * dim))
