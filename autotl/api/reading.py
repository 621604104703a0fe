"""From a data set or a source to samples and labels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data import RawData, read, read_dataset, usable_samples
from autotl.data.labels import as_values, is_missing
from autotl.data.lazy import Samples
from autotl.errors import InvalidDataError
from autotl.specs import ModalitySpec

LEAST_OF_DOMAIN = 10  # samples to compare by


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
    *,
    unlabeled: str | Path | None = None,
    others: Mapping[str, str | Path] | None = None,
) -> tuple[RawData, dict[str, Any]]:
    """Return what a source holds, and what else the search is told of it.

    Args:
        source: Where the labelled samples lie.
        columns: Of a table.
        holdout: Where those for the final test lie, if not among these.
        groups_column: Column whose equal values stay together.
        modality: Kind of sample, where the source leaves it open.
        unlabeled: Where samples without labels lie.
        others: Where labelled samples of other domains lie, by name.
    """
    data = _read_own(source, columns, groups_column, modality, alone=not others)
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
        "X_unlabeled": None,
        "source_data": None,
    }
    if unlabeled is not None:
        blank = read_other(unlabeled, columns, data.modality)
        skipped += blank.skipped
        extra |= {"X_unlabeled": blank.X, "notes": [*extra["notes"], *blank.notes]}
    if others:
        found = {name: _read_domain(path, columns, data.modality) for name, path in others.items()}
        extra["source_data"] = {name: (other.X, other.y) for name, other in found.items()}
        for other in found.values():
            skipped += other.skipped
            extra["notes"] = [*extra["notes"], *other.notes]
    extra["skipped"] = skipped
    return data, extra


def _read_own(
    source: str | Path,
    columns: dict[str, Any],
    groups: str | None,
    modality: str | None,
    *,
    alone: bool,
) -> RawData:
    """Read the user's data; beside other domains they may lack labels altogether."""
    try:
        data = read(source, modality=modality, groups=groups, **columns)
    except InvalidDataError:
        if alone or columns.get("label") is not None:
            raise
        data = read(source, modality=modality, groups=groups, require_labels=False, **columns)
        if data.y is not None:  # something else is wrong
            raise
    if not alone and data.y is not None and all(is_missing(label) for label in data.y):
        return replace(data, y=None)
    return data


def _read_domain(path: str | Path, columns: dict[str, Any], modality: str | None) -> RawData:
    """Read labelled samples of another domain, whose columns may have other names."""
    try:
        return read(path, modality=modality, **columns)
    except InvalidDataError as error:
        if not any(columns.values()):
            raise
        try:
            return read(path, modality=modality)
        except InvalidDataError:
            raise error from None


def read_other(path: str | Path, columns: dict[str, Any], modality: str | None) -> RawData:
    """Read data to compare with, which may lack the label column of the user's own."""
    try:
        return read(path, modality=modality, require_labels=False, **columns)
    except InvalidDataError:
        if columns.get("label") is None:
            raise
    return read(path, modality=modality, require_labels=False, **{**columns, "label": None})


def read_domain(
    modality: ModalitySpec, name: str, X: Any, y: Any, *, most: int, seed: int
) -> tuple[Samples, np.ndarray | None]:
    """Return usable samples of one domain and codes of their labels, drawn down to `most`.

    Args:
        modality: Reads the samples.
        name: What the user calls them.
        X: The samples.
        y: Labels, or None.
        most: Samples to keep, in random order.
        seed: Of the draw.

    Raises:
        InvalidDataError: There are too few usable samples, or as many labels as samples are not.
    """
    labels = None if y is None else as_values(y)
    found = usable_samples(modality, X, name=name)
    if labels is not None and len(labels) != found.n_given:
        raise InvalidDataError(
            f"{name} has {found.n_given} samples and {len(labels)} labels. Give one label for "
            "each, or none."
        )
    if len(found.kept) < LEAST_OF_DOMAIN:
        raise InvalidDataError(
            f"{name} has {len(found.kept)} usable samples of {found.n_given}; expected at least "
            f"{LEAST_OF_DOMAIN} {modality.name}s."
        )
    rows = np.random.default_rng(seed).permutation(len(found.kept))[:most]
    samples = found.samples.select(rows)
    if labels is None or any(label is None for label in labels):
        return samples, None
    codes = np.unique([str(labels[i]) for i in found.kept], return_inverse=True)[1]
    return samples, codes[rows]
