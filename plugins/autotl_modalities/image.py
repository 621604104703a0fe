"""Read images: from arrays, PIL images and files to PIL images in mode "RGB" or "L"."""

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from autotl.errors import InvalidDataError

__all__ = ["MAX_SIDE", "SUFFIXES", "accepts", "as_samples", "fingerprint"]

MAX_SIDE = 256
"""Greatest shorter side that is kept: backbones read 224 pixels or less."""

SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

Array = np.ndarray[Any, Any]


def accepts(X: Any) -> bool:
    """Tell whether `X` is an array of images or a list of images or paths."""
    if _is_numeric_array(X):
        return X.ndim in (3, 4)
    if not _is_column(X):
        return False
    present = [x for x in X if not _is_missing(x)]
    if present and isinstance(present[0], str):
        return looks_like_paths(present) != "none"
    return bool(present) and all(
        isinstance(x, Image.Image | os.PathLike) or _is_one_image(x) for x in present[:100]
    )


def looks_like_paths(strings: Sequence[Any]) -> str:
    """Tell whether strings are image paths: "all" of them, perhaps ("some"), or "none".

    "all" needs every one to be named like an image file and most to exist: those that do not are
    then skipped one by one. Where few or none exist the names are as likely wrong paths as texts,
    so they count as "some", and so does a mixture.
    """
    named = [x for x in strings if isinstance(x, str) and x.lower().endswith(SUFFIXES)]
    # isfile rather than Path.is_file: no exception for strings too long to be a path.
    n_files = sum(os.path.isfile(x) for x in named)  # noqa: PTH113  # as just said
    if strings and len(named) == len(strings) and 2 * n_files > len(strings):
        return "all"
    return "some" if n_files or (named and len(named) == len(strings)) else "none"


def as_samples(X: Any) -> list[Any]:
    """Return PIL images in mode "RGB" or "L", decoded, upright, no larger than needed.

    Arrays hold (n, height, width), (n, height, width, channels) or (n, channels, height, width).
    Numbers are taken as 0..1, 0..16 or 0..255 by the greatest of the whole set; uint8 is taken as
    it is. An image that cannot be used is an Exception in its place.

    Raises:
        InvalidDataError: `X` is not a set of images, or its numbers fit no known range.
    """
    if _is_numeric_array(X):
        return _from_batch(_array(X))
    if not _is_column(X):
        raise InvalidDataError(
            f"X is {_shown(X)}. Images are arrays (N, H, W), (N, H, W, C) or (N, C, H, W), or a "
            "list of PIL images or paths; for one image give a list with it."
        )
    items = list(X)
    arrays = [_array(x) for x in items if _is_one_image(x)]
    factor = _factor(arrays) if arrays else 1.0
    _check_kinds(items)
    # Decoding releases the interpreter lock, so threads share the work.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read = {
            i: pool.submit(_read_file, x)
            for i, x in enumerate(items)
            if isinstance(x, str | os.PathLike)
        }
        return [
            read[i].result() if i in read else _from_object(x, factor) for i, x in enumerate(items)
        ]


def fingerprint(sample: Image.Image) -> bytes:
    """Return mode, size and pixels: equal exactly for equal images."""
    return f"{sample.mode} {sample.width}x{sample.height} ".encode() + sample.tobytes()


def _is_numeric_array(X: Any) -> bool:
    if hasattr(X, "iloc") or not hasattr(X, "ndim"):  # pandas has its own ways
        return False
    return _array(X).dtype.kind in "buif"


def _array(X: Any) -> Array:
    """Return a NumPy array, also of a tensor that has gradients or lies on a device."""
    array: Array = np.asarray(X.detach().cpu() if hasattr(X, "detach") else X)
    return array


def _is_one_image(x: Any) -> bool:
    return not isinstance(x, Image.Image) and _is_numeric_array(x) and x.ndim in (2, 3)


def _is_column(X: Any) -> bool:
    if isinstance(X, list | tuple):
        return True
    return getattr(X, "ndim", None) == 1 and getattr(X, "dtype", None) is not None


def _is_missing(x: Any) -> bool:
    if x is None or type(x).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(x, float | np.floating) and math.isnan(x)


def _shown(x: Any) -> str:
    if hasattr(x, "shape"):
        return f"an array of shape {tuple(x.shape)} and type {x.dtype}"
    text = repr(x)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(x).__name__})"


