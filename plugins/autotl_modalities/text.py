"""Read texts: from lists, arrays, pandas Series and `.txt` files to non-empty str."""

import os
from pathlib import Path
from typing import Any

from autotl.errors import InvalidDataError
from autotl_modalities.columns import is_column, is_missing, present, shown
from autotl_modalities.image import looks_like_paths

__all__ = ["accepts", "as_samples", "fingerprint"]

_MOST_BYTES = 16 * 2**20  # of a file: what is longer is no single text


def accepts(X: Any) -> bool:
    """Tell whether `X` is a column of str that are not all image files, or of `.txt` files."""
    found = present(X) if is_column(X) else []
    if found and isinstance(found[0], os.PathLike):
        return all(str(x).lower().endswith(".txt") for x in found)
    return bool(found) and isinstance(found[0], str) and looks_like_paths(found) != "all"


def as_samples(X: Any) -> list[Any]:
    """Return each text as it is, and of each `pathlib.Path` the text in the file.

    An empty or missing text is an Exception in its place, and so is a file that is not UTF-8.

    Raises:
        InvalidDataError: `X` is not a list of texts, or an element is neither text nor missing.
    """
    if not is_column(X):
        raise InvalidDataError(
            f"X is {shown(X)}. Texts are a list of str or a pandas Series: of a table pass one "
            "column, such as X['text']; for one text give a list with it."
        )
    return [_sample(i, x) for i, x in enumerate(X)]


def fingerprint(sample: str) -> bytes:
    """Return the text in UTF-8."""
    return sample.encode("utf-8")


def _sample(index: int, x: Any) -> Any:
    if is_missing(x):
        return InvalidDataError(f"The text is missing ({x!r}).")
    if isinstance(x, os.PathLike):
        x = _read(Path(x))
    if isinstance(x, Exception):  # also of what reads on demand
        return x
    if not isinstance(x, str):
        raise InvalidDataError(
            f"X[{index}] is {shown(x)}. Expected a text: turn it into one with str(), or drop it."
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


def _read(path: Path) -> Any:
    """Return a file's text, or an Exception that says why there is none."""
    # A folder, device or pipe of this name must not be opened.
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises on overlong names
        return InvalidDataError(f"There is no file {str(path)!r}; check the path.")
    try:
        n_bytes = path.stat().st_size
        if n_bytes > _MOST_BYTES:
            return InvalidDataError(
                f"The file has {n_bytes} bytes; expected a single text of at most {_MOST_BYTES}."
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        return InvalidDataError(
            f"The file is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8."
        )
    except OSError as error:
        return InvalidDataError(f"The file cannot be read: {error}.")
