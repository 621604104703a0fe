"""Images that are decoded when they are asked for."""

import functools
import operator
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

__all__ = ["KEPT_BYTES", "ImageSamples"]

KEPT_BYTES = 64 * 2**20
"""Bytes of decoded pixels that all sets of images together keep in memory."""

# Mode, size and pixels: a PIL image takes a third more, and its memory falls to pieces.
_Packed = tuple[str, tuple[int, int], bytes]


class _Allowance:
    """Counts what is kept, over all sets of images of the process."""

    def __init__(self) -> None:
        self._used = 0
        # Giving back is a finaliser: it may run in a thread that holds the lock.
        self._lock = threading.RLock()

    def take(self, n_bytes: int) -> bool:
        """Reserve memory, or say that there is none left."""
        with self._lock:
            if self._used + n_bytes > KEPT_BYTES:
                return False
            self._used += n_bytes
            return True

    def give_back(self, kept: dict[int, _Packed]) -> None:
        """Release what a set of images held."""
        n_bytes = sum(len(pixels) for _, _, pixels in kept.values())
        with self._lock:
            self._used -= n_bytes


_ALLOWANCE = _Allowance()


class ImageSamples(Sequence[Any]):
    """Images decoded on access; those asked for first are kept, up to a bound.

    Entry i is a PIL image, or an Exception that says why there is none. Several threads may read
    at once.

    Args:
        read: Returns image i, or an Exception.
        n_samples: How many images there are.
        keep: Whether to keep images at all.
    """

    def __init__(self, read: Callable[[int], Any], n_samples: int, *, keep: bool = True) -> None:
        self._read, self._n_samples, self._keep = read, n_samples, keep
        self._kept: dict[int, _Packed] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _ALLOWANCE.give_back, self._kept).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Let workers have the images, each with a lock and memory of its own."""
        return functools.partial(ImageSamples, keep=self._keep), (self._read, self._n_samples)

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, index: Any) -> Any:
        """Return an image, or of a slice its images, decoded on access too."""
        rows = range(self._n_samples)
        if isinstance(index, slice):
            chosen = rows[index]
            return ImageSamples(lambda i: self[chosen[i]], len(chosen), keep=False)
        row = rows[operator.index(index)]
        packed = self._kept.get(row)
        return self._decode(row) if packed is None else Image.frombytes(*packed)

    def _decode(self, row: int) -> Any:
        image = self._read(row)
        if self._keep and isinstance(image, Image.Image):
            with self._lock:
                # Keeping the first rather than the latest: the next pass over all begins there.
                if row not in self._kept and _ALLOWANCE.take(_n_bytes(image)):
                    self._kept[row] = (image.mode, image.size, image.tobytes())
        return image


def _n_bytes(image: Image.Image) -> int:
    return image.width * image.height * len(image.getbands())
