"""What the measures take from two domains, checked once and on one scale."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autotl.errors import InvalidDataError
from autotl.specs import DomainSample

Pair = tuple[np.ndarray, np.ndarray]

_CONSTANT = 1e-24
"""Variance relative to the mean square below which features differ by rounding only."""


def both_moments(source: DomainSample, target: DomainSample) -> tuple[DomainSample, DomainSample]:
    """Return the domains with moments in double precision and covariances symmetric.

    Raises:
        InvalidDataError: Moments are not finite, do not fit each other or come from one sample.
    """
    one, other = _of_both(_moments, source, target)
    _check_width(one.mean, other.mean)
    return one, other


def both_samples(source: DomainSample, target: DomainSample, limit: int) -> Pair:
    """Return features of shape (n_samples, embed_dim), at most limit samples of each domain.

    Both are moved and scaled alike, so that the mean squared distance from their common centre
    is 1, each domain counting half; that makes distances of different backbones comparable.
    Features without any variance become 0.

    Raises:
        InvalidDataError: Features are missing, not finite, of different widths or fewer than two.
    """
    one, other = _of_both(_features, source, target)
    _check_width(one, other)
    # Doubles after the choice: all of a large domain would take gigabytes.
    chosen = one[_chosen(source, limit)], other[_chosen(target, limit)]
    return _on_one_scale(*(rows.astype(np.float64) for rows in chosen))


def both_labelled(source: DomainSample, target: DomainSample, limit: int) -> tuple[Pair, Pair]:
    """Return features, as `both_samples` does, and class codes from 0 of shape (n_samples,).

    Raises:
        InvalidDataError: Also where labels are missing or of another number than the features.
    """
    features = both_samples(source, target, limit)
    one, other = _of_both(_classes, source, target)
    labels = one[_chosen(source, limit)], other[_chosen(target, limit)]
    first, second = (np.unique(y, return_inverse=True)[1] for y in labels)
    return features, (first, second)


def both_texts(source: DomainSample, target: DomainSample) -> tuple[Sequence[str], Sequence[str]]:
    """Return the texts of both domains.

    Raises:
        InvalidDataError: A domain has no samples, or they are not texts.
    """
    one, other = _of_both(_texts, source, target)
    return one, other


def pooled_variance(source: DomainSample, target: DomainSample) -> float:
    """Return the total variance of the two domains together, each counting half."""
    gap = source.mean - target.mean
    within = np.trace(source.covariance) + np.trace(target.covariance)
    pooled = float(within / 2 + gap @ gap / 4)
    power = float(source.mean @ source.mean + target.mean @ target.mean)
    return pooled if pooled > _CONSTANT * power else 0.0


def _of_both(
    ingredient: Callable[[DomainSample, str], Any], source: DomainSample, target: DomainSample
) -> tuple[Any, Any]:
    return ingredient(source, "source"), ingredient(target, "target")


def _moments(domain: DomainSample, side: str) -> DomainSample:
    mean = np.asarray(domain.mean, dtype=np.float64)
    covariance = np.asarray(domain.covariance, dtype=np.float64)
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InvalidDataError(
            f"The {side} has a mean of shape {mean.shape} and a covariance of shape "
            f"{covariance.shape}; expected (embed_dim,) and (embed_dim, embed_dim). Pass both of "
            "the same features."
        )
    if domain.n < 2:
        raise InvalidDataError(
            f"The moments of the {side} come from {domain.n} samples; a covariance needs at least "
            "two. Pass more samples."
        )
    _check_finite(mean, f"mean of the {side}")
    _check_finite(covariance, f"covariance of the {side}")
    return dataclasses.replace(domain, mean=mean, covariance=(covariance + covariance.T) / 2)


def _features(domain: DomainSample, side: str) -> np.ndarray:
    if domain.features is None:
        raise InvalidDataError(
            f"The {side} has no features, only moments; this measure compares samples. Pass "
            "samples of it, or choose a measure that needs moments."
        )
    features = np.asarray(domain.features)
    if features.ndim != 2 or len(features) < 2:
        raise InvalidDataError(
            f"The features of the {side} have the shape {features.shape}; expected at least two "
            "rows of (n_samples, embed_dim). Pass more samples."
        )
    _check_finite(features, f"features of the {side}")
    return features


def _classes(domain: DomainSample, side: str) -> np.ndarray:
    if domain.y is None:
        raise InvalidDataError(
            f"The {side} has no labels y; this measure compares classes. Pass y, or choose a "
            "measure that does without labels."
        )
    y = np.asarray(domain.y)
    n_samples = len(domain.features) if domain.features is not None else 0
    if y.shape != (n_samples,):
        raise InvalidDataError(
            f"The {side} has {n_samples} rows of features but y of shape {y.shape}. Pass one "
            "class code per row."
        )
    if y.dtype.kind == "f":
        _check_finite(y, f"labels of the {side}")
    return y


def _texts(domain: DomainSample, side: str) -> Sequence[str]:
    if domain.samples is None:
        raise InvalidDataError(
            f"The {side} has no samples; this measure reads texts. Pass the texts themselves."
        )
    for text in domain.samples:
        if not isinstance(text, str):
            raise InvalidDataError(
                f"The {side} has a sample of type {type(text).__name__!r}; this measure reads "
                "texts. Pass str, or choose a measure that compares features."
            )
    return domain.samples


def _check_finite(values: np.ndarray, what: str) -> None:
    n_bad = int(values.size - np.isfinite(values).sum())
    if n_bad:
        raise InvalidDataError(
            f"{n_bad} of {values.size} numbers in the {what} are NaN or infinite. Drop or repair "
            "the samples behind them."
        )


def _check_width(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape[-1] != other.shape[-1]:
        raise InvalidDataError(
            f"The source has embed_dim {one.shape[-1]}, the target {other.shape[-1]}. Embed both "
            "with the same backbone."
        )


def _chosen(domain: DomainSample, limit: int) -> np.ndarray:
    """Return the rows that stay: all, or limit of them in their order."""
    n_samples = len(domain.features) if domain.features is not None else 0
    if n_samples <= limit:
        return np.arange(n_samples)
    drawn = np.random.default_rng(domain.seed).choice(n_samples, limit, replace=False)
    rows: np.ndarray = np.sort(drawn)
    return rows


def _on_one_scale(one: np.ndarray, other: np.ndarray) -> Pair:
    power = (np.mean(one**2) + np.mean(other**2)) / 2
    centre = (one.mean(axis=0) + other.mean(axis=0)) / 2
    one, other = one - centre, other - centre
    variance = (np.mean(one**2) + np.mean(other**2)) / 2
    if variance <= _CONSTANT * power:
        return np.zeros_like(one), np.zeros_like(other)
    unit = np.sqrt(variance * one.shape[1])
    return one / unit, other / unit
