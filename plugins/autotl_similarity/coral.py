"""Distance between the covariances of two domains."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import both_moments


def coral(source: DomainSample, target: DomainSample) -> float:
    """Return ||C_source - C_target||_F^2 / (4 embed_dim^2).

    It does not see a shift of the mean, and it grows with the fourth power of the scale of the
    features: compare it within one backbone only.

    Raises:
        InvalidDataError: Moments are not finite or of different embed_dim.
    """
    source, target = both_moments(source, target)
    difference = source.covariance - target.covariance
    return float(np.sum(difference**2)) / (4 * len(source.mean) ** 2)
