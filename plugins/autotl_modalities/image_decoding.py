"""Decode one image: a file, encoded bytes, a PIL image or an array to mode "RGB" or "L"."""

import io
import math
import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from autotl.errors import InvalidDataError

__all__ = ["MAX_SIDE", "decode_array", "decode_bytes", "decode_file", "decode_image"]

MAX_SIDE = 256
"""Greatest shorter side that is kept: backbones read 224 pixels or less."""

Array = np.ndarray[Any, Any]


def decode_file(path: Any) -> Any:
    """Return the image in a file, or an Exception that says why there is none."""
    # A folder, device or pipe of this name must not be opened.
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises on overlong names
        return InvalidDataError(f"There is no file {os.fspath(path)!r}; check the path.")
    return _decode(path)


def decode_bytes(content: bytes) -> Any:
    """Return the image that an encoded file's content holds, or an Exception."""
    return _decode(io.BytesIO(content))


def decode_image(image: Image.Image) -> Any:
    """Return a copy of an image, or an Exception where its file cannot be read."""
    try:
        return _normalise(image)
    except Exception as error:  # noqa: BLE001  # a lazily opened image may fail in any way
        return _unreadable(error)


def decode_array(image: Array, factor: float) -> Any:
    """Return an image from pixels, or an Exception where their shape is none of an image.

    Args:
        image: Shape (height, width) or (height, width, channels).
        factor: Takes the numbers to 0..255; not used for uint8.
    """
    if image.dtype != np.uint8:
        image = np.rint(image.astype(np.float64) * factor).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        return InvalidDataError(f"The image has {image.shape[2]} channels; expected 1, 3 or 4.")
    if image.size == 0:
        return InvalidDataError(f"The image has the shape {image.shape}, so it is empty.")
    pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return _normalise(Image.fromarray(np.ascontiguousarray(pixels)))


def _decode(file: Any) -> Any:
    try:
        with Image.open(file) as image:
            # JPEG decodes straight to a half, quarter or eighth where that is still large enough.
            image.draft(None, _target(image.size))
            return _normalise(image)
    except Exception as error:  # noqa: BLE001  # a damaged file may raise anything in a decoder
        return _unreadable(error)


def _unreadable(error: Exception) -> InvalidDataError:
    return InvalidDataError(
        f"The image cannot be read: {type(error).__name__}: {str(error).rstrip('.')}."
    )


def _target(size: tuple[int, int]) -> tuple[int, int]:
    shrink = min(1.0, MAX_SIDE / max(1, min(size)))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _normalise(image: Image.Image) -> Image.Image:
    """Return an upright copy in mode "RGB" or "L" on white, its shorter side at most MAX_SIDE."""
    upright = _convert(ImageOps.exif_transpose(image))
    size = _target(upright.size)
    if size != upright.size:
        return upright.resize(size, Image.Resampling.BICUBIC)
    # A plain copy: nothing of the file, its metadata or the caller's object is kept.
    return Image.frombytes(upright.mode, upright.size, upright.tobytes())


def _convert(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith(("I", "F")):
        return _from_deep(np.asarray(image))
    grey = image.mode in ("LA", "La")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("L" if grey else "RGB")
    return image.convert("L" if grey else "RGB")


def _from_deep(values: Array) -> Image.Image:
    """Turn 16-bit, 32-bit or float pixels into 8 bits.

    The depth is the least of 8, 12 and 16 bits that holds the greatest value (floats up to 1 are
    fractions): scanners store 12 bits in 16, and those would come out almost black.
    """
    values = np.asarray(values, dtype=np.float64)
    high, low = float(values.max()), float(values.min())
    if not math.isfinite(high) or low < 0 or high > 65535:
        raise ValueError(
            f"its pixels go from {low:g} to {high:g}; expected 0 to 65535, so save it with 8 or "
            "16 bits"
        )
    depths = (255, 4095, 65535)
    fraction = high <= 1 and bool((values % 1).any())
    full = 1.0 if fraction else next(d for d in depths if high <= d)
    return Image.fromarray(np.rint(values * (255.0 / full)).astype(np.uint8))
