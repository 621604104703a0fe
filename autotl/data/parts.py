"""Check samples with their labels before they are split."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.data.labels import (
    Missing,
    as_values,
    encode,
    is_missing,
    label_list,
    name_classes,
    sorted_classes,
)
from autotl.data.lazy import Samples
from autotl.data.raw import SkippedSample
from autotl.data.samples import Advance, UsableSamples, given_samples, usable_samples
from autotl.data.splits import canonical_order, class_counts, few_per_class, join_units
from autotl.errors import InvalidDataError
from autotl.specs import ModalitySpec

__all__ = ["Checks", "Part"]

Array = np.ndarray[Any, Any]


@dataclass
class Part:
    """Samples of one origin while they are being checked."""

    samples: Samples
    labels: list[Hashable]
    groups: list[Hashable]
    ids: list[str]
    fingerprints: list[str]

    def __len__(self) -> int:
        return len(self.samples)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these positions."""
        self.samples = self.samples.select(rows)
        for name in ("labels", "groups", "ids", "fingerprints"):
            values = getattr(self, name)
            setattr(self, name, [values[i] for i in rows])

    def join(self, other: "Part") -> None:
        """Put another part's samples after these."""
        self.samples = self.samples + other.samples
        for name in ("labels", "groups", "ids", "fingerprints"):
            setattr(self, name, [*getattr(self, name), *getattr(other, name)])

    def units(self) -> Array:
        """Number the units that no split may divide, shape (n_samples,)."""
        return join_units(self.fingerprints, self.groups)

    def codes(self) -> Array:
        """Return the class codes, shape (n_samples,)."""
        return encode(self.labels, sorted_classes(self.labels))

    def split_off_unlabelled(self) -> "Part | None":
        """Keep the samples with a label, and return the others; None where all have one."""
        rows = [i for i, label in enumerate(self.labels) if label is None]
        if not rows:
            return None
        others = Part(self.samples, self.labels, self.groups, self.ids, self.fingerprints)
        others.keep(rows)
        self.keep([i for i, label in enumerate(self.labels) if label is not None])
        return others

    def canonical(self) -> Array:
        """Return all positions in an order that depends on the content alone."""
        return canonical_order(self.fingerprints, self.codes())


