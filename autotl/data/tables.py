"""Read CSV and TSV files: one row a sample, with a text or an image-path column."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.data.columns import Columns, choose_columns
from autotl.data.folders import SPLIT_WORDS
from autotl.data.raw import RawData
from autotl.errors import InvalidDataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "read_table"]


def read_table(
    path: Path, columns: Columns, *, modality: str | None, require_labels: bool
) -> RawData:
    """Read a table; cells stay as written, so that the texts "NA" and "null" are texts.

    Args:
        path: A `.csv` or `.tsv` file, gzipped or not, in UTF-8 with a header row.
        columns: Those that the user named; the others are guessed where only one can be meant.
        modality: "image" or "text" where the columns leave it open.
        require_labels: False keeps every row in `X`, in order, and lets labels be missing.

    Raises:
        InvalidDataError: The file or a column cannot be used.
        AmbiguousModalityError: Texts or images? The message names the flags.
    """
    frame = _read_frame(path)
    chosen = choose_columns(frame, columns, path, modality, require_labels)
    notes = list(chosen.notes)
    labels = _labels(frame, chosen.label, require_labels, notes)
    ids = [f"row {i + 1}" for i in range(len(frame))]
    if chosen.modality == "image":
        X: list[Any] = [_image_path(path.parent, cell) for cell in frame[chosen.sample]]
        ids = [f"{cell} ({row})" for cell, row in zip(frame[chosen.sample], ids, strict=True)]
        _check_some_exist(path, chosen.sample, X)
    else:
        X = frame[chosen.sample].tolist()
    held = _holdout_rows(frame, chosen.split, path) if require_labels else [False] * len(X)
    data, test = _rows(held, False), _rows(held, True)
    groups = None if columns.groups is None else frame[columns.groups].tolist()
    return RawData(
        X=_take(X, data),
        y=None if labels is None else _take(labels, data),
        X_holdout=_take(X, test) if test else None,
        y_holdout=_take(labels, test) if test and labels is not None else None,
        groups=None if groups is None else [groups[i] or None for i in data],
        modality=chosen.modality,
        ids=_take(ids, data),
        notes=notes,
        columns=chosen.columns(),
    )


def _read_frame(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # Rows longer than the header would lose cells with a mere warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=_separator(path),
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                encoding="utf-8-sig",
                index_col=False,
            )
    except UnicodeDecodeError as error:
        raise InvalidDataError(
            f"{str(path)!r} is not UTF-8: {error.reason} at byte {error.start}. "
            "Save it as UTF-8 and try again."
        ) from error
    except (ValueError, OSError, EOFError, pd.errors.ParserWarning) as error:
        raise InvalidDataError(
            f"{str(path)!r} cannot be read as a table: {_plain(error)}. "
            "Expected a header row, then one row for each sample, with quotes around cells that "
            "hold the separator."
        ) from error
    if not len(frame):
        raise InvalidDataError(
            f"{str(path)!r} has a header ({_names(frame)}) but no rows. Add one row a sample."
        )
    return frame


def _plain(error: Exception) -> str:
    if "loss of data" in str(error):
        return "a row has more cells than the header"
    return str(error).strip().rstrip(".")


def _separator(path: Path) -> str:
    """Take the suffix's separator; a CSV whose header has no comma may use semicolons or tabs."""
    import gzip

    if path.name.lower().endswith((".tsv", ".tsv.gz")):
        return "\t"
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        header = file.readline(65536)
    if b"," not in header:
        for separator in (";", "\t"):
            if separator.encode() in header:
                return separator
    return ","


def _names(frame: "pd.DataFrame") -> str:
    return ", ".join(repr(c) for c in frame.columns)


def _labels(
    frame: "pd.DataFrame", column: str | None, require_labels: bool, notes: list[str]
) -> list[Any] | None:
    if column is None:
        return None
    cells = frame[column].tolist()
    n_missing = sum(not cell.strip() for cell in cells)
    if n_missing and not require_labels:
        notes.append(
            f"{n_missing} of {len(cells)} rows have no label in column {column!r}, "
            "so the labels are not used."
        )
        return None
    return _parse_labels(cells)


def _parse_labels(cells: Sequence[str]) -> list[Any]:
    """Turn cells into labels: None where empty; all into int or float if all are such numbers.

    Whole numbers count only as Python writes them, so "007" and "+1" stay str.
    """
    values = {cell for cell in cells if cell.strip()}
    if all(_is_whole(value) for value in values):
        return [int(cell) if cell.strip() else None for cell in cells]
    if all(_is_decimal(value) or _is_whole(value) for value in values):
        return [float(cell) if cell.strip() else None for cell in cells]
    return [cell if cell.strip() else None for cell in cells]


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"0|-?[1-9][0-9]*", cell) is not None


def _is_decimal(cell: str) -> bool:
    return re.fullmatch(r"-?[0-9]*\.[0-9]+(e-?[0-9]+)?", cell) is not None


def _image_path(folder: Path, cell: str) -> Path | None:
    """Resolve a cell against the table's folder; an empty one is a missing sample."""
    return folder / cell if cell.strip() else None


def _check_some_exist(path: Path, column: str, X: Sequence[Path | None]) -> None:
    # isfile rather than Path.is_file: no exception for names that are too long.
    if any(p is not None and os.path.isfile(p) for p in X):  # noqa: PTH113  # as just said
        return
    example = next((p for p in X if p is not None), None)
    where = "every cell is empty" if example is None else f"the first would be {str(example)!r}"
    raise InvalidDataError(
        f"None of the {len(X)} paths in column {column!r} of {str(path)!r} is a file: {where}. "
        f"Expected paths relative to {str(path.parent)!r}. For texts name the column with --text."
    )


def _holdout_rows(frame: "pd.DataFrame", column: str | None, path: Path) -> list[bool]:
    if column is None:
        return [False] * len(frame)
    words = [cell.strip().lower() for cell in frame[column]]
    unknown = sorted({w for w in words if w not in SPLIT_WORDS})
    if unknown:
        raise InvalidDataError(
            f"Column {column!r} of {str(path)!r} says {', '.join(map(repr, unknown[:5]))}. "
            f"Expected one of {', '.join(SPLIT_WORDS)} in each row. "
            "Change them, or name another column with --split."
        )
    held = [SPLIT_WORDS[w] == "holdout" for w in words]
    if all(held):
        raise InvalidDataError(
            f"Column {column!r} of {str(path)!r} puts all {len(held)} rows into the test split. "
            "Mark the rows to learn from as 'train'."
        )
    return held


def _rows(held: Sequence[bool], wanted: bool) -> list[int]:
    return [i for i, h in enumerate(held) if h is wanted]


def _take(items: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    return [items[i] for i in rows]
