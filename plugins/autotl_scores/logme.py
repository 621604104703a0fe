"""LogME: the evidence of Bayesian linear regression on one-hot labels, maximised per class."""

from typing import Literal

import numpy as np

from autotl.specs import ScoreInput
from autotl_scores.inputs import Array, check_features, check_labels, class_sums

__all__ = ["compute", "logme"]

_ITERATIONS, _TOLERANCE, _EPSILON = 11, 1e-3, 1e-5  # of the published fixed point


def compute(given: ScoreInput) -> float:
    """Return LogME of features scaled to root mean square one."""
    return logme(given.features, given.y, normalise=True)


def logme(
    features: Array,
    y: Array,
    *,
    normalise: bool = False,
    variant: Literal["corrected", "reference"] = "corrected",
) -> float:
    """Compute the mean log evidence per sample, in nats; greater is better.

    Features are not centred. The published fixed point counts the prior of
    embed_dim weights but the posterior of only min(n_samples, embed_dim) of them, and grows
    without bound where samples are few; "corrected" counts both alike.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Labels of shape (n_samples,).
        normalise: Scale features to root mean square one: the published epsilon, and where the
            fixed point stops, depend on their scale.
        variant: "reference" leaves the published error in, for comparison.

    References:
        You et al., LogME: Practical Assessment of Pre-trained Models for Transfer Learning,
        ICML 2021, algorithm 2 (alpha, beta, sigma, t as there).
    """
    features = check_features(features)
    n, d = features.shape
    codes = check_labels(y, n)
    sigma, squares = _spectrum(features, codes)
    if normalise and len(sigma):
        sigma = sigma * (n * d / sigma.sum())
    evidence, alpha = _maximise(sigma, squares, np.bincount(codes), n)
    if variant == "reference":
        evidence = evidence + (d - min(n, d)) / 2 * np.log(alpha)
    return float(evidence.mean() / n)


def _spectrum(features: Array, codes: Array) -> tuple[Array, Array]:
    """Return squared singular values (rank,) and squared targets (rank, n_classes) along them."""
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    n, d = features.shape
    tall = n > d
    gram = features.T @ features if tall else features @ features.T
    with threadpool_limits(1, user_api="blas"):  # two lose several times over at this size
        sigma, vectors = eigh(gram.T, driver="evd", overwrite_a=True)
    keep = sigma > max(n, d) * np.finfo(float).eps * sigma[-1]
    sigma, vectors = sigma[keep], vectors[:, keep]
    if tall:  # the left singular vectors are never formed
        along = (class_sums(features, codes) @ vectors).T / np.sqrt(sigma)[:, None]
    else:
        along = class_sums(vectors, codes).T
    return sigma, along**2


def _maximise(sigma: Array, squares: Array, counts: Array, n: int) -> tuple[Array, Array]:
    """Run the fixed point of all classes at once; returns log evidence and alpha of each."""
    s = sigma[:, None]
    rest = (counts - squares.sum(axis=0)).clip(0)  # of the targets, outside the features' span
    evidence, alpha, beta = np.empty(len(counts)), np.ones(len(counts)), np.ones(len(counts))
    active = np.arange(len(counts))
    for _ in range(_ITERATIONS):
        t, x2 = alpha[active] / beta[active], squares[:, active]
        shrunk = t / (s + t)
        m2 = (s * x2 / (s + t) ** 2).sum(axis=0)
        residual = (x2 * shrunk**2).sum(axis=0) + rest[active]
        # n - gamma, without the cancellation where t is tiny
        free = n - len(sigma) + shrunk.sum(axis=0)
        a = (1 - shrunk).sum(axis=0) / (m2 + _EPSILON)
        b = free / (residual + _EPSILON)
        # ln alpha - ln(alpha + beta sigma) per direction: those without variance cancel.
        fit = -np.log1p(s * b / a).sum(axis=0)
        evidence[active] = (n * np.log(b / (2 * np.pi)) + fit - b * residual - a * m2) / 2
        alpha[active], beta[active] = a, b
        active = active[np.abs(a / b - t) > _TOLERANCE * t]
        if not len(active):
            break
    return evidence, alpha
