"""LEEP: how well the classes of the source predict those of the target."""

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import Array, check_labels, check_probs, class_sums

__all__ = ["compute", "leep"]


def compute(given: ScoreInput) -> float:
    """Return LEEP of the source head's probabilities."""
    return leep(check_probs(given.source_probs), given.y)


def leep(source_probs: Array, y: Array) -> float:
    """Compute the mean log-likelihood of labels, in nats; at most 0, greater is better.

    A label is predicted by drawing a source class z from the sample's probabilities, then a
    class of the target from P(y | z) as observed.

    Args:
        source_probs: Shape (n_samples, n_source_classes), rows summing to one.
        y: Labels of shape (n_samples,).

    References:
        Nguyen et al., LEEP, ICML 2020, equations 1 and 2 (theta is `source_probs`).
    """
    codes = check_labels(y, len(source_probs))
    joint = class_sums(source_probs, codes)
    total = joint.sum(axis=0)
    given_source = joint / np.where(total > 0, total, 1)
    likelihood = np.einsum("nz,nz->n", given_source[codes], source_probs)
    return float(np.log(likelihood).mean())
