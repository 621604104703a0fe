"""Check labels and turn them into class codes."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.errors import InvalidDataError

__all__ = [
    "Missing",
    "as_values",
    "encode",
    "is_missing",
    "label_list",
    "name_classes",
    "sorted_classes",
]


def as_values(values: Any) -> list[Any]:
    """Return a list of Python objects from a list, array or pandas Series of one dimension."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    elif hasattr(values, "to_numpy"):
        # Keeps pandas' own missing values apart from strings and whole numbers.
        values = values.to_numpy(dtype=object)
    if isinstance(values, np.ndarray):
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        values = list(values)
    return [v.item() if isinstance(v, np.generic) else v for v in values]


def is_missing(value: Any) -> bool:
    """Tell None, NaN, NaT and pandas' NA from values."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What is done about samples without a label.

    Args:
        use: Learn from them as unlabelled samples.
        marker: A label that stands for none, besides None and NaN; None where there is no such.
    """

    use: bool
    marker: Hashable = None

    @classmethod
    def of(cls, unlabeled: Any, marker: Any) -> "Missing":
        """Check what the user says.

        Raises:
            InvalidDataError: It is neither None nor "use", or a marker is given without "use".
        """
        if unlabeled not in (None, "use"):
            raise InvalidDataError(
                f"unlabeled is {_shown(unlabeled)}. Expected 'use', to learn from samples without "
                "a label too, or None."
            )
        if marker is not None and unlabeled is None:
            raise InvalidDataError(
                f"unlabeled_value is {_shown(marker)}, but unlabeled is None. Give "
                "unlabeled='use' too, to learn from samples without a label."
            )
        marker = marker.item() if isinstance(marker, np.generic) else marker
        return cls(use=unlabeled == "use", marker=marker)

    def is_missing(self, label: Any) -> bool:
        """Say whether a label stands for none; a text marks labels that are written like it."""
        if is_missing(label):
            return True
        if isinstance(self.marker, str):
            return str(label) == self.marker
        truths = isinstance(label, bool | np.bool_), isinstance(self.marker, bool)
        alike = truths[0] == truths[1]  # 1 and True are equal, but not alike
        return alike and bool(label == self.marker)


_NONE_MISSING = Missing(use=False)


def label_list(
    y: Any, name: str, n_samples: int, samples_name: str, missing: Missing | None = None
) -> list[Hashable]:
    """Return labels as Python objects, kept as given.

    Args:
        y: Labels, as the user gave them.
        name: What the user calls `y`.
        n_samples: How many samples there are.
        samples_name: What the user calls the samples.
        missing: Which labels may be missing; those are None in the result.

    Raises:
        InvalidDataError: A label is missing, not hashable or a number with a fraction, or there
            is not exactly one for each sample.
    """
    if y is None:
        raise InvalidDataError(
            f"{name} is None, so the {n_samples} samples of {samples_name} have no labels. "
            "Give one label for each sample."
        )
    if isinstance(y, str | bytes | Mapping) or not isinstance(y, Iterable):
        raise InvalidDataError(
            f"{name} is {_shown(y)}. Expected one label for each sample: a list, array or Series."
        )
    _check_dimensions(y, name)
    labels = as_values(y)
    if len(labels) != n_samples:
        raise InvalidDataError(
            f"{name} has {len(labels)} labels but {samples_name} has {n_samples} samples. "
            "Give exactly one label for each sample."
        )
    missing = missing or _NONE_MISSING
    if missing.use:
        labels = [None if missing.is_missing(label) else label for label in labels]
    _check_each([label for label in labels if not (missing.use and label is None)], name)
    return labels


def _check_dimensions(y: Any, name: str) -> None:
    shape = getattr(y, "shape", ())
    if len(shape) > 1 and shape[1:] != (1,):
        raise InvalidDataError(
            f"{name} has the shape {tuple(shape)}. Expected one label for each sample; turn "
            f"one-hot rows into classes with {name}.argmax(axis=1). Several labels for one sample "
            "come later."
        )


def _check_each(labels: Sequence[Any], name: str) -> None:
    missing = [i for i, label in enumerate(labels) if is_missing(label)]
    if missing:
        raise InvalidDataError(
            f"{len(missing)} of {len(labels)} labels in {name} are missing (None, NaN or an empty "
            f"cell), the first at {_indices(missing)}. Fill them in, drop these samples, or learn "
            "from them without labels by unlabeled='use' (--use-unlabeled)."
        )
    for i, label in enumerate(labels):
        if not isinstance(label, Hashable) or not _hashes(label):
            raise InvalidDataError(
                f"{name}[{i}] is {_shown(label)}, which is not hashable. Expected one label such "
                "as a str or int; several labels for one sample come later."
            )
    fractions = [i for i, v in enumerate(labels) if isinstance(v, float) and not v.is_integer()]
    if fractions:
        i = fractions[0]
        raise InvalidDataError(
            f"{name} holds {len(fractions)} numbers with a fraction, such as {labels[i]!r} at "
            f"index {i}. autotl classifies; regression comes later. If they are names of classes, "
            "turn them into text, for example 'v1.5'."
        )


def _hashes(label: Any) -> bool:
    try:
        hash(label)
    except TypeError:  # a tuple that holds a list, say
        return False
    return True


def sorted_classes(labels: Iterable[Hashable]) -> list[Hashable]:
    """Return the distinct labels in order; kinds that do not compare go by their text."""
    distinct = list(dict.fromkeys(labels))
    try:
        return sorted(distinct)  # type: ignore[type-var]  # may not compare: that is the question
    except TypeError:
        return sorted(distinct, key=lambda label: (str(label), type(label).__name__))


def encode(labels: Sequence[Hashable], classes: Sequence[Hashable]) -> "np.ndarray[Any, Any]":
    """Return the position of each label in `classes`, shape (n_samples,), int64."""
    codes = {label: code for code, label in enumerate(classes)}
    return np.array([codes[label] for label in labels], dtype=np.int64)


def name_classes(counts: "Counter[Hashable]", limit: int = 5) -> str:
    """List classes with their counts for a message, such as "'a' (1), 'b' (2)"."""
    shown = [f"{label!r} ({n})" for label, n in list(counts.items())[:limit]]
    more = len(counts) - limit
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _indices(found: Sequence[int], limit: int = 5) -> str:
    noun = "index" if len(found) == 1 else "indices"
    shown = ", ".join(map(str, found[:limit]))
    return f"{noun} {shown}{', ...' if len(found) > limit else ''}"


def _shown(value: Any, limit: int = 60) -> str:
    text = repr(value)
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"{text} ({type(value).__name__})"
