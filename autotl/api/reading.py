"""From a data set or a source to samples and labels."""

from pathlib import Path
from typing import Any

from autotl.data import RawData, read, read_dataset
from autotl.data.labels import as_values
from autotl.errors import InvalidDataError


def read_labels(
    X: Any, X_holdout: Any, y_holdout: Any, groups: Any, modality: str | None
) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Return samples and labels of a data set, and what else reading it tells."""
    if y_holdout is not None and X_holdout is None:
        raise InvalidDataError(
            f"y_holdout has {len(y_holdout)} labels but X_holdout is None. Give both or neither."
        )
    data = read_dataset(X, modality=modality)
    skipped, notes = list(data.skipped), list(data.notes)
    if X_holdout is not None and data.X_holdout is not None:
        raise InvalidDataError(
            f"X has its own test split of {len(data.X_holdout)} samples, and X_holdout is given "
            "too. Give one of them: X['train'] leaves the test split out."
        )
    held, y_held = data.X_holdout, data.y_holdout
    if X_holdout is not None:
        held, y_held = X_holdout, y_holdout
        if y_holdout is None:
            other = read_dataset(X_holdout, modality=data.modality or modality)
            held, y_held = other.X, other.y
            skipped, notes = skipped + other.skipped, notes + other.notes
    extra = {
        "modality": modality or data.modality,
        "groups": _kept_groups(groups, data),
        "ids": data.ids,
        "skipped": skipped,
        "notes": notes,
    }
    return data.X, data.y, held, y_held, extra


def _kept_groups(groups: Any, data: RawData) -> Any:
    """Return the groups of the samples that reading has kept."""
    if groups is None or data.kept is None or not data.skipped:
        return groups
    values, n_given = as_values(groups), len(data.kept) + len(data.skipped)
    if len(values) != n_given:
        raise InvalidDataError(
            f"groups has {len(values)} values but X has {n_given} samples. "
            "Give one group for each sample."
        )
    return [values[i] for i in data.kept]


def read_source(
    source: str | Path,
    columns: dict[str, Any],
    holdout: str | Path | None,
    groups_column: str | None,
    modality: str | None,
) -> tuple[RawData, dict[str, Any]]:
    """Return what a source holds, and what else the search is told of it."""
    data = read(source, modality=modality, groups=groups_column, **columns)
    X_holdout, y_holdout, skipped = data.X_holdout, data.y_holdout, list(data.skipped)
    notes: list[str] = []
    if holdout is not None:
        if X_holdout is not None:
            raise InvalidDataError(
                f"{str(source)!r} has its own test split and --holdout {str(holdout)!r} names "
                "another; give one of them. Leave --holdout out, or remove the test split."
            )
        other = read(holdout, modality=data.modality, require_labels=False, **columns)
        X_holdout, y_holdout = other.X, other.y
        skipped += other.skipped
        notes = other.notes
    extra = {
        "modality": modality or data.modality,
        "X_holdout": X_holdout,
        "y_holdout": y_holdout,
        "groups": data.groups,
        "ids": data.ids,
        "skipped": skipped,
        "notes": [*data.notes, *notes],
        "columns": data.columns,
    }
    return data, extra
