"""Read texts: from lists, arrays and pandas Series to non-empty str."""

import math
from typing import Any

import numpy as np

from autotl.errors import InvalidDataError
from autotl_modalities.image import looks_like_paths

__all__ = ["accepts", "as_samples", "fingerprint"]


def accepts(X: Any) -> bool:
    """Tell whether `X` is a list, array or Series of str that are not all image files."""
    if not _is_column(X):
        return False
    present = [x for x in X if not _is_missing(x)]
    return bool(present) and isinstance(present[0], str) and looks_like_paths(present) != "all"


def as_samples(X: Any) -> list[Any]:
    """Return each text as it is; an empty or missing one is an Exception in its place.

    Raises:
        InvalidDataError: `X` is not a list of texts, or an element is neither text nor missing.
    """
    if not _is_column(X):
        raise InvalidDataError(
            f"X is {_shown(X)}. Texts are a list of str or a pandas Series; for one text give a "
            "list with it."
        )
    return [_sample(i, x) for i, x in enumerate(X)]


def fingerprint(sample: str) -> bytes:
    """Return the text in UTF-8."""
    return sample.encode("utf-8")


def _sample(index: int, x: Any) -> Any:
    if _is_missing(x):
        return InvalidDataError(f"The text is missing ({x!r}).")
    if not isinstance(x, str):
        raise InvalidDataError(
            f"X[{index}] is {_shown(x)}. Expected a text: turn it into one with str(), or drop it."
        )
    if not x.strip():
        return InvalidDataError(f"The text is empty: {x[:20]!r}.")
    try:
        x.encode("utf-8")
    except UnicodeEncodeError as error:
        return InvalidDataError(
            f"The text is not valid Unicode: {error.reason} at character {error.start}. "
            "Read its file with the right encoding."
        )
    return str(x)


def _is_column(X: Any) -> bool:
    if isinstance(X, list | tuple):
        return True
    return getattr(X, "ndim", None) == 1 and getattr(X, "dtype", None) is not None


def _is_missing(x: Any) -> bool:
    if x is None or type(x).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(x, float | np.floating) and math.isnan(x)


def _shown(x: Any) -> str:
    text = repr(x)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(x).__name__})"
