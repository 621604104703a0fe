"""Eight-bit storage of weights: int8 rows with one scale each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["dequantise", "quantise"]

_SCALE = ".scale"


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Store tensors of two or more axes as int8 with a float32 scale per row, others as float32.

    Args:
        tensors: By name; the first axis is the output channel or the token.
    """
    import torch

    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().float().cpu()
        if value.ndim < 2:
            stored[name] = value.contiguous()
            continue
        scale = value.flatten(1).abs().amax(1).clamp_min(1e-12) / 127.0
        steps = value / scale.view(-1, *[1] * (value.ndim - 1))
        stored[name] = steps.round().to(torch.int8).contiguous()
        stored[name + _SCALE] = scale
    return stored


def dequantise(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the float32 tensors that `quantise` stored."""
    tensors: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        tensors[name] = value.float()
        if scale is not None:
            tensors[name] = tensors[name] * scale.view(-1, *[1] * (value.ndim - 1))
    return tensors
