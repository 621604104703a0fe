"""Turn PIL images into the batch that an image backbone expects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from autotl.errors import InvalidDataError

if TYPE_CHECKING:
    import torch

__all__ = ["ImagePreprocess", "Interpolation", "StagedPreprocess", "image_preprocess"]

Interpolation = Literal["bilinear", "bicubic"]

_MODES = {1: "L", 3: "RGB"}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_REDUCING_GAP = 2.0  # lets Pillow shrink a large image by whole factors before it filters


@runtime_checkable
class StagedPreprocess(Protocol):
    """Preprocessing in two stages, whose first result is small and worth keeping.

    A backbone's `preprocess` that also has these two methods is called in parts: `pixels` in
    background threads, `standardise` on the device just before the network. Between them a sample
    takes a byte a value instead of four. `repr` tells all that the result depends on, the same in
    every process, since it becomes part of the key under which activations are cached.
    """

    def pixels(self, samples: Sequence[Any]) -> "torch.Tensor":
        """Return uint8 (n_samples, channels, height, width) on the CPU, best channels-last."""
        ...

    def standardise(self, batch: "torch.Tensor") -> "torch.Tensor":
        """Return float32 on the device of `batch`, which stays as it is."""
        ...

    def __call__(self, samples: Sequence[Any]) -> "torch.Tensor":
        """Return `standardise(pixels(samples))`."""
        ...


@dataclass(frozen=True)
class ImagePreprocess:
    """Resize, scale to [0, 1] and standardise; see `image_preprocess`."""

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    crop: float | None = None

    def __call__(self, samples: Sequence[Image.Image]) -> "torch.Tensor":
        """Return a float32 batch of shape (n_samples, channels, height, width) on the CPU."""
        return self.standardise(self.pixels(samples))

    def pixels(self, samples: Sequence[Image.Image]) -> "torch.Tensor":
        """Return uint8 of shape (n_samples, channels, height, width), channels-last in memory."""
        import torch

        channels, height, width = self.input_size
        pixels = np.empty((len(samples), height, width, channels), dtype=np.uint8)
        for row, sample in enumerate(samples):
            pixels[row] = np.asarray(self._resized(sample)).reshape(height, width, channels)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def standardise(self, batch: "torch.Tensor") -> "torch.Tensor":
        """Return float32 of the same shape on the same device, channels-last in memory.

        Args:
            batch: Pixels from 0 to 255 of shape (n_samples, channels, height, width).
        """
        import torch

        n, channels, height, width = batch.shape
        # One long row of channels beside channels: several times faster than a short last axis.
        rows = batch.permute(0, 2, 3, 1).reshape(n, height, width * channels).to(torch.float32)
        scale = torch.tensor([1 / (255 * s) for s in self.std], device=batch.device)
        shift = torch.tensor(
            [-m / s for m, s in zip(self.mean, self.std, strict=True)], device=batch.device
        )
        rows = rows.mul_(scale.repeat(width)).add_(shift.repeat(width))
        return rows.view(n, height, width, channels).permute(0, 3, 1, 2)

    def _resized(self, image: Image.Image) -> Image.Image:
        mode = _MODES[self.input_size[0]]
        image = image if image.mode == mode else image.convert(mode)
        size = (self.input_size[2], self.input_size[1])
        if image.size == size:
            return image
        box = None if self.crop is None else self._central_box(image.size)
        return image.resize(size, _FILTERS[self.interpolation], box, reducing_gap=_REDUCING_GAP)

    def _central_box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the largest central box of the input's shape, times `crop`, in pixels."""
        width, height = size
        ratio = self.input_size[2] / self.input_size[1]
        fraction = self.crop or 1.0
        box_width = min(width, height * ratio) * fraction
        box_height = min(height, width / ratio) * fraction
        left, top = (width - box_width) / 2, (height - box_height) / 2
        return (left, top, left + box_width, top + box_height)


def image_preprocess(
    input_size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: Interpolation = "bilinear",
    crop: float | None = None,
) -> ImagePreprocess:
    """Make a function from PIL images of any size to a standardised float32 batch.

    Without `crop` the whole image is squashed to the input size: small labelled sets are often
    cropped already, and what lies at the border may be what tells the classes apart.

    Args:
        input_size: (channels, height, width); channels 1 converts to grey and 3 to RGB.
        mean: One value a channel, of pixels in [0, 1].
        std: One positive value a channel, of pixels in [0, 1].
        interpolation: Filter for resizing.
        crop: Share in (0, 1] of the largest central box of the input's shape that is kept.

    Raises:
        InvalidDataError: An argument is out of range.
    """
    if len(input_size) != 3 or input_size[0] not in _MODES or min(input_size) < 1:
        raise InvalidDataError(
            f"input_size is {input_size!r}; expected (channels, height, width) with 1 or 3 "
            "channels. Give the size that the backbone was trained on."
        )
    channels, height, width = (int(n) for n in input_size)
    if len(mean) != channels or len(std) != channels or not all(s > 0 for s in std):
        raise InvalidDataError(
            f"mean is {mean!r} and std is {std!r}; expected {channels} values each, std positive. "
            "Give one value a channel, for pixels in [0, 1]."
        )
    if interpolation not in _FILTERS:
        raise InvalidDataError(
            f"interpolation is {interpolation!r}; use one of {', '.join(map(repr, _FILTERS))}."
        )
    if crop is not None and not 0 < crop <= 1:
        raise InvalidDataError(f"crop is {crop!r}; expected a share in (0, 1], or None for all.")
    return ImagePreprocess(
        (channels, height, width),
        tuple(float(m) for m in mean),
        tuple(float(s) for s in std),
        interpolation,
        crop,
    )
