"""NLEEP: LEEP with the components of a Gaussian mixture in place of source classes."""

import warnings

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import (
    Array,
    check_features,
    check_labels,
    content_order,
    principal_components,
    unit_scale,
)
from autotl_scores.leep import leep

__all__ = ["compute", "nleep"]

_VARIANCE = 0.8  # that the principal components keep
_PER_CLASS = 5  # components of the mixture
_LEAST_SAMPLES = 5  # per component, or each sample would explain itself


def compute(given: ScoreInput) -> float:
    """Return NLEEP of the features."""
    return nleep(given.features, given.y, seed=given.seed)


def nleep(features: Array, y: Array, *, seed: int = 0) -> float:
    """Compute LEEP of the posteriors of a Gaussian mixture, in nats; greater is better.

    Variances are diagonal in the principal components. The mixture sees samples in an order
    that depends on their content only, so that theirs here does not matter.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Labels of shape (n_samples,).
        seed: Of the mixture's start.

    References:
        Li et al., Ranking Neural Checkpoints, CVPR 2021.
    """
    features = check_features(features)
    codes = check_labels(y, len(features))
    order = content_order(features)
    features, codes = features[order], codes[order]
    components, squares = principal_components(unit_scale(features))
    kept = np.searchsorted(np.cumsum(squares), _VARIANCE * squares.sum()) + 1
    components = components[:, :kept]
    wanted = min(_PER_CLASS * (codes.max() + 1), len(codes) // _LEAST_SAMPLES)
    return leep(_posteriors(unit_scale(components), max(1, int(wanted)), seed), codes)


def _posteriors(components: Array, n_components: int, seed: int) -> Array:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    mixture = GaussianMixture(n_components, covariance_type="diag", random_state=seed)
    # Many small steps: threads would wait for each other, on a busy machine most of the time.
    with threadpool_limits(1), warnings.catch_warnings():
        # Posteriors on the way are good enough, and copies of a sample share a component.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posteriors: Array = mixture.fit(components).predict_proba(components)
    return posteriors