def _check_kinds(items: Iterable[Any]) -> None:
    for i, x in enumerate(items):
        if _is_missing(x) or isinstance(x, Image.Image | str | os.PathLike) or _is_one_image(x):
            continue
        raise InvalidDataError(
            f"X[{i}] is {_shown(x)}. Expected an image: a PIL image, a path, or an array "
            "(height, width) or (height, width, channels)."
        )


def _from_object(x: Any, factor: float) -> Any:
    if _is_missing(x):
        return InvalidDataError(f"There is no image: {x!r}.")
    if not isinstance(x, Image.Image):
        array = _array(x)
        channels_last = array.ndim == 2 or array.shape[2] in (1, 3, 4)
        return _from_array(array if channels_last else np.moveaxis(array, 0, 2), factor)
    try:
        return _normalise(x)
    except Exception as error:  # noqa: BLE001  # a lazily opened image may fail in any way
        return _unreadable(error)


def _read_file(path: Any) -> Any:
    # A folder, device or pipe of this name must not be opened.
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises on overlong names
        return InvalidDataError(f"There is no file {os.fspath(path)!r}; check the path.")
    try:
        with Image.open(path) as image:
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


def _from_batch(batch: Array) -> list[Any]:
    if batch.ndim == 4:
        batch = _channels_last(batch)
    elif batch.ndim == 3:
        _check_not_single(batch)
    else:
        raise InvalidDataError(
            f"X is an array of shape {batch.shape}. Rows come later; images need (N, H, W), "
            "(N, H, W, C) or (N, C, H, W): if each row is an image, reshape it, for example "
            "X.reshape(-1, 28, 28)."
        )
    if 0 in batch.shape[1:]:
        raise InvalidDataError(
            f"X is an array of shape {batch.shape}, so its images are empty. Give images of at "
            "least one pixel."
        )
    factor = _factor([batch]) if len(batch) else 1.0
    return [_from_array(image, factor) for image in batch]


def _channels_last(batch: Array) -> Array:
    last, first = batch.shape[3] in (1, 3, 4), batch.shape[1] in (1, 3, 4)
    if last and not first:
        return batch
    if first and not last:
        return np.moveaxis(batch, 1, 3)
    problem = "either axis could be the channels" if last else "no axis has 1, 3 or 4 channels"
    raise InvalidDataError(
        f"X is an array of shape {batch.shape}, and {problem}. Expected (N, H, W, C) or "
        "(N, C, H, W); a list of PIL images leaves no doubt."
    )


def _check_not_single(batch: Array) -> None:
    if batch.shape[2] in (3, 4) and batch.shape[1] > 4:
        raise InvalidDataError(
            f"X is an array of shape {batch.shape}, which looks like one colour image. "
            "Expected (N, H, W) or (N, H, W, C): give X[None] for a set of one."
        )


def _factor(arrays: Sequence[Array]) -> float:
    """Return what takes the numbers of a whole set to 0..255.

    The range is a fixed class rather than the maximum itself, so that new data of the same kind
    are scaled alike.
    """
    if all(array.dtype == np.uint8 for array in arrays):
        return 1.0
    for array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))
            where = tuple(int(i) for i in bad[0])
            raise InvalidDataError(
                f"X is NaN or infinite at {len(bad)} of {array.size} places, first at {where}. "
                "Replace them, for example with numpy.nan_to_num."
            )
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    if low < 0 or high > 255:
        shifted = "X" if low == 0 else f"(X {'-' if low > 0 else '+'} {abs(low):g})"
        raise InvalidDataError(
            f"X has values from {low:g} to {high:g}. Images need uint8, or numbers from 0 to 1, "
            "0 to 16 or 0 to 255: scale it by constants that also fit new data, for example "
            f"{shifted} / {high - low:g}."
        )
    return 255.0 if high <= 1 else 255.0 / 16 if high <= 16 else 1.0


def _from_array(image: Array, factor: float) -> Any:
    if image.dtype != np.uint8 or factor != 1.0:
        image = np.rint(image.astype(np.float64) * factor).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        return InvalidDataError(f"The image has {image.shape[2]} channels; expected 1, 3 or 4.")
    if image.size == 0:
        return InvalidDataError(f"The image has the shape {image.shape}, so it is empty.")
    pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return _normalise(Image.fromarray(np.ascontiguousarray(pixels)))
