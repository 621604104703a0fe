"""Samples beside the task's own: without labels, and labelled ones of other domains."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotl.data.labels import Missing, encode, name_classes, sorted_classes
from autotl.data.parts import Checks, Part
from autotl.errors import InvalidDataError

__all__ = ["Extras", "Source", "gather", "labelled_by_sources"]

Array = np.ndarray[Any, Any]
_LEAST_OF_SOURCE = 10  # labelled samples that are worth learning from
_LEAST_TO_HOLD, _MOST_HELD = 100, 200
_NAME = "source"
_MAY_LACK = Missing(use=True)  # labels; such samples of a source are left out


@dataclass(frozen=True, kw_only=True)
class Source:
    """A labelled data set of another domain.

    Args:
        name: What the user calls it.
        rows: Positions in the task's samples.
        y: Codes among its own classes, shape (n_samples,).
        classes: Its labels behind these codes.
        codes: Codes among the task's classes, shape (n_samples,); -1 where the label is none.
        weight: How much it counts beside other sources, 0 for not at all.
        held: Positions, within the source, of samples that no method learns from: they tell what
            was forgotten. Sorted; empty where there are few.
    """

    name: str
    rows: Array
    y: Array
    classes: list[Hashable]
    codes: Array
    weight: float = 1.0
    held: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def learnt(self) -> Array:
        """Positions, within the source, of samples that methods may learn from."""
        return np.setdiff1d(np.arange(len(self.rows)), self.held)

    @property
    def shared(self) -> Array:
        """Positions of those of them whose class the task has too."""
        learnt = self.learnt
        found: Array = learnt[self.codes[learnt] >= 0]
        return found


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What comes after a task's labelled samples.

    Args:
        parts: In the order of their samples.
        unlabeled: Positions of samples without labels among all of the task's.
        sources: Labelled data sets of other domains.
        notes: What the user should know, in whole sentences.
    """

    parts: list[Part]
    unlabeled: Array
    sources: tuple[Source, ...]
    notes: list[str]


def gather(  # all that may come beside the task's own samples
    checks: Checks,
    labelled: Sequence[Part],
    holdout: Array,
    classes: Sequence[Hashable],
    unlabeled: tuple[Part | None, Any],
    source: Any,
) -> Extras:
    """Check samples without labels and those of other domains, none of which is in the holdout.

    Args:
        checks: Of the task.
        labelled: The samples before them.
        holdout: Positions of the holdout among these.
        classes: The task's labels.
        unlabeled: Samples of the user's data that have no label, and those given besides.
        source: `(X, y)`, or a mapping of names to such pairs, or None.

    Raises:
        InvalidDataError: A source is no pair, or has too few samples or classes.
    """
    digests = [digest for part in labelled for digest in part.fingerprints]
    held = [digests[i] for i in holdout]
    own, given = unlabeled
    if own is not None:
        checks.drop_held(own, held, "X")
    blank = [part for part in (own, _unlabeled(checks, given, held)) if part is not None]
    first, after = len(digests), len(digests) + sum(len(part) for part in blank)
    # With its label, a sample that is also the user's would tell what validation is to find out.
    sources, at, others = [], after, _sources(checks, source, digests)
    counts = Counter(digest for part in others.values() for digest in set(part.fingerprints))
    for name, part in others.items():
        sources.append(_source_of(name, part, at, classes, counts))
        at += len(part)
    return Extras(
        parts=[*blank, *others.values()],
        unlabeled=np.arange(first, after),
        sources=tuple(sources),
        notes=_note_classes(sources, classes),
    )


def labelled_by_sources(checks: Checks, source: Any, n_samples: int) -> Part:
    """Return the labelled samples of all sources as one part, for data that have no label.

    Args:
        checks: Of the task.
        source: `(X, y)`, or a mapping of names to such pairs, or None.
        n_samples: Samples of the data.

    Raises:
        InvalidDataError: There is no source.
    """
    named = _sources(checks, source, ())
    found = list(named.values())
    if not found:
        raise InvalidDataError(
            f"None of the {n_samples} samples of X has a label. Label a few of each class, or "
            "give labelled samples of a similar domain, source=(X, y) or --source DATA."
        )
    first, n_sources = found[0], len(found)
    checks.warnings.append(
        f"None of the {n_samples} samples of the data has a label: classes and labels are those "
        "of " + ", ".join(f"{name!r} ({len(p)} samples)" for name, p in named.items()) + "."
    )
    for k, part in enumerate(found):
        if n_sources > 1:  # units of different sources have nothing to do with each other
            part.groups = [(k, group) for group in part.groups]
        if k:
            first.join(part)
    return first


def _unlabeled(checks: Checks, X: Any, held: Sequence[str]) -> Part | None:
    """Check samples without labels; those of the holdout are taken out.

    Args:
        checks: Of the task.
        X: As the user gave them, or None.
        held: Fingerprints of the holdout's samples.
    """
    if X is None:
        return None
    part = checks.part(X, None, None, None, "X_unlabeled", labelled=False)
    checks.drop_held(part, held, "X_unlabeled")
    return part


