"""Turn images into the tensors that the embedded image backbones expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch  # noqa: TID253  # imported by `load` only
from torch import Tensor  # noqa: TID253  # imported by `load` only

from autotl_embedded.networks import Network

__all__ = ["Preprocess", "preprocess", "standardise_glyphs", "standardise_natural"]

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


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize PIL images to a square, then standardise them for the embedded networks.

    Args:
        n_channels: Of the network's input: 3, or 1 for the main contrast of each image.
        n_pixels: Height and width.
    """

    n_channels: int
    n_pixels: int

    def __call__(self, samples: Sequence[Any]) -> Tensor:
        """Return float32 (n_samples, n_channels, n_pixels, n_pixels)."""
        return self.standardise(self.pixels(samples))

    def pixels(self, samples: Sequence[Any]) -> Tensor:
        """Return RGB as uint8 (n_samples, 3, n_pixels, n_pixels), channels-last in memory."""
        from PIL.Image import Resampling

        size = (self.n_pixels, self.n_pixels)
        stacked = np.empty((len(samples), *size, 3), dtype=np.uint8)
        for row, sample in enumerate(samples):
            stacked[row] = sample.convert("RGB").resize(size, Resampling.BILINEAR)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)

    def standardise(self, batch: Tensor) -> Tensor:
        """Return float32 on the device of `batch`, RGB from 0 to 255."""
        scaled = batch.contiguous().to(torch.float32) / 255.0
        if self.n_channels == 1:
            return standardise_glyphs(_main_contrast(scaled))
        return standardise_natural(scaled)


def preprocess(network: Network, samples: Sequence[Any]) -> Tensor:
    """Return what a network reads, standardised, on the CPU."""
    return Preprocess(n_channels=network.n_channels, n_pixels=network.n_pixels)(samples)


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
    # On the CPU, since not every device has the decomposition, and it is of 3 x 3 numbers.
    spread = (centred @ centred.transpose(1, 2)).cpu()
    direction = torch.linalg.eigh(spread).eigenvectors[:, :, -1:].to(batch.device)
    # The sign is arbitrary; brighter shall be greater.
    direction = torch.where(direction.sum(dim=1, keepdim=True) < 0.0, -direction, direction)
    contrast = direction.transpose(1, 2) @ centred
    return contrast.view(len(batch), 1, *batch.shape[2:])
