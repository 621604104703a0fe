"""Read data sets of other libraries: map-style ones, and those of Hugging Face `datasets`."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.arrow import encoded_image, holds_images, is_plain, text_frame, values
from autotl.data.columns import IMAGE_NAMES, LABEL_NAMES, TEXT_NAMES, Columns
from autotl.data.folders import SPLIT_WORDS
from autotl.data.lazy import Samples
from autotl.data.raw import RawData, SkippedSample
from autotl.data.rows import Table
from autotl.errors import AmbiguousModalityError, InvalidDataError

__all__ = ["brings_labels", "read_dataset", "unlabelled"]

_PROBES = 5  # items that show whether a data set's list of labels is to be trusted
# Sounds and films are stored as images are: {bytes, path}.
_IMAGE_FEATURES = ("Image", "Value", "dict")


def read_dataset(X: Any, *, modality: str | None = None) -> RawData:
    """Read a data set that brings its labels; its items are read on access and not held.

    Args:
        X: A Hugging Face `Dataset` or `DatasetDict`, whose test split becomes the holdout; or any
            object with a length whose items are pairs (sample, label), or dicts with an image or
            text and a label. Items must be the same each time: without random augmentation.
        modality: "image" or "text" where the data set leaves it open.

    Raises:
        InvalidDataError: `X` is no such data set, or its columns are not clear.
        AmbiguousModalityError: It holds both images and texts.
    """
    if _is_huggingface(X):
        return _read_huggingface(X, modality, require_labels=True)
    if _has_splits(X):
        return _read_splits(X, modality)
    keys = _keys(X, modality)
    if keys is None or keys[1] is None:
        n = f"the {len(X)} samples of X have" if hasattr(X, "__len__") else "X has"
        raise InvalidDataError(
            f"y is None, so {n} no labels. Give one label for each sample, or a data set whose "
            "items are pairs (sample, label)."
        )
    return _read_items(X, *keys, modality)


def brings_labels(X: Any, modality: str | None = None) -> bool:
    """Say whether `read_dataset` finds labels in samples, as far as can be told from outside."""
    if _is_huggingface(X):
        return _read_huggingface(X, modality, require_labels=False).y is not None
    if _has_splits(X):
        return True
    keys = _keys(X, modality)
    return keys is not None and keys[1] is not None


def unlabelled(X: Any, modality: str | None = None) -> Any:
    """Return the samples of a data set as `read_dataset` takes it, and any other `X` as it is."""
    if _has_splits(X):
        raise InvalidDataError(
            f"X is a set of splits ({', '.join(map(repr, X))}). Give one of them, for example "
            f"X[{next(iter(X))!r}]."
        )
    if _is_huggingface(X):
        return _read_huggingface(X, modality, require_labels=False).X
    keys = _keys(X, modality)
    if keys is not None:
        return _Items(X, keys[0])
    if _is_map_style(X) and not isinstance(X, Sequence):
        return _Items(X, None)
    return X


class _Items(Sequence[Any]):
    """One part of each item of a data set.

    Args:
        dataset: Has a length and items.
        key: Of the part in each item; None takes the whole item.
    """

    def __init__(self, dataset: Any, key: Any) -> None:
        self._dataset, self._key = dataset, key
        # Nothing is known about a stranger's data set, so threads take turns.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Let workers have the data set, each with a lock of its own."""
        return _Items, (self._dataset, self._key)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        """Read one item, or an Exception that says why it cannot be read."""
        row = range(len(self))[index]
        if isinstance(row, range):
            return [self[i] for i in row]
        try:
            with self._lock:
                item = self._dataset[row]
                return item if self._key is None else item[self._key]
        except Exception as error:  # noqa: BLE001  # a stranger's code may fail in any way
            return InvalidDataError(
                f"The data set cannot give this item: {type(error).__name__}: {error}."
            )


class _Encoded(Sequence[Any]):
    """Encoded images of a column, as bytes or paths."""

    def __init__(self, cells: Sequence[Any]) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: Any) -> Any:
        cell = self._cells[index]
        return cell if isinstance(cell, Exception) else encoded_image(cell, Path())


def _is_map_style(X: Any) -> bool:
    if isinstance(X, str | bytes | Mapping) or hasattr(X, "ndim") or hasattr(X, "iloc"):
        return False
    return hasattr(X, "__len__") and hasattr(X, "__getitem__")


def _keys(X: Any, modality: str | None) -> tuple[Any, Any] | None:
    """Return where items have their sample and label, None where they are no pairs or dicts."""
    if not _is_map_style(X) or not len(X):
        return None
    first = _Items(X, None)[0]
    if isinstance(first, Exception):
        raise InvalidDataError(f"X[0]: {first}")
    if isinstance(first, tuple) and len(first) == 2:
        return 0, 1
    if not isinstance(first, Mapping):
        return None
    named = {"image": IMAGE_NAMES, "text": TEXT_NAMES}
    found = [
        key
        for kind, names in named.items()
        if modality in (None, kind)
        for key in first
        if str(key).lower() in names
    ]
    labels = [key for key in first if str(key).lower() in LABEL_NAMES]
    if len(found) != 1 or len(labels) > 1:
        raise InvalidDataError(
            f"The items of X are dicts with the keys {', '.join(map(repr, first))}, and it is not "
            "clear which holds the sample. Expected one of 'image' or 'text', and 'label'."
        )
    return found[0], labels[0] if labels else None


