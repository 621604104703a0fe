"""Check samples and labels once, at the boundary, and lay out the task."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autotl.data.datasets import unlabelled
from autotl.data.extra import Source, gather, labelled_by_sources
from autotl.data.labels import Missing, encode, name_classes, sorted_classes
from autotl.data.lazy import Samples
from autotl.data.metric import Metric, choose_metric
from autotl.data.parts import Checks, Part
from autotl.data.raw import SkippedSample
from autotl.data.samples import Advance, find_modality
from autotl.data.splits import (
    Fold,
    Split,
    few_per_class,
    join_units,
    make_folds,
    make_guard,
    make_holdout,
)
from autotl.errors import InvalidDataError
from autotl.specs import ModalitySpec

__all__ = ["Task", "build_task"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A checked classification task.

    Args:
        modality: What the samples are.
        samples: All of them, holdout included, in the order given; read on access. After them
            come those without labels, then those of the sources.
        y: Class codes of shape (n_labelled,), int64, of the first samples.
        classes: The labels behind the codes, as given and in order.
        groups: Units of shape (n_labelled,), int64, that no split divides: samples that share the
            user's group or their content.
        fingerprints: Hex digest of each sample's content.
        metric: What is optimised; greater is better.
        split: Which sample goes where.
        skipped: Samples that were left out, and why.
        warnings: What the user should know, in whole sentences.
        holdout_given: Whether the holdout is the user's own.
        sources: Labelled data sets of other domains.
        unsupervised: Whether the user's samples have no label: the labelled ones are the
            sources', and all that can be said of the user's own is a guess.
    """

    modality: ModalitySpec
    samples: Samples
    y: Array
    classes: list[Hashable]
    groups: Array
    fingerprints: list[str]
    metric: Metric
    split: Split
    skipped: list[SkippedSample] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    holdout_given: bool = False
    sources: tuple[Source, ...] = ()
    unsupervised: bool = False


def build_task(  # noqa: PLR0913  # what `autotl.fit` takes about data
    X: Any,
    y: Any,
    *,
    modality: str | None = None,
    metric: str | None = None,
    labels_per_class: int | None = None,
    X_holdout: Any = None,
    y_holdout: Any = None,
    groups: Any = None,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    skipped: Sequence[SkippedSample] = (),
    notes: Sequence[str] = (),
    advance: Advance | None = None,
    guard: bool = False,
    X_unlabeled: Any = None,
    source: Any = None,
    unlabeled: str | None = None,
    unlabeled_value: Any = None,
) -> Task:
    """Turn what the user gave into a task, or say what is wrong with it.

    Args:
        X: Samples of one modality.
        y: One label for each; any hashable, kept as given. None where no sample has one: classes
            and labelled samples are then those of `source`.
        modality: Name of the modality where `X` fits more than one.
        metric: A scikit-learn classification scorer's name.
        labels_per_class: Labels of each class to keep for train and validation. The rest is the
            holdout, or left unused where a holdout is given.
        X_holdout: The user's own test samples, kept whole.
        y_holdout: Their labels.
        groups: One value for each sample of `X`; samples of one group stay together.
        seed: Of the splits.
        ids: Names of the samples of `X` for messages.
        skipped: What reading has left out already.
        notes: What reading has to say; goes into `warnings`.
        advance: Called with the samples looked at so far, and their number, while that goes on.
        guard: Whether some samples are kept from training and choices, for the guard.
        X_unlabeled: Samples of the user's domain without labels.
        source: Labelled samples of another domain, `(X, y)`, or a mapping of names to such pairs.
        unlabeled: "use" where labels in `y` may be missing, for samples to learn from without.
        unlabeled_value: A label that stands for a missing one, besides None and NaN.

    Raises:
        InvalidDataError: The data cannot be used; the message says what to do.
        AmbiguousModalityError: More than one modality reads `X`.
        UnknownNameError: There is no such modality or metric.
    """
    _check_numbers(labels_per_class, seed)
    missing = Missing.of(unlabeled, unlabeled_value)
    X, X_holdout = unlabelled(X, modality), unlabelled(X_holdout, modality)
    X_unlabeled = unlabelled(X_unlabeled, modality)
    checks = Checks(find_modality(X, modality), advance)
    data = checks.part(
        X, y, groups, ids, missing=missing, labelled=y is not None or source is None
    )
    blank = data.split_off_unlabelled()
    if unlabeled_value is not None and y is not None and blank is None:
        checks.warnings.append(
            f"No label is {unlabeled_value!r}, which was to stand for a missing one: all samples "
            "count as labelled."
        )
    unsupervised = not len(data)
    if unsupervised and source is not None and labels_per_class is not None:
        raise InvalidDataError(
            f"labels_per_class is {labels_per_class}, but no sample of X has a label. Leave it "
            "out: there is none to keep."
        )
    if unsupervised:
        data, source = labelled_by_sources(checks, source, len(blank or ())), None
    held = _given_holdout(checks, X_holdout, y_holdout)
    if held is not None:
        checks.drop_leaks(data, held)
    checks.check_classes(data, held, labels_per_class)
    classes = sorted_classes(data.labels)
    # By all labels: a few of each class would always look balanced.
    chosen = choose_metric(metric, encode(data.labels, classes), classes)
    if held is not None and labels_per_class is not None:
        checks.keep_few(data, labels_per_class, seed)
    y_codes, units, split = _lay_out(data, held, labels_per_class, seed, guard=guard)
    labelled = [data] if held is None else [data, held]
    # Where no label is used, the samples of the test may be learnt from.
    tested = split.holdout[:0] if unsupervised else split.holdout
    extras = gather(checks, labelled, tested, classes, (blank, X_unlabeled), source)
    everything = [*labelled, *extras.parts]
    warnings = [
        *notes,
        *checks.warnings,
        *_split_warnings(split, y_codes, classes, labels_per_class),
        *extras.notes,
    ]
    return Task(
        modality=checks.modality,
        samples=_joined(everything),
        y=y_codes,
        classes=classes,
        groups=units,
        fingerprints=[digest for part in everything for digest in part.fingerprints],
        metric=chosen,
        split=replace(split, unlabeled=extras.unlabeled),
        skipped=[*skipped, *checks.skipped],
        warnings=warnings,
        holdout_given=held is not None,
        sources=extras.sources,
        unsupervised=unsupervised,
    )


