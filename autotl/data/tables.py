"""Read CSV and TSV files: one row a sample, with a text or an image-path column."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.data.columns import Columns
from autotl.data.raw import RawData
from autotl.data.rows import Table
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
    table = Table(
        frame=frame,
        source=str(path),
        folder=path.parent,
        values=lambda column: _parse_labels(frame[column].tolist()),
    )
    return table.read(columns, modality=modality, require_labels=require_labels)


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
