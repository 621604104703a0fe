"""Negative conditional entropy of labels given the classes a source head predicts."""

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import Array, check_labels, check_probs

__all__ = ["compute", "nce"]


def compute(given: ScoreInput) -> float:
    """Return the negative conditional entropy given the source head's likeliest classes."""
    return nce(check_probs(given.source_probs).argmax(axis=1), given.y)


def nce(source_classes: Array, y: Array) -> float:
    """Compute -H(y | z), in nats; at most 0, greater is better.

    Args:
        source_classes: z of shape (n_samples,).
        y: Labels of shape (n_samples,).

    References:
        Tran et al., Transferability and Hardness of Supervised Classification Tasks, ICCV 2019.
    """
    codes = check_labels(y, len(source_classes))
    z = np.unique(source_classes, return_inverse=True)[1]
    n_classes = codes.max() + 1
    joint = np.bincount(z * n_classes + codes, minlength=(z.max() + 1) * n_classes)
    joint = joint.reshape(-1, n_classes)
    row, column = np.nonzero(joint)
    share = joint[row, column] / joint.sum(axis=1)[row]
    return float((joint[row, column] * np.log(share)).sum() / len(codes))