def _joined(parts: Sequence[Part]) -> Samples:
    samples = parts[0].samples
    for part in parts[1:]:
        samples = samples + part.samples
    return samples


def _check_numbers(labels_per_class: int | None, seed: int) -> None:
    n = labels_per_class
    if n is not None and not _is_count(n, least=2):
        raise InvalidDataError(
            f"labels_per_class is {n!r}. Expected a whole number of at least 2: one label of each "
            "class to train and one to validate on."
        )
    if not _is_count(seed) or seed >= 2**32:
        raise InvalidDataError(f"seed is {seed!r}. Expected a whole number from 0 to 2**32 - 1.")


def _is_count(value: Any, least: int = 0) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and bool(value >= least)


def _given_holdout(checks: Checks, X: Any, y: Any) -> Part | None:
    if X is not None:
        return checks.part(X, y, None, None, "X_holdout")
    if y is not None:
        raise InvalidDataError(
            f"y_holdout has {len(y)} labels but X_holdout is None. Give both or neither."
        )
    return None


def _lay_out(
    data: Part, held: Part | None, per_class: int | None, seed: int, *, guard: bool
) -> tuple[Array, Array, Split]:
    """Return codes, units and split of all samples, those of a given holdout last."""
    y, units, order = data.codes(), data.units(), data.canonical()
    if held is None:
        split = _split(y[order], units[order], per_class, seed, guard=guard)
        return y, units, _reorder(split, order)
    everything = np.arange(len(y))
    split = _divide(y[order], units[order], everything, everything[:0], seed, guard=guard)
    split = _reorder(split, order)
    y = np.concatenate([y, encode(held.labels, sorted_classes(data.labels))])
    units = np.concatenate([units, join_units(held.fingerprints) + units.max() + 1])
    return y, units, replace(split, holdout=np.arange(len(data), len(y)))


def _split(y: Array, units: Array, per_class: int | None, seed: int, *, guard: bool) -> Split:
    """Split samples that are in canonical order."""
    if per_class is None:
        rest, holdout = make_holdout(y, units, seed)
    else:
        rest = few_per_class(y, units, per_class, seed)
        holdout = np.setdiff1d(np.arange(len(y)), rest)
    return _divide(y, units, rest, holdout, seed, guard=guard)


def _divide(
    y: Array, units: Array, rest: Array, holdout: Array, seed: int, *, guard: bool
) -> Split:
    """Divide `rest` into folds and, where wanted, the guard's samples."""
    aside = rest[:0]
    if guard:
        kept, positions = make_guard(y[rest], units[rest], seed)
        rest, aside = rest[kept], rest[positions]
    folds = make_folds(y[rest], units[rest], seed)
    folds = tuple(Fold(rest[f.train], rest[f.validation]) for f in folds)
    return Split(folds, holdout, aside)


def _reorder(split: Split, order: Array) -> Split:
    folds = tuple(Fold(np.sort(order[f.train]), np.sort(order[f.validation])) for f in split.folds)
    return Split(folds, np.sort(order[split.holdout]), np.sort(order[split.guard]))


def _split_warnings(
    split: Split, y: Array, classes: Sequence[Hashable], per_class: int | None
) -> list[str]:
    """Say what groups and duplicates kept the splits from doing."""
    warnings = []
    codes = range(len(classes))
    lost = [c for c in codes if any(c not in y[fold.train] for fold in split.folds)]
    if lost:
        warnings.append(
            f"Groups or duplicates keep {_listed(lost, classes)} out of the training part of a "
            "fold, so its validation is pessimistic. Use smaller groups if you can."
        )
    absent = [c for c in codes if c not in y[split.holdout]]
    if absent:
        warnings.append(
            f"The holdout has no sample of {_listed(absent, classes)}, so it says nothing about "
            "such samples."
        )
    if per_class is not None:
        kept = np.bincount(y[split.train_validation], minlength=len(classes))
        short = Counter({classes[c]: int(n) for c, n in enumerate(kept) if n < per_class})
        if short:
            warnings.append(
                f"Groups or duplicates leave fewer than labels_per_class={per_class} labels of "
                f"{name_classes(short)}."
            )
    return warnings


def _listed(codes: Sequence[int], classes: Sequence[Hashable]) -> str:
    shown = ", ".join(repr(classes[c]) for c in codes[:5])
    return shown + (f" and {len(codes) - 5} more" if len(codes) > 5 else "")
