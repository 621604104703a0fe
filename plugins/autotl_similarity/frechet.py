"""Fréchet distance of the Gaussians with the moments of two domains."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import both_moments, pooled_variance
from autotl_similarity.gaussians import bures, on_leading_directions


def frechet(source: DomainSample, target: DomainSample) -> float:
    """Return the squared Fréchet distance as a share of the pooled total variance, in [0, 4].

    With few samples the plain distance is mostly bias. Of the squared distance of the means, its
    expectation for equal means is taken away; the covariances are compared on the leading
    directions of their average only: one for ten samples of the smaller domain, at most 64. What
    remains is nearly the same for 50 samples and for 1,000. The division makes numbers of
    different backbones comparable: 0 for equal moments, 4 for two distant points.

    Raises:
        InvalidDataError: Moments are not finite or of different embed_dim.
    """
    source, target = both_moments(source, target)
    variance = pooled_variance(source, target)
    if variance == 0:
        return 0.0
    gap = source.mean - target.mean
    noise = np.trace(source.covariance) / source.n + np.trace(target.covariance) / target.n
    between_means = max(0.0, float(gap @ gap - noise))
    one, other = on_leading_directions(source, target)
    return (between_means + float(bures(one.covariance, other.covariance))) / variance
