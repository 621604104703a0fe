"""Features of images without any pretraining, for the floor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from autotl.specs import SavedState

__all__ = ["fit_hog", "fit_pixels", "hog", "pixels"]

_PIXELS = 16
_SMALL, _LARGE = 32, 64
_CELL = 8

Array = np.ndarray[Any, Any]


def fit_pixels(samples: Sequence[Image.Image]) -> SavedState:
    """Choose the size, at most 16 x 16 and never enlarging, and colour if any image has it."""
    same = len({sample.size for sample in samples}) == 1
    width, height = samples[0].size if same else (_PIXELS, _PIXELS)
    config = {
        "width": min(_PIXELS, width),
        "height": min(_PIXELS, height),
        "mode": "RGB" if any(sample.mode == "RGB" for sample in samples) else "L",
    }
    return SavedState(tensors={}, config=config)


def pixels(samples: Sequence[Image.Image], state: SavedState) -> Array:
    """Return pixels in [0, 1], shape (n_samples, height * width * channels), float32."""
    size = int(state.config["width"]), int(state.config["height"])
    stacked = _stack(samples, state.config["mode"], size)
    return stacked.reshape(len(samples), -1).astype(np.float32) / np.float32(255)


def fit_hog(samples: Sequence[Image.Image]) -> SavedState:
    """Choose 32 pixels a side for small images and 64 for others, by their median."""
    shorter = float(np.median([min(sample.size) for sample in samples]))
    return SavedState(tensors={}, config={"size": _SMALL if shorter < 48 else _LARGE})


def hog(samples: Sequence[Image.Image], state: SavedState) -> Array:
    """Return block-normalised histograms of gradients, shape (n_samples, n_features), float32."""
    from skimage.feature import hog as histogram

    size = int(state.config["size"])
    rows = [
        histogram(
            image,
            orientations=9,
            pixels_per_cell=(_CELL, _CELL),
            cells_per_block=(2, 2),
            transform_sqrt=False,
        )
        for image in _stack(samples, "L", (size, size))
    ]
    n_blocks = size // _CELL - 1
    return np.asarray(rows, dtype=np.float32).reshape(len(samples), 36 * n_blocks**2)


def _stack(samples: Sequence[Image.Image], mode: str, size: tuple[int, int]) -> Array:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    stacked = np.empty((len(samples), *shape), dtype=np.uint8)
    for row, sample in enumerate(samples):
        image = sample if sample.mode == mode else sample.convert(mode)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        stacked[row] = np.asarray(image)
    return stacked
