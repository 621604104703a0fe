"""Calls of skada's adapters, which want scikit-learn set up otherwise than everybody else does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def _routing() -> Iterator[Any]:
    """Load skada, which turns metadata routing on for good, and turn it off again afterwards."""
    from sklearn import config_context, get_config, set_config

    before = get_config()
    try:
        import skada
    finally:
        set_config(**before)
    with config_context(enable_metadata_routing=True):
        yield skada


def adapter(
    name: str, source: np.ndarray, target: np.ndarray, source_y: np.ndarray, **options: Any
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Fit one of skada's adapters; returns it with both domains after it.

    Args:
        name: Of its class.
        source: Shape (n_source, n_features).
        target: Shape (n_target, n_features).
        source_y: Class codes of shape (n_source,).
        options: Of the adapter.
    """
    X, domain, y = _together(source, target, source_y)
    with _routing() as skada:
        fitted = getattr(skada, name)(**options)
        both = np.asarray(fitted.fit_transform(X, y, sample_domain=domain), np.float32)
    return fitted, (both[: len(source)], both[len(source) :])


def adapted(
    name: str, source: np.ndarray, target: np.ndarray, source_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both domains after one of skada's adapters; see `adapter`."""
    return adapter(name, source, target, source_y)[1]


def source_weights(
    name: str, source: np.ndarray, target: np.ndarray, **options: Any
) -> np.ndarray:
    """Return weights of the source's samples by one of skada's adapters, shape (n_source,)."""
    X, domain, _ = _together(source, target, np.zeros(len(source), np.int64))
    with _routing() as skada:
        fitted = getattr(skada, name)(**options)
        fitted.fit(X, sample_domain=domain)
        weights = np.asarray(fitted.compute_weights(X, sample_domain=domain), np.float64)
    return weights[: len(source)].clip(0.0)


def _together(
    source: np.ndarray, target: np.ndarray, source_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, domains (positive for sources) and labels (-1 where masked)."""
    X = np.concatenate([source, target]).astype(np.float64)
    domain = np.repeat([1, -2], [len(source), len(target)])
    y = np.concatenate([source_y, np.full(len(target), -1)])
    return X, domain, y
