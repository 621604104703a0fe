"""Features of images without any pretraining, for the floor."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from autotl.specs import SavedState

__all__ = ["fit_hog", "fit_pixels", "hog", "pixels"]

_PIXELS = 16
_SMALL, _LARGE = 32, 64
_CELL = 8
_BLOCK = 1024  # images that are looked at together
_CHUNK = 32  # of which a thread decodes so many in one go

Array = np.ndarray[Any, Any]
_T = TypeVar("_T")


def fit_pixels(samples: Sequence[Image.Image]) -> SavedState:
    """Choose the size, at most 16 x 16 and never enlarging, and colour if any image has it."""
    kinds = set(_each(samples, lambda sample: (sample.size, sample.mode)))
    sizes = {size for size, _ in kinds}
    width, height = sizes.pop() if len(sizes) == 1 else (_PIXELS, _PIXELS)
    config = {
        "width": min(_PIXELS, width),
        "height": min(_PIXELS, height),
        "mode": "RGB" if any(mode == "RGB" for _, mode in kinds) else "L",
    }
    return SavedState(tensors={}, config=config)


def pixels(samples: Sequence[Image.Image], state: SavedState) -> Array:
    """Return pixels in [0, 1], shape (n_samples, height * width * channels), float32."""
    size = int(state.config["width"]), int(state.config["height"])
    mode = state.config["mode"]
    n_features = size[0] * size[1] * (3 if mode == "RGB" else 1)
    matrix = np.empty((len(samples), n_features), dtype=np.float32)
    for row, shrunk in enumerate(_each(samples, lambda sample: _shrink(sample, mode, size))):
        np.divide(shrunk.ravel(), np.float32(255), out=matrix[row], dtype=np.float32)
    return matrix


def fit_hog(samples: Sequence[Image.Image]) -> SavedState:
    """Choose 32 pixels a side for small images and 64 for others, by their median."""
    shorter = float(np.median(list(_each(samples, lambda sample: min(sample.size)))))
    return SavedState(tensors={}, config={"size": _SMALL if shorter < 48 else _LARGE})


def hog(samples: Sequence[Image.Image], state: SavedState) -> Array:
    """Return block-normalised histograms of gradients, shape (n_samples, n_features), float32."""
    from skimage.feature import hog as histogram

    size = int(state.config["size"])
    matrix = np.empty((len(samples), 36 * (size // _CELL - 1) ** 2), dtype=np.float32)
    # Gradients hold the interpreter lock, so threads would only be in each other's way.
    for row, grey in enumerate(_each(samples, lambda sample: _shrink(sample, "L", (size, size)))):
        matrix[row] = histogram(
            grey,
            orientations=9,
            pixels_per_cell=(_CELL, _CELL),
            cells_per_block=(2, 2),
            transform_sqrt=False,
        )
    return matrix


def _each(samples: Sequence[Image.Image], look: Callable[[Image.Image], _T]) -> Iterator[_T]:
    """Yield what `look` returns of each image, in order; images are decoded in threads."""

    def look_at(rows: range) -> list[_T]:
        return [look(samples[i]) for i in rows]

    n = len(samples)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, n, _BLOCK):
            starts = range(start, min(start + _BLOCK, n), _CHUNK)
            chunks = [range(at, min(at + _CHUNK, n)) for at in starts]
            yield from chain.from_iterable(list(pool.map(look_at, chunks)))


def _shrink(sample: Image.Image, mode: str, size: tuple[int, int]) -> Array:
    image = sample if sample.mode == mode else sample.convert(mode)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)
