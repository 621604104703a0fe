"""Turn images into the tensors that the embedded image backbones expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # noqa: TID253  # imported by `load` only
from torch import Tensor  # noqa: TID253  # imported by `load` only

from autotl_embedded.networks import Network

__all__ = ["preprocess", "standardise_glyphs", "standardise_natural"]

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


def preprocess(network: Network, samples: Sequence[Any]) -> Tensor:
    """Return images of shape (n_samples, n_channels, n_pixels, n_pixels), standardised.

    Of a network that sees one channel the input is the main contrast of each image.
    """
    batch = _stack(samples, network.n_pixels)
    if network.n_channels == 1:
        return standardise_glyphs(_main_contrast(batch))
    return standardise_natural(batch)


def _main_contrast(batch: Tensor) -> Tensor:
    """Project the pixels of each image onto the direction in which its colours differ most.

    A red stroke on an equally bright green ground keeps its shape, which grey values lose. Of a
    grey image the result is proportional to the grey values.

    Args:
        batch: RGB images of shape (n_samples, 3, height, width).
    """
    pixels = batch.flatten(2)
    centred = pixels - pixels.mean(dim=2, keepdim=True)
    # Eigenvalues come in ascending order.
    direction = torch.linalg.eigh(centred @ centred.transpose(1, 2)).eigenvectors[:, :, -1:]
    # The sign is arbitrary; brighter shall be greater.
    direction = torch.where(direction.sum(dim=1, keepdim=True) < 0.0, -direction, direction)
    contrast = direction.transpose(1, 2) @ centred
    return contrast.view(len(batch), 1, *batch.shape[2:])


def _stack(samples: Sequence[Any], size: int) -> Tensor:
    """Resize PIL images to a square and stack them as RGB, channels first, in [0, 1]."""
    from PIL.Image import Resampling

    stacked = np.empty((len(samples), size, size, 3), dtype=np.uint8)
    for row, sample in enumerate(samples):
        stacked[row] = sample.convert("RGB").resize((size, size), Resampling.BILINEAR)
    batch = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()
    return batch.to(torch.float32) / 255.0
