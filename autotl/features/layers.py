"""What the layers of a backbone make of samples, one by one."""

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.arrays import to_arrays

if TYPE_CHECKING:
    from autotl.features.session import BackboneSession

__all__ = ["LayerFeatures", "cut_features", "layer_average", "layer_means"]

_MASK = "attention_mask"


def cut_features(session: "BackboneSession", rows: np.ndarray) -> list[np.ndarray]:
    """Return the activations at every cut, pooled over positions, the embedding last.

    Each is of shape (len(rows), n_channels) float32: the mean over the pixels of images, and over
    the tokens that count of texts.
    """
    run = _pooled_layers(session)
    parts = [found for _, found in session.passes(rows, session.prepare, run)]
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


class LayerFeatures:
    """Pooled activations at every cut of one session's samples, computed once and kept in memory.

    Args:
        session: The backbone and its samples.
    """

    def __init__(self, session: "BackboneSession") -> None:
        self._session = session
        self._known = np.zeros(len(session.samples), dtype=bool)
        self._values: list[np.ndarray] = []

    def of(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return what `cut_features` does, computing only what is missing."""
        todo = np.unique(rows[~self._known[rows]])
        if len(todo):
            began = time.perf_counter()
            found = cut_features(self._session, todo)
            self._session.embed_seconds += time.perf_counter() - began
            if not self._values:
                n_samples = len(self._known)
                self._values = [np.zeros((n_samples, f.shape[1]), np.float32) for f in found]
            for values, new in zip(self._values, found, strict=True):
                values[todo] = new
            self._known[todo] = True
        return [values[rows] for values in self._values]

    def n_missing(self, rows: np.ndarray) -> int:
        """Count the rows that have not been computed."""
        return int((~self._known[rows]).sum())

    def release(self, limit_bytes: int) -> None:
        """Forget everything where it takes more than so many bytes."""
        if sum(values.nbytes for values in self._values) > limit_bytes:
            self._values, self._known[:] = [], False


def _pooled_layers(session: "BackboneSession") -> Callable[[Any], list[np.ndarray]]:
    """Return a function from a prepared batch to its pooled activations at every cut."""
    # Made before the threads that use them.
    layers_between = [session.part(*ends) for ends in pairwise(session.cuts.depths)]

    def run(batch: Any) -> list[np.ndarray]:
        crossing, found = session.ready(batch), []
        for part in layers_between:
            crossing = session.infer(part, crossing)
            found.append(_pooled(to_arrays(crossing)))
        return found

    return run


def layer_means(session: "BackboneSession", rows: np.ndarray) -> np.ndarray | None:
    """Return token means after every layer, of shape (len(rows), n_layers, embed_dim).

    None where samples do not cross the cuts of a backbone as token vectors, or where layers differ
    in width.
    """
    first = session.ready(session.prepare(rows[:1]))
    if not isinstance(first, dict) or _MASK not in first:
        return None
    layers = cut_features(session, rows)
    if len(layers) < 2 or len({layer.shape for layer in layers}) != 1:
        return None
    return np.stack(layers, axis=1)


def layer_average(means: np.ndarray) -> np.ndarray:
    """Average token means of shape (n_samples, n_layers, embed_dim) over the layers.

    Each layer counts alike: it is scaled to a mean square of one over the samples.

    References:
        Garbas, Ploner, Akbik: Choose Your Transformer: Improved Transferability Estimation of
        Transformer Models on Classification Tasks. Findings of ACL 2024.
    """
    scale = np.sqrt(np.mean(means**2, axis=(0, 2), keepdims=True)) + 1e-12
    average: np.ndarray = (means / scale).mean(axis=1).astype(np.float32)
    return average


def _pooled(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean over positions of all numbers that cross a cut, side by side."""
    mask = arrays.get(_MASK)
    floats = [a for name, a in arrays.items() if name != _MASK and a.dtype.kind == "f"]
    pooled = [_mean(values, mask) for values in floats]
    return np.concatenate(pooled, axis=1).astype(np.float32)


def _mean(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return the mean over the axes between the first and the last."""
    if values.ndim == 3 and mask is not None and values.shape[:2] == mask.shape:
        counts = mask.astype(np.float32)[:, :, None]
        means: np.ndarray = (values * counts).sum(axis=1) / counts.sum(axis=1).clip(1.0)
        return means
    return values.mean(axis=tuple(range(1, values.ndim - 1))) if values.ndim > 2 else values
