"""Turn images into the tensors that the embedded image backbones expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # noqa: TID253  # imported by `load` only
from torch import Tensor  # noqa: TID253  # imported by `load` only

__all__ = [
    "GLYPH_SIZE",
    "NATURAL_SIZE",
    "preprocess_glyphs",
    "preprocess_natural",
    "standardise_glyphs",
    "standardise_natural",
]

GLYPH_SIZE = 32
NATURAL_SIZE = 64

# Channel means and standard deviations of ImageNet, in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def standardise_glyphs(batch: Tensor) -> Tensor:
    """Make strokes bright on dark and each image zero-mean with unit variance.

    An image whose border is brighter than its whole is dark on bright and is inverted.

    Args:
        batch: Grey images of shape (n_samples, 1, height, width), any range.
    """
    rows = batch[:, :, [0, -1], :].mean(dim=(1, 2, 3))
    columns = batch[:, :, :, [0, -1]].mean(dim=(1, 2, 3))
    whole = batch.mean(dim=(1, 2, 3))
    sign = torch.where(rows + columns > 2 * whole, -1.0, 1.0).view(-1, 1, 1, 1)
    centred = (batch - whole.view(-1, 1, 1, 1)) * sign
    scale = centred.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return centred / scale.clamp_min(1e-3)


def standardise_natural(batch: Tensor) -> Tensor:
    """Subtract ImageNet's channel means and divide by its standard deviations.

    Args:
        batch: RGB images of shape (n_samples, 3, height, width) in [0, 1].
    """
    mean = torch.tensor(_MEAN, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(_STD, device=batch.device).view(1, 3, 1, 1)
    return (batch - mean) / std


def preprocess_glyphs(samples: Sequence[Any]) -> Tensor:
    """Return grey images of shape (n_samples, 1, 32, 32), standardised one by one."""
    return standardise_glyphs(_stack(samples, "L", GLYPH_SIZE))


def preprocess_natural(samples: Sequence[Any]) -> Tensor:
    """Return RGB images of shape (n_samples, 3, 64, 64), standardised as ImageNet's."""
    return standardise_natural(_stack(samples, "RGB", NATURAL_SIZE))


def _stack(samples: Sequence[Any], mode: str, size: int) -> Tensor:
    """Resize PIL images to a square and stack them, channels first, in [0, 1]."""
    from PIL.Image import Resampling

    n_channels = len(mode)
    stacked = np.empty((len(samples), size, size, n_channels), dtype=np.uint8)
    for row, sample in enumerate(samples):
        resized = sample.convert(mode).resize((size, size), Resampling.BILINEAR)
        stacked[row] = np.asarray(resized).reshape(size, size, n_channels)
    batch = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()
    return batch.to(torch.float32) / 255.0