class Checks:
    """Carries the modality, the warnings and the skipped samples from check to check.

    Args:
        modality: Of all samples.
        advance: Called as samples have been looked at.
    """

    def __init__(self, modality: ModalitySpec, advance: Advance | None = None) -> None:
        self.modality, self.advance = modality, advance
        self.skipped: list[SkippedSample] = []
        self.warnings: list[str] = []

    def part(  # what comes with samples
        self,
        X: Any,
        y: Any,
        groups: Any,
        ids: Sequence[str] | None,
        name: str = "X",
        *,
        labelled: bool = True,
        missing: Missing | None = None,
    ) -> Part:
        """Check one set of samples with its labels, leaving out what cannot be used.

        Args:
            X: Samples.
            y: Their labels.
            groups: One value for each sample, or None.
            ids: Names of the samples, or None.
            name: What the user calls `X`.
            labelled: Whether there are labels.
            missing: Which labels may be missing; the part then has None in their place.

        Raises:
            InvalidDataError: Nothing is usable, or labels or groups do not fit.
        """
        given = given_samples(self.modality, X, name)
        labels: list[Hashable] = [None] * len(given)
        if labelled:
            # Labels are cheap to check; a missing one should not wait for ten thousand images.
            labels = label_list(y, name.replace("X", "y", 1), len(given), name, missing)
        shared = _group_list(groups, len(given), name)
        usable = usable_samples(
            self.modality, X, given=given, ids=ids, name=name, advance=self.advance
        )
        _check_any_usable(usable, self.modality.name, name)
        if usable.skipped:
            n, first = len(usable.skipped), usable.skipped[0]
            self._warn(n, f"of {name} left out", f"the first is {first.sample}: {first.reason}")
        self.skipped += usable.skipped
        names = ids if ids is not None else [f"{name}[{i}]" for i in range(usable.n_given)]
        return Part(
            samples=usable.samples,
            labels=[labels[i] for i in usable.kept],
            groups=[shared[i] for i in usable.kept],
            ids=[names[i] for i in usable.kept],
            fingerprints=usable.fingerprints,
        )

    def drop_leaks(self, data: Part, held: Part) -> None:
        """Take samples out of the data whose content is in the user's holdout too.

        Raises:
            InvalidDataError: Nothing would be left.
        """
        seen = set(held.fingerprints)
        leaks = [i for i, digest in enumerate(data.fingerprints) if digest in seen]
        if not leaks:
            return
        if len(leaks) == len(data):
            raise InvalidDataError(
                f"All {len(data)} samples of X are in X_holdout too, so nothing is left to learn "
                "from. Give a holdout with other samples, or none."
            )
        self._drop(data, leaks, "has the same content as a sample of the holdout")
        self._warn(len(leaks), "of X left out", "the holdout has samples of the same content")

    def drop_held(
        self, part: Part, held: Sequence[str], name: str, where: str = "the holdout"
    ) -> None:
        """Take samples out whose content is known already, labels or not."""
        seen = set(held)
        known = [i for i, digest in enumerate(part.fingerprints) if digest in seen]
        if known:
            self._drop(part, known, f"has the same content as a sample of {where}")
            self._warn(len(known), f"of {name} left out", f"{where} has the same content")

    def check_classes(self, data: Part, held: Part | None, per_class: int | None) -> None:
        """Require two classes with enough samples each, and no unknown class in the holdout.

        Classes that cannot be on every side of the splits are left out with a warning.

        Raises:
            InvalidDataError: The classes do not make a task.
        """
        counts = Counter(data.labels)
        if len(counts) < 2:
            raise InvalidDataError(
                f"y has only one class, {name_classes(counts)}{self._after_skipping()}. "
                "A classifier needs at least two: add samples of another class."
            )
        if held is not None:
            _check_known(counts, held)
        if per_class is not None:
            _check_enough_labels(counts, per_class, held is not None)
        rare = _rare_classes(data, 3 if held is None else 2)
        if rare:
            self._drop_rare(data, held, rare, 3 if held is None else 2)
        self._note_conflicts(data)

    def _after_skipping(self) -> str:
        n = len(self.skipped)
        return f", after {n} unusable sample{'' if n == 1 else 's'} were left out" if n else ""

    def _drop_rare(
        self, data: Part, held: Part | None, rare: "Counter[Hashable]", least: int
    ) -> None:
        parts = "train, validation and holdout" if least == 3 else "train and validation"
        classes = set(data.labels)
        n_lost = sum(label in rare for label in data.labels)
        things = "groups or distinct samples" if _any_tied(data) else "samples"
        found = f"{name_classes(rare)}. Each needs {least}, one for each of {parts}."
        if len(classes) - len(rare) < 2 or n_lost > len(data) / 2:
            raise InvalidDataError(
                f"{len(rare)} of {len(classes)} classes have fewer than {least} {things}: "
                f"{found} Add samples, or join rare classes.{_regression_hint(classes)}"
            )
        what, be = (
            ("1 class has", "is") if len(rare) == 1 else (f"{len(rare)} classes have", "are")
        )
        self.warnings.append(f"{what} fewer than {least} {things} and {be} left out: {found}")
        for part in (data, held):
            if part is not None:
                rows = [i for i, label in enumerate(part.labels) if label in rare]
                self._drop(part, rows, f"its class has fewer than {least} samples in X")
        if held is not None and not len(held):
            raise InvalidDataError(
                f"All samples of X_holdout belong to classes that have fewer than {least} samples "
                f"in X: {name_classes(rare)}. Add some to X."
            )

    def _note_conflicts(self, data: Part) -> None:
        labels: dict[str, set[Hashable]] = {}
        for digest, label in zip(data.fingerprints, data.labels, strict=True):
            labels.setdefault(digest, set()).add(label)
        n = sum(len(labels[digest]) > 1 for digest in data.fingerprints)
        if n:
            self.warnings.append(
                f"{n} samples have the same content as another sample with a different label. "
                "They are kept, on one side of every split; check their labels."
            )

    def keep_few(self, data: Part, n: int, seed: int) -> None:
        """Keep `n` labels of each class; for data whose holdout is the user's own."""
        n_given, order = len(data), data.canonical()
        rows = order[few_per_class(data.codes()[order], data.units()[order], n, seed)]
        data.keep(np.sort(rows).tolist())
        if len(data) < n_given:
            self.warnings.append(
                f"labels_per_class={n} leaves {n_given - len(data)} of {n_given} training samples "
                "unused, because the holdout is given."
            )

    def _drop(self, part: Part, rows: Sequence[int], reason: str) -> None:
        gone = set(rows)
        self.skipped += [SkippedSample(part.ids[i], f"{reason}.") for i in rows]
        part.keep([i for i in range(len(part)) if i not in gone])

    def _warn(self, n: int, problem: str, rest: str) -> None:
        noun = "1 sample" if n == 1 else f"{n} samples"
        self.warnings.append(f"{noun} {problem}: {rest.rstrip('.')}.")


