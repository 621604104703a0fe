"""Leave-one-out accuracy of nearest neighbours."""

from typing import Literal

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import Array, check_features, check_labels, unit_scale

__all__ = ["compute", "knn_loo"]

_BLOCK_BYTES = 2**25  # of the distances that are held at once
_TIE = 1e-10  # squared distances closer than this, relative to the samples' norms, are equal


def compute(given: ScoreInput) -> float:
    """Return the leave-one-out accuracy of the nearest neighbour by cosine."""
    return knn_loo(given.features, given.y, metric="cosine")


def knn_loo(
    features: Array,
    y: Array,
    *,
    k: int = 1,
    metric: Literal["euclidean", "cosine"] = "euclidean",
) -> float:
    """Compute the share of samples whose k nearest others vote for their class, in [0, 1].

    Samples at the same distance share what is left of the k votes, and classes with the same
    votes share the sample, so that neither order nor names of classes matter.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Labels of shape (n_samples,).
        k: Neighbours that vote; all others where there are fewer.
        metric: Distance, of the features as they come.
    """
    features = check_features(features)
    n = len(features)
    codes = check_labels(y, n)
    k = min(k, n - 1)
    rows = unit_scale(features)
    if metric == "cosine":
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(norms > 0, norms, 1)
    else:
        rows = rows - rows.mean(axis=0)  # smaller norms, smaller rounding errors
    squares = np.einsum("nd,nd->n", rows, rows)
    size = max(1, _BLOCK_BYTES // (8 * n))
    right = 0.0
    for at in range(0, n, size):
        block = slice(at, at + size)
        distances = squares - 2 * (rows[block] @ rows.T)
        here = np.arange(len(distances))
        distances[here, at + here] = np.inf
        margins = _TIE * (squares[block] + squares.max())
        right += _count_right(distances, margins, codes, codes[block], k)
    return right / n


def _count_right(distances: Array, margins: Array, codes: Array, truth: Array, k: int) -> float:
    """Count the rows of distances (n_rows, n_samples) whose k nearest vote for their truth."""
    limit = np.partition(distances, k - 1, axis=1)[:, k - 1]
    row, column = np.nonzero(distances <= (limit + margins)[:, None])
    tied = distances[row, column] >= (limit - margins)[row]
    n_rows, n_classes = len(distances), codes.max() + 1
    n_tied = np.bincount(row[tied], minlength=n_rows)
    n_nearer = np.bincount(row[~tied], minlength=n_rows)
    weights = np.where(tied, ((k - n_nearer) / n_tied)[row], 1.0)
    cells = row * n_classes + codes[column]
    votes = np.bincount(cells, weights, minlength=n_rows * n_classes).reshape(n_rows, n_classes)
    best = votes >= votes.max(axis=1, keepdims=True) - 1e-9
    return float((best[np.arange(n_rows), truth] / best.sum(axis=1)).sum())
