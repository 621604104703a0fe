"""What reading a source gives, before anything is decoded or checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RawData", "SkippedSample"]


@dataclass(frozen=True)
class SkippedSample:
    """A sample that was left out.

    Args:
        sample: Its path, row or index.
        reason: Why, in words.
    """

    sample: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RawData:
    """Samples and labels as read from a file, folder or name.

    Args:
        X: Paths, texts or an array; the samples to learn from.
        y: Their labels, or None where the source has none.
        X_holdout: The source's own test split.
        y_holdout: Its labels.
        groups: One value for each sample of `X`; equal ones stay on one side of every split.
        modality: Name of the modality where the source decides it.
        ids: One name for each sample of `X`: its path, "row 7" (the first row of data is 1) or
            "X[7]".
        kept: Position in the source of each sample of `X`; None where none was left out.
        skipped: Samples that were left out while reading.
        notes: Further remarks for the user, such as how many files are no images.
        columns: Columns of a table that were used, by flag: "text" or "image", "label", "split".
    """

    X: Any
    y: Any = None
    X_holdout: Any = None
    y_holdout: Any = None
    groups: Sequence[Any] | None = None
    modality: str | None = None
    ids: list[str]
    kept: list[int] | None = None
    skipped: list[SkippedSample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
