"""From the rows of a table to samples, labels and the table's own holdout."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.data.columns import Columns, choose_columns
from autotl.data.folders import SPLIT_WORDS
from autotl.data.lazy import Samples
from autotl.data.raw import RawData
from autotl.errors import InvalidDataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of any format.

    Args:
        frame: Its cells as text; missing ones are empty.
        source: What the table is called in messages.
        folder: What image paths are relative to.
        values: Returns a column's labels as values; missing ones are None.
        images: For each column that holds encoded images, what gives them: bytes, a path or None
            for each row.
    """

    frame: "pd.DataFrame"
    source: str
    folder: Path
    values: Callable[[str], list[Any]]
    images: Mapping[str, Callable[[], Sequence[Any]]] = field(default_factory=dict)

    def read(self, columns: Columns, *, modality: str | None, require_labels: bool) -> RawData:
        """Return the samples and labels of the chosen columns; see `read_table`.

        Raises:
            InvalidDataError: A column cannot be used.
            AmbiguousModalityError: Texts or images? The message names the flags.
        """
        chosen = choose_columns(
            self.frame, columns, self.source, modality, require_labels, list(self.images)
        )
        notes = list(chosen.notes)
        labels = self._labels(chosen.label, require_labels, notes)
        X, ids = self._samples(chosen.modality, chosen.sample)
        n_rows = len(ids)
        held = self._holdout_rows(chosen.split) if require_labels else [False] * n_rows
        data, test = (
            [i for i in range(n_rows) if not held[i]],
            [i for i in range(n_rows) if held[i]],
        )
        groups = None if columns.groups is None else self.frame[columns.groups].tolist()
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

    def _samples(self, modality: str, column: str) -> tuple[Sequence[Any], list[str]]:
        """Return what the modality reads, and a name for each row."""
        ids = [f"row {i + 1}" for i in range(len(self.frame))]
        if column in self.images:
            return Samples([self.images[column]()]), ids
        cells = self.frame[column].tolist()
        if modality != "image":
            return cells, ids
        # An empty cell is a missing sample.
        X = [self.folder / cell if cell.strip() else None for cell in cells]
        self._check_some_exist(column, X)
        return X, [f"{cell} ({row})" for cell, row in zip(cells, ids, strict=True)]

    def _labels(
        self, column: str | None, require_labels: bool, notes: list[str]
    ) -> list[Any] | None:
        if column is None:
            return None
        labels = self.values(column)
        n_missing = sum(label is None for label in labels)
        if n_missing and not require_labels:
            notes.append(
                f"{n_missing} of {len(labels)} rows have no label in column {column!r}, "
                "so the labels are not used."
            )
            return None
        return labels

    def _check_some_exist(self, column: str, X: Sequence[Path | None]) -> None:
        # isfile rather than Path.is_file: no exception for names that are too long.
        if any(p is not None and os.path.isfile(p) for p in X):  # noqa: PTH113  # as just said
            return
        example = next((p for p in X if p is not None), None)
        empty = "every cell is empty"
        where = empty if example is None else f"the first would be {str(example)!r}"
        raise InvalidDataError(
            f"None of the {len(X)} paths in column {column!r} of {self.source!r} is a file: "
            f"{where}. Expected paths relative to {str(self.folder)!r}. For texts name the column "
            "with --text."
        )

    def _holdout_rows(self, column: str | None) -> list[bool]:
        if column is None:
            return [False] * len(self.frame)
        words = [cell.strip().lower() for cell in self.frame[column]]
        unknown = sorted({w for w in words if w not in SPLIT_WORDS})
        if unknown:
            raise InvalidDataError(
                f"Column {column!r} of {self.source!r} says {', '.join(map(repr, unknown[:5]))}. "
                f"Expected one of {', '.join(SPLIT_WORDS)} in each row. "
                "Change them, or name another column with --split."
            )
        held = [SPLIT_WORDS[w] == "holdout" for w in words]
        if all(held):
            raise InvalidDataError(
                f"Column {column!r} of {self.source!r} puts all {len(held)} rows into the test "
                "split. Mark the rows to learn from as 'train'."
            )
        return held


def _take(items: Sequence[Any], rows: Sequence[int]) -> Any:
    return items.select(rows) if isinstance(items, Samples) else [items[i] for i in rows]
