"""Kinds of samples, and features without pretraining."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotl.specs.base import SavedState, Spec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class RawFeatureSpec(Spec):
    """Features without any pretraining, for the floor.

    Args:
        fit: Learns what it needs from training samples; returns tensors and JSON as `SavedState`.
        transform: Maps samples and that state to a matrix of shape (n_samples, n_features),
            float32, dense or `scipy.sparse` CSR.
        cost: Rough relative cost; the floor tries cheap ones first.
    """

    fit: Callable[[Sequence[Any]], "SavedState"]
    transform: Callable[[Sequence[Any], "SavedState"], Any]
    cost: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ModalitySpec(Spec):
    """A kind of sample.

    Args:
        accepts: Whether an in-memory `X` looks like this modality. Cheap.
        as_samples: Turns `X` into a sequence of samples, which may read a sample when it is
            accessed, in several threads at once. An unusable sample becomes an
            Exception instance in its place (its message says why) and the engine counts it as
            skipped; raises InvalidDataError when `X` as a whole cannot be read.
        fingerprint: Maps a sample to bytes that are equal exactly for equal content.
        raw_features: What the floor is built on, cheapest first.
        augment: Maps (batch, generator, strength in [0, 1]) to an augmented batch of the same
            shapes, or None where the modality has no label-preserving augmentation.
    """

    accepts: Callable[[Any], bool]
    as_samples: Callable[[Any], Sequence[Any]]
    fingerprint: Callable[[Any], bytes]
    raw_features: tuple[RawFeatureSpec, ...] = ()
    augment: "Callable[[Any, torch.Generator, float], Any] | None" = None
