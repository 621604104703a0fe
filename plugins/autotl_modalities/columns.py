"""Tell columns of samples from other objects, and look at what they hold."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

__all__ = ["is_column", "is_held", "is_missing", "present", "shown"]

_PEEK = 100


def is_column(X: Any) -> bool:
    """Tell whether `X` has one entry a sample: a list, a Series, or a sequence read on demand."""
    if isinstance(X, Sequence):
        return not isinstance(X, str | bytes | bytearray | memoryview)
    return getattr(X, "ndim", None) == 1 and getattr(X, "dtype", None) is not None


def is_held(X: Any) -> bool:
    """Tell whether a column's entries lie in memory, so that looking at all of them is cheap."""
    return isinstance(X, list | tuple) or hasattr(X, "dtype")


def is_missing(x: Any) -> bool:
    """Tell None, NaN, NaT and pandas' NA from samples."""
    if x is None or type(x).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(x, float | np.floating) and math.isnan(x)


def present(X: Any) -> list[Any]:
    """Return what a column holds, without missing entries; of one read on demand, the first."""
    entries = X if is_held(X) else islice(X, _PEEK)
    return [x for x in entries if not is_missing(x) and not isinstance(x, Exception)]


def shown(x: Any) -> str:
    """Describe an object for a message, in a few words."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"an array of shape {tuple(x.shape)} and type {x.dtype}"
    if hasattr(x, "shape"):
        return f"a {type(x).__name__} of shape {tuple(x.shape)}"
    text = repr(x)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(x).__name__})"