def _sources(checks: Checks, given: Any, known: Sequence[str]) -> dict[str, Part]:
    """Check labelled samples of other domains, by name; those of the user's own are taken out.

    Args:
        checks: Of the task.
        given: `(X, y)`, or a mapping of names to such pairs, or None.
        known: Fingerprints of the user's labelled samples.

    Raises:
        InvalidDataError: A source is no pair, or has too few samples or classes.
    """
    found = {}
    for name, pair in _named(given).items():
        X, y = _pair(name, pair)
        label = _NAME if name == _NAME else f"{_NAME} {name!r}"
        part = checks.part(X, y, None, None, f"X of {label}", missing=_MAY_LACK)
        blank = part.split_off_unlabelled()
        if blank is not None:
            checks.warnings.append(
                f"{len(blank)} of {len(part) + len(blank)} samples of {label} have no label and "
                "are left out."
            )
        n_given = len(part)
        checks.drop_held(part, known, f"X of {label}", "X")
        if n_given and not len(part):
            raise InvalidDataError(
                f"All {n_given} samples of {label} are in the data too, so it brings nothing. "
                "Give samples of another domain, or leave it out."
            )
        if len(part) < _LEAST_OF_SOURCE or len(set(part.labels)) < 2:
            n_classes = len(set(part.labels))
            raise InvalidDataError(
                f"{label} has {len(part)} usable samples of {n_classes} "
                f"class{'' if n_classes == 1 else 'es'}. Expected at least {_LEAST_OF_SOURCE} "
                "samples of two classes; add some, or leave it out."
            )
        found[name] = part
    return found


def _named(given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        wrong = [name for name in given if not isinstance(name, str) or not name.strip()]
        if wrong:
            raise InvalidDataError(
                f"source has a name {wrong[0]!r}. Expected names of at least one letter, such as "
                "source={'photos': (X, y)}."
            )
        return given
    return {_NAME: given}


def _pair(name: str, pair: Any) -> tuple[Any, Any]:
    several = isinstance(pair, list) and all(isinstance(p, tuple | list) for p in pair)
    if not isinstance(pair, tuple | list) or len(pair) != 2 or (several and _are_pairs(pair)):
        size = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
        raise InvalidDataError(
            f"source {name!r} is a {type(pair).__name__}{size}. Expected a pair of samples and "
            "labels, source=(X_source, y_source), or several by name, "
            "source={'photos': (X1, y1), 'drawings': (X2, y2)}."
        )
    return pair[0], pair[1]


def _are_pairs(values: Sequence[Any]) -> bool:
    """Tell two pairs of samples and labels from a pair of lists."""
    sized = [v for v in values if len(v) == 2]
    return len(sized) == len(values) and all(hasattr(part, "__len__") for v in sized for part in v)


def _source_of(
    name: str, part: Part, first: int, classes: Sequence[Hashable], counts: Mapping[str, int]
) -> Source:
    """Describe a checked source whose samples lie from position `first` on.

    What lies in several sources by `counts` is not kept from methods: one of them would have it.

    A label of the task that is text counts as the source's label of the same text.
    """
    own = sorted_classes(part.labels)
    code_of = {label: code for code, label in enumerate(classes)}
    by_text = {_text(label): code for label, code in code_of.items()}
    codes = [code_of.get(label, by_text.get(_text(label), -1)) for label in part.labels]
    return Source(
        name=name,
        rows=np.arange(first, first + len(part)),
        y=encode(part.labels, own),
        classes=own,
        codes=np.array(codes, dtype=np.int64),
        held=_held(part, counts),
    )


def _text(label: Hashable) -> str:
    """Return a label as text; missing ones beside them make floats of whole numbers."""
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label)) if whole else str(label)  # type: ignore[call-overload]  # it is a float


def _held(part: Part, counts: Mapping[str, int]) -> Array:
    """Return positions to keep from all methods: whole units, drawn by their content."""
    units = part.units()
    if len(part) < _LEAST_TO_HOLD:
        return np.zeros(0, np.int64)
    most = min(_MOST_HELD, len(part) // 5)
    alone = [i for i, digest in enumerate(part.fingerprints) if counts[digest] < 2]
    order = sorted(alone, key=lambda i: part.fingerprints[i])
    chosen: set[int] = set()
    kept: list[int] = []
    sizes = np.bincount(units)
    for i in order:
        unit = int(units[i])
        if unit not in chosen and len(kept) + sizes[unit] <= most:
            chosen.add(unit)
            kept += np.flatnonzero(units == unit).tolist()
    return np.sort(np.array(kept, dtype=np.int64))


def _note_classes(sources: Sequence[Source], classes: Sequence[Hashable]) -> list[str]:
    """Say which of the task's classes a source lacks, and which of its own are no use."""
    notes = []
    for source in sources:
        lacking = Counter(classes[c] for c in range(len(classes)) if c not in source.codes)
        if lacking and len(lacking) < len(classes):
            notes.append(
                f"Source {source.name!r} has no sample of {len(lacking)} of the {len(classes)} "
                f"classes of the data: {', '.join(map(repr, list(lacking)[:5]))}"
                f"{', ...' if len(lacking) > 5 else ''}. Alone it cannot tell them."
            )
        others = Counter(source.classes[c] for c in source.y[source.codes < 0])
        if len(others) == len(source.classes):
            notes.append(
                f"Source {source.name!r} shares no class with the data, such as "
                f"{name_classes(others, 3)} against {classes[0]!r}: methods that carry classes "
                "over leave it out."
            )
        elif others:
            notes.append(
                f"{sum(others.values())} samples of source {source.name!r} belong to classes that "
                f"the data lack: {name_classes(others)}. Methods that carry classes over leave "
                "them out."
            )
    return notes
