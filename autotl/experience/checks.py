"""Checks of what records are made of: they may come from a file that anyone wrote."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from autotl.errors import InvalidDataError

__all__ = ["assign", "count", "flat", "floats", "names_a_place", "number", "optional", "word"]

_MOST_LETTERS = 200
_MOST_COUNT = 2**53


def word(value: Any, what: str) -> str:
    """Return a short text.

    Raises:
        InvalidDataError: It is none.
    """
    if not isinstance(value, str) or len(value) > _MOST_LETTERS:
        raise _unexpected(value, what, f"a text of at most {_MOST_LETTERS} letters")
    return value


def number(value: Any, what: str) -> float:
    """Return a finite number as a float.

    Raises:
        InvalidDataError: It is none.
    """
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not math.isfinite(plain):
        raise _unexpected(value, what, "a finite number")
    return float(plain)


def floats(values: Any, what: str, *width: int) -> np.ndarray:
    """Return numbers, which may be missing, as an array of shape (n,), or (n, width).

    Raises:
        InvalidDataError: They are none, or do not have this shape.
    """
    try:
        found = np.array(list(values), np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise _unexpected(values, what, "numbers") from error
    if found.size and found.shape[1:] != width:
        raise _unexpected(values, what, f"{' x '.join(['n', *map(str, width)])} numbers")
    return found.reshape(-1, *width)


def optional(value: Any, what: str) -> float | None:
    """Return a finite number, or None for None, NaN and infinity, which say as little.

    Raises:
        InvalidDataError: It is neither.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return number(value, what)


def count(value: Any, what: str) -> int:
    """Return a whole number of at least 0.

    Raises:
        InvalidDataError: It is none.
    """
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool) or not isinstance(plain, int) or not 0 <= plain <= _MOST_COUNT:
        raise _unexpected(value, what, "a whole number of at least 0")
    return plain


def flat(values: Any, what: str) -> dict[str, str | int | float | bool | None]:
    """Return named values of a search space: texts, numbers, booleans and None.

    Raises:
        InvalidDataError: They are something else.
    """
    if not isinstance(values, Mapping):
        raise _unexpected(values, what, "values by name")
    return {word(name, f"A name in {what}"): _scalar(v, what) for name, v in values.items()}


def names_a_place(backbone: str) -> bool:
    """Say whether a backbone's name is a folder of this machine, such as `text:./encoder`."""
    return ":" in backbone


def assign(owner: object, **values: Any) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(owner, name, value)


def _scalar(value: Any, what: str) -> str | int | float | bool | None:
    plain = value.item() if hasattr(value, "item") else value
    if plain is None or isinstance(plain, bool):
        return plain
    if isinstance(plain, int):
        if abs(plain) <= _MOST_COUNT:
            return plain
        raise _unexpected(value, what, "numbers of at most 2**53")
    return word(plain, what) if isinstance(plain, str) else number(plain, what)


def _unexpected(value: Any, what: str, expected: str) -> InvalidDataError:
    shown = repr(value)
    return InvalidDataError(
        f"{what} is {shown[:80]}{'...' if len(shown) > 80 else ''}; expected {expected}."
    )
