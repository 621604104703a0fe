"""What the layers of a text encoder make of texts, one by one."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.arrays import to_arrays

if TYPE_CHECKING:
    from autotl.features.session import BackboneSession

__all__ = ["layer_average", "layer_means"]

_MASK = "attention_mask"


def layer_means(session: "BackboneSession", rows: np.ndarray) -> np.ndarray | None:
    """Return token means after every layer, of shape (len(rows), n_layers, embed_dim).

    None where samples do not cross the cuts of a backbone as token vectors, or where layers differ
    in width.
    """
    first = session.ready(session.prepare(rows[:1]))
    if not isinstance(first, dict) or _MASK not in first:
        return None
    # Made before the threads that use them.
    layers_between = [session.part(*ends) for ends in pairwise(session.cuts.depths)]

    def run(batch: Any) -> list[np.ndarray | None]:
        crossing, means = session.ready(batch), []
        for part in layers_between:
            crossing = session.infer(part, crossing)
            means.append(_token_mean(to_arrays(crossing)))
        return means

    parts = [means for _, means in session.passes(rows, session.prepare, run)]
    layers = [_joined(layer) for layer in zip(*parts, strict=True)]
    usable = [layer for layer in layers if layer is not None]
    if len(usable) < 2 or len({layer.shape for layer in usable}) != 1:
        return None
    return np.stack(usable, axis=1)


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


def _joined(layer: tuple[np.ndarray | None, ...]) -> np.ndarray | None:
    known = [part for part in layer if part is not None]
    return np.concatenate(known) if len(known) == len(layer) else None


def _token_mean(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the mean over the tokens that count; the last layer is pooled already."""
    floats = [a for name, a in arrays.items() if name != _MASK and a.dtype.kind == "f"]
    if len(floats) != 1:
        return None
    (values,) = floats
    if values.ndim == 2:
        return values.astype(np.float32)
    if values.ndim != 3 or _MASK not in arrays:
        return None
    mask = arrays[_MASK].astype(np.float32)[:, :, None]
    mean: np.ndarray = (values * mask).sum(axis=1) / mask.sum(axis=1).clip(1.0)
    return mean