def _check_any_usable(usable: UsableSamples, modality: str, name: str) -> None:
    if not usable.kept:
        first = usable.skipped[0]
        raise InvalidDataError(
            f"None of the {usable.n_given} samples of {name} can be used. The first is "
            f"{first.sample}: {first.reason} Check that these are {modality}s."
        )


def _group_list(groups: Any, n_samples: int, name: str) -> list[Hashable]:
    if groups is None:
        return list(range(n_samples))
    values = as_values(groups)
    if len(values) != n_samples:
        raise InvalidDataError(
            f"groups has {len(values)} values but {name} has {n_samples} samples. "
            "Give one group for each sample."
        )
    missing = [i for i, value in enumerate(values) if is_missing(value)]
    if missing:
        raise InvalidDataError(
            f"{len(missing)} of {n_samples} values in groups are missing, the first at index "
            f"{missing[0]}. Give each such sample a group of its own."
        )
    if len(set(values)) < 2:
        raise InvalidDataError(
            f"groups has only one value, {values[0]!r}. Samples of one group stay together, so "
            "at least 3 groups are needed, for train, validation and holdout."
        )
    return values


def _check_known(counts: "Counter[Hashable]", held: Part) -> None:
    unseen = Counter(label for label in held.labels if label not in counts)
    if unseen:
        raise InvalidDataError(
            f"y_holdout has classes that y lacks: {name_classes(unseen)}. y has "
            f"{name_classes(counts)}. Add training samples of them, or take them out of the "
            "holdout."
        )


def _check_enough_labels(counts: "Counter[Hashable]", n: int, held: bool) -> None:
    least = n if held else n + 1
    short = Counter({c: counts[c] for c in sorted_classes(counts) if counts[c] < least})
    if not short:
        return
    most = min(short.values()) - (0 if held else 1)
    rest = "" if held else " and at least one more for the holdout"
    choose = (
        f"Choose labels_per_class={most} or less, or add samples."
        if most >= 2
        else ("Add samples, or take these classes out.")
    )
    raise InvalidDataError(
        f"labels_per_class={n} needs {n} samples of each class{rest}. Too few have "
        f"{name_classes(short)}. {choose}"
    )


def _rare_classes(data: Part, least: int) -> "Counter[Hashable]":
    """Count the units of the classes that have fewer than there are sides to put them on."""
    classes = sorted_classes(data.labels)
    table = class_counts(data.codes(), data.units(), len(classes))
    n_units = (table > 0).sum(axis=0)
    return Counter({c: int(n) for c, n in zip(classes, n_units, strict=True) if n < least})


def _any_tied(data: Part) -> bool:
    return int(data.units().max()) + 1 < len(data)


def _regression_hint(classes: set[Hashable]) -> str:
    if len(classes) > 20 and all(isinstance(c, int | float) for c in classes):
        return " If the labels are numbers to predict: regression comes later."
    return ""
