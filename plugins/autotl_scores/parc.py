"""PARC: do samples that differ in features differ in class?"""

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import Array, check_features, check_labels, content_order, unit_scale

__all__ = ["compute", "parc"]


def compute(given: ScoreInput) -> float:
    """Return PARC of at most 500 samples."""
    return parc(given.features, given.y, seed=given.seed)


def parc(features: Array, y: Array, *, max_samples: int = 500, seed: int = 0) -> float:
    """Compute 100 times Spearman's correlation of pairwise distances, in [-100, 100].

    Distances are one minus the correlation of standardised features, and of one-hot labels;
    equal ones share their rank, where rounding decides between them in the paper's code. 0
    where all distances are equal.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Labels of shape (n_samples,).
        max_samples: Of more, a stratified draw is taken, which depends on their content and the
            seed, but neither on their order nor on the names of classes. Time and memory are
            quadratic in it.
        seed: Of the draw.

    References:
        Bolya et al., Scalable Diverse Model Selection for Accessible Transfer Learning,
        NeurIPS 2021.
    """
    from scipy.stats import rankdata

    features = check_features(features)
    codes = check_labels(y, len(features))
    chosen = _draw(features, codes, max_samples, seed)
    features, codes = features[chosen], codes[chosen]
    pairs = np.triu_indices(len(codes), 1)
    # Labels are equally far apart in all pairs of different classes: ranks of two values.
    apart = (codes[:, None] != codes)[pairs].astype(float)
    # Copies are at distance zero, whatever the rounding.
    ranks = rankdata(np.round(_distances(features)[pairs], 12))
    ranks -= ranks.mean()
    apart -= apart.mean()
    scale = np.linalg.norm(ranks) * np.linalg.norm(apart)
    return float(100 * (ranks @ apart) / scale) if scale > 0 else 0.0


def _draw(features: Array, codes: Array, size: int, seed: int) -> Array:
    """Return the indices of at most `size` samples, of each class about its share."""
    n = len(codes)
    if n <= size:
        return np.arange(n)
    lot = np.empty(n, int)
    lot[content_order(features)] = np.random.default_rng(seed).permutation(n)
    by_class = np.lexsort((lot, codes))
    counts = np.bincount(codes)
    place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    quantile = np.empty(n)
    quantile[by_class] = (place + 0.5) / np.repeat(counts, counts)
    return np.lexsort((lot, quantile))[:size]


def _distances(features: Array) -> Array:
    """Return one minus the correlation of each two samples, features standardised."""
    centred = unit_scale(features)
    centred = centred - centred.mean(axis=0)
    deviations = centred.std(axis=0)
    standard = centred / np.where(deviations > 1e-12, deviations, np.inf)
    standard -= standard.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(standard, axis=1, keepdims=True)
    rows = standard / np.where(norms > 1e-12, norms, np.inf)
    distances: Array = 1 - rows @ rows.T
    return distances