def _read_items(X: Any, sample: Any, label: Any, modality: str | None) -> RawData:
    labels = _labels(X, label)
    rows = [i for i, value in enumerate(labels) if not isinstance(value, Exception)]
    ids = [f"X[{i}]" for i in range(len(labels))]
    return RawData(
        X=Samples([_Items(X, sample)]).select(rows),
        y=[labels[i] for i in rows],
        modality=modality,
        ids=[ids[i] for i in rows],
        kept=rows,
        skipped=[
            SkippedSample(ids[i], str(value))
            for i, value in enumerate(labels)
            if isinstance(value, Exception)
        ],
    )


def _labels(X: Any, key: Any) -> list[Any]:
    """Return the labels: torchvision lists them apart; else every item is read for its own."""
    items = _Items(X, key)
    listed: Any = getattr(X, "targets", ())
    usual = key == 1 and hasattr(listed, "__len__") and len(listed) == len(X)
    if usual and not _transforms_labels(X):
        probes = np.unique(np.linspace(0, len(X) - 1, _PROBES).astype(int)).tolist()
        if all(_equal(items[i], listed[i]) for i in probes):
            return [_plain(value) for value in listed]
    return [_plain(value) for value in items]


def _transforms_labels(X: Any) -> bool:
    """Tell whether items may have other labels than those listed; probes can miss a rare one."""
    both = getattr(X, "transforms", None)
    # Of a function of image and label together nobody knows.
    inside = None if both is None else getattr(both, "target_transform", both)
    return getattr(X, "target_transform", None) is not None or inside is not None


def _plain(value: Any) -> Any:
    """Return a number of NumPy or torch as Python's."""
    return value.item() if getattr(value, "shape", None) == () else value


def _equal(one: Any, other: Any) -> bool:
    one, other = _plain(one), _plain(other)
    return type(one) is type(other) and bool(one == other)


def _is_huggingface(X: Any) -> bool:
    found = hasattr(X, "features") and hasattr(X, "column_names") and not isinstance(X, Mapping)
    if found and not hasattr(X, "__len__"):
        raise InvalidDataError(
            "X is a streamed data set without a length. Load it with streaming=False."
        )
    return found


def _has_splits(X: Any) -> bool:
    return isinstance(X, Mapping) and bool(X) and all(_is_huggingface(part) for part in X.values())


def _read_huggingface(X: Any, modality: str | None, *, require_labels: bool) -> RawData:
    schema = X.features.arrow_schema
    plain = [field.name for field in schema if is_plain(field.type)]
    images = [
        field.name
        for field in schema
        if holds_images(field.type) and type(X.features[field.name]).__name__ in _IMAGE_FEATURES
    ]
    cells: Any = X.select_columns(plain).with_format("arrow")[:] if plain else None

    def labels(column: str) -> list[Any]:
        names = getattr(X.features[column], "names", None)
        return values(cells.column(column), names, column)

    import pandas as pd

    table = Table(
        frame=pd.DataFrame(index=range(len(X))) if cells is None else text_frame(cells),
        source="the data set",
        folder=Path(),
        values=labels,
        images={name: _later_encoded(X, name) for name in images},
    )
    try:
        return table.read(Columns(), modality=modality, require_labels=require_labels)
    except AmbiguousModalityError:
        raise
    except InvalidDataError as error:
        raise InvalidDataError(
            f"{error} In Python name columns with rename_column: 'image' or 'text', and 'label'."
        ) from error


def _later_encoded(X: Any, column: str) -> Callable[[], Sequence[Any]]:
    """Return what reads a column's images without decoding: that is done here, in threads."""

    def encoded() -> Sequence[Any]:
        alone, feature = X.select_columns([column]).with_format(None), X.features[column]
        if type(feature).__name__ == "Image":
            alone = alone.cast_column(column, type(feature)(decode=False))
        return _Encoded(_Items(alone, column))

    return encoded


def _read_splits(X: Mapping[str, Any], modality: str | None) -> RawData:
    """Join the splits to learn from; the test split is the holdout."""
    parts: dict[str, list[RawData]] = {"data": [], "holdout": []}
    notes, only = [], len(X) == 1
    for name, part in X.items():
        role = "data" if only else SPLIT_WORDS.get(name.lower())
        if role is None:
            notes.append(f"Split {name!r} is not used: only {', '.join(SPLIT_WORDS)} are known.")
            continue
        read = _read_huggingface(part, modality, require_labels=True)
        modality = read.modality
        if role == "holdout" and read.y is not None and all(v is None for v in read.y):
            notes.append(f"Split {name!r} is not used: it has no labels.")
            continue
        parts[role].append(_renamed(read, name))
    if not parts["data"]:
        raise InvalidDataError(
            f"X has the splits {', '.join(map(repr, X))}, and none of them to learn from. "
            "Expected 'train', or give one split: X['...']."
        )
    data, held = _joined(parts["data"]), parts["holdout"] and _joined(parts["holdout"])
    return RawData(
        X=data.X,
        y=data.y,
        X_holdout=held.X if held else None,
        y_holdout=held.y if held else None,
        modality=modality,
        ids=data.ids,
        notes=[*dict.fromkeys([*data.notes, *notes])],
        columns=data.columns,
    )


def _renamed(data: RawData, split: str) -> RawData:
    ids = [f"{split} {name}" for name in data.ids]
    return RawData(
        X=data.X, y=data.y, modality=data.modality, ids=ids, notes=data.notes, columns=data.columns
    )


def _joined(parts: Sequence[RawData]) -> RawData:
    ids = [name for part in parts for name in part.ids]
    return RawData(
        X=parts[0].X if len(parts) == 1 else Samples([part.X for part in parts]),
        y=[label for part in parts for label in part.y],
        modality=parts[0].modality,
        ids=ids,
        notes=[note for part in parts for note in part.notes],
        columns=parts[0].columns,
    )
