"""What scores share: checked input, class sums, components, an order that is the content's."""

from typing import Any

import numpy as np

from autotl.errors import InvalidDataError

__all__ = [
    "check_features",
    "check_labels",
    "check_probs",
    "class_sums",
    "content_order",
    "principal_components",
    "unit_scale",
]

Array = np.ndarray[Any, Any]


def check_features(features: Array, name: str = "features") -> Array:
    """Return features of shape (n_samples, embed_dim) as float64; errors call them `name`.

    Raises:
        InvalidDataError: They are no matrix of at least two rows, or not all finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise InvalidDataError(
            f"The {name} have shape {features.shape}; expected a matrix of at least two samples. "
            "Pass one row per sample."
        )
    exact: Array = features.astype(np.float64, copy=False)
    if not np.isfinite(np.vdot(exact, exact)):
        n_bad = exact.size - np.isfinite(exact).sum()
        raise InvalidDataError(
            f"Of {exact.size} values of the {name} {n_bad} are not finite, and the sum of "
            "their squares is not; expected a finite one. Extract them in float32, without "
            "autocast."
        )
    return exact


def check_labels(y: Array, n: int) -> Array:
    """Return labels of n samples as codes 0, 1, ... of the classes that occur.

    Raises:
        InvalidDataError: There are not n labels, or of one class only.
    """
    y = np.asarray(y)
    if y.shape != (n,):
        raise InvalidDataError(
            f"y has shape {y.shape} but there are {n} samples; expected one label per sample."
        )
    names, codes = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise InvalidDataError(
            f"All {n} labels are of the class {names[0].item()!r}; expected at least two classes. "
            "Draw the samples from all classes."
        )
    return np.asarray(codes)


def check_probs(source_probs: Array | None) -> Array:
    """Return probabilities of shape (n_samples, n_source_classes) as float64.

    Raises:
        InvalidDataError: There are none, or a row is no distribution.
    """
    if source_probs is None:
        raise InvalidDataError(
            "source_probs is None; expected shape (n_samples, n_source_classes). Use this score "
            "with backbones that have their source head only."
        )
    probs = check_features(source_probs, "source_probs")
    sums = probs.sum(axis=1)
    # Rows that were rounded to float16 still sum to one within a hundredth.
    if probs.min() < 0 or np.abs(sums - 1).max() > 1e-2:
        raise InvalidDataError(
            f"source_probs has values from {probs.min():.3g} and row sums from {sums.min():.3g} "
            f"to {sums.max():.3g}; expected rows that sum to one. Apply a softmax."
        )
    return probs


def unit_scale(features: Array) -> Array:
    """Divide by the root mean square of all values, so that a score ignores the scale."""
    scale = np.sqrt(np.vdot(features, features) / features.size)
    scaled: Array = features / scale if scale > 0 else features
    return scaled


def class_sums(rows: Array, codes: Array) -> Array:
    """Sum rows by class; returns shape (n_classes, rows.shape[1])."""
    from scipy.sparse import csr_array

    n = len(codes)
    entries = np.ones(n), (codes, np.arange(n))
    sums: Array = csr_array(entries, shape=(codes.max() + 1, n)) @ rows
    return sums


def content_order(features: Array) -> Array:
    """Return the indices that sort samples by their bytes, whatever order they come in."""
    rows = np.ascontiguousarray(features)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
    return np.argsort(keys[:, 0], kind="stable")


def principal_components(features: Array) -> tuple[Array, Array]:
    """Rotate centred features to their components, largest variance first.

    Returns shape (n_samples, rank) and the sum of squares of each; components within rounding
    of zero are dropped, but not the first.
    """
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    centred = features - features.mean(axis=0)
    tall = len(centred) > centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    with threadpool_limits(1, user_api="blas"):  # two lose several times over at this size
        squares, vectors = eigh(gram.T, driver="evd", overwrite_a=True)
    rank = max(1, int((squares > 1e-12 * squares[-1]).sum()))
    squares, vectors = squares[::-1][:rank].clip(0), vectors[:, ::-1][:, :rank]
    return centred @ vectors if tall else vectors * np.sqrt(squares), squares
