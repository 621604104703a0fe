"""Read images: from arrays, PIL images, files and encoded bytes to PIL images on demand."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from autotl.errors import InvalidDataError
from autotl_modalities.columns import is_column, is_held, is_missing, present, shown
from autotl_modalities.image_decoding import (
    MAX_SIDE,
    decode_array,
    decode_bytes,
    decode_file,
    decode_image,
)
from autotl_modalities.image_samples import ImageSamples

__all__ = ["MAX_SIDE", "SUFFIXES", "accepts", "as_samples", "fingerprint", "looks_like_paths"]

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

_CHUNK_BYTES = 2**24  # of an array that is looked at in pieces

Array = np.ndarray[Any, Any]


def accepts(X: Any) -> bool:
    """Tell whether `X` is an array of images or a column of images, encoded images or paths."""
    if _is_numeric_array(X):
        return bool(X.ndim in (3, 4))
    if not is_column(X):
        return False
    found = present(X)
    if found and isinstance(found[0], str):
        return looks_like_paths(found) != "none"
    return bool(found) and all(
        isinstance(x, Image.Image | bytes) or _is_image_path(x) or _is_one_image(x)
        for x in found[:100]
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


def as_samples(X: Any) -> ImageSamples:
    """Return PIL images in mode "RGB" or "L", upright, no larger than needed, decoded on access.

    Arrays hold (n, height, width), (n, height, width, channels) or (n, channels, height, width).
    Numbers are taken as 0..1, 0..16 or 0..255 by the greatest of the whole set; uint8 is taken as
    it is. An image that cannot be used is an Exception in its place.

    Raises:
        InvalidDataError: `X` is not a set of images, or its numbers fit no known range.
    """
    if _is_numeric_array(X):
        return _from_batch(X)
    if not is_column(X):
        raise InvalidDataError(
            f"X is {shown(X)}. Images are arrays (N, H, W), (N, H, W, C) or (N, C, H, W), or a "
            "list of PIL images or paths: of a table pass one column, such as X['path']; for one "
            "image give a list with it."
        )
    items = list(X) if is_held(X) else X
    scale = _Scale(lambda: ((i, _array(x)[None]) for i, x in enumerate(items) if _is_one_image(x)))
    if is_held(X):  # what is read on demand is checked when it is read
        scale.factor()
        for i, x in enumerate(items):
            _check_kind(i, x)
    return ImageSamples(lambda i: _from_object(i, items[i], scale), len(items))


def fingerprint(sample: Image.Image) -> bytes:
    """Return mode, size and pixels: equal exactly for equal images."""
    return f"{sample.mode} {sample.width}x{sample.height} ".encode() + sample.tobytes()


def _is_numeric_array(X: Any) -> bool:
    if hasattr(X, "iloc") or not getattr(X, "ndim", 0):  # pandas has its own ways
        return False
    return _array(X[:0]).dtype.kind in "buif"


def _array(X: Any) -> Array:
    """Return a NumPy array, also of a tensor that has gradients or lies on a device."""
    if hasattr(X, "detach"):
        X = X.detach().cpu()
        # NumPy has no bfloat16.
        X = X.float() if X.is_floating_point() and X.element_size() < 4 else X
    array: Array = np.asarray(X)
    return array


def _is_one_image(x: Any) -> bool:
    return not isinstance(x, Image.Image) and _is_numeric_array(x) and x.ndim in (2, 3)


def _is_image_path(x: Any) -> bool:
    return isinstance(x, os.PathLike) and not os.fspath(x).lower().endswith(".txt")


def _check_kind(index: int, x: Any) -> None:
    known = isinstance(x, Image.Image | str | bytes | os.PathLike)
    if known or is_missing(x) or _is_one_image(x):
        return
    raise InvalidDataError(
        f"X[{index}] is {shown(x)}. Expected an image: a PIL image, a path, encoded bytes, or an "
        "array (height, width) or (height, width, channels)."
    )


def _from_object(index: int, x: Any, scale: "_Scale") -> Any:
    if isinstance(x, Exception):  # what reads on demand says why it cannot
        return x
    _check_kind(index, x)
    if is_missing(x):
        return InvalidDataError(f"There is no image: {x!r}.")
    if isinstance(x, Image.Image):
        return decode_image(x)
    if isinstance(x, bytes):
        return decode_bytes(x)
    if isinstance(x, str | os.PathLike):
        return decode_file(x)
    array = _array(x)
    channels_last = array.ndim == 2 or array.shape[2] in (1, 3, 4)
    return _from_row(array if channels_last else np.moveaxis(array, 0, 2), scale)


def _from_row(array: Array, scale: "_Scale") -> Any:
    return decode_array(array, 1.0 if array.dtype == np.uint8 else scale.factor())


def _from_batch(batch: Any) -> ImageSamples:
    """Return the rows of an array, which may be memory-mapped, a tensor or larger than memory."""
    if batch.ndim == 4:
        first = _channels_first(batch.shape)
    elif batch.ndim == 3:
        first = False
        _check_not_single(batch.shape)
    else:
        raise InvalidDataError(
            f"X is an array of shape {tuple(batch.shape)}. Rows come later; images need "
            "(N, H, W), (N, H, W, C) or (N, C, H, W): if each row is an image, reshape it, for "
            "example X.reshape(-1, 28, 28)."
        )
    if 0 in batch.shape[1:]:
        raise InvalidDataError(
            f"X is an array of shape {tuple(batch.shape)}, so its images are empty. Give images "
            "of at least one pixel."
        )
    scale = _Scale(lambda: _chunks(batch))
    scale.factor()

    def read(i: int) -> Any:
        row = _array(batch[i])
        return _from_row(np.moveaxis(row, 0, 2) if first else row, scale)

    return ImageSamples(read, len(batch))


def _chunks(batch: Any) -> Iterator[tuple[int, Array]]:
    n_bytes = int(np.prod(batch.shape[1:])) * 8
    step = max(1, _CHUNK_BYTES // n_bytes)
    for at in range(0, len(batch), step):
        yield at, _array(batch[at : at + step])


def _channels_first(shape: Sequence[int]) -> bool:
    last, first = shape[3] in (1, 3, 4), shape[1] in (1, 3, 4)
    if last is not first:
        return first
    problem = "either axis could be the channels" if last else "no axis has 1, 3 or 4 channels"
    raise InvalidDataError(
        f"X is an array of shape {tuple(shape)}, and {problem}. Expected (N, H, W, C) or "
        "(N, C, H, W); a list of PIL images leaves no doubt."
    )


def _check_not_single(shape: Sequence[int]) -> None:
    if shape[2] in (3, 4) and shape[1] > 4:
        raise InvalidDataError(
            f"X is an array of shape {tuple(shape)}, which looks like one colour image. "
            "Expected (N, H, W) or (N, H, W, C): give X[None] for a set of one."
        )


class _Scale:
    """Finds, once and when it is needed, what takes the numbers of a whole set to 0..255.

    Args:
        pieces: Yields the set's arrays with the index of the first sample in each.
    """

    def __init__(self, pieces: Callable[[], Iterable[tuple[int, Array]]]) -> None:
        self._pieces, self._factor = pieces, 0.0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"factor": self.factor()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        _Scale.__init__(self, lambda: ())
        self._factor = state["factor"]

    def factor(self) -> float:
        """Return the factor; uint8 is taken as it is and does not count.

        Raises:
            InvalidDataError: A number is NaN, infinite, negative or above 255.
        """
        with self._lock:
            if not self._factor:
                self._factor = _factor_of(self._pieces())
        return self._factor


def _factor_of(pieces: Iterable[tuple[int, Array]]) -> float:
    """Return the factor of a range's class.

    The range is a fixed class rather than the maximum itself, so that new data of the same kind
    are scaled alike.
    """
    low, high, n_numbers, n_bad = np.inf, 0.0, 0, 0
    where: tuple[int, ...] | None = None
    for first, array in pieces:
        if array.dtype == np.uint8 or not array.size:
            continue
        n_numbers += array.size
        finite = np.isfinite(array)
        if not finite.all():
            bad = np.argwhere(~finite)
            where = where or (first + int(bad[0][0]), *map(int, bad[0][1:]))
            n_bad += len(bad)
        low, high = min(low, float(array.min())), max(high, float(array.max()))
    if n_bad:
        raise InvalidDataError(
            f"X is NaN or infinite at {n_bad} of {n_numbers} places, first at {where}. "
            "Replace them, for example with numpy.nan_to_num."
        )
    if low < 0 or high > 255:
        _refuse_range(low, high)
    return 255.0 if high <= 1 else 255.0 / 16 if high <= 16 else 1.0


def _refuse_range(low: float, high: float) -> None:
    shifted = "X" if low == 0 else f"(X {'-' if low > 0 else '+'} {abs(low):g})"
    raise InvalidDataError(
        f"X has values from {low:g} to {high:g}. Images need uint8, or numbers from 0 to 1, "
        "0 to 16 or 0 to 255: scale it by constants that also fit new data, for example "
        f"{shifted} / {high - low:g}."
    )
