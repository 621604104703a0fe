"""Seeded, stratified splits that keep groups and duplicate samples on one side."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "Fold",
    "Split",
    "assign_bins",
    "canonical_order",
    "class_counts",
    "few_per_class",
    "join_units",
    "make_folds",
    "make_guard",
    "make_holdout",
]

HOLDOUT_FRACTION = 0.2
GUARD_FRACTION = 0.1  # of what the holdout leaves
VALIDATION_FRACTION = 0.25
FEW_SAMPLES, N_FOLDS = 600, 5
_ATTEMPTS = 30

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fold:
    """One way to fit and validate.

    Args:
        train: Positions to fit on, sorted.
        validation: Positions to choose by, sorted.
    """

    train: Array
    validation: Array


@dataclass(frozen=True)
class Split:
    """Where each sample of a task goes.

    Args:
        folds: One fold, or several whose validation parts cover train and validation once.
        holdout: Positions that are touched once, at the end; sorted.
        guard: Positions that neither training nor any choice looks at while a search runs: what
            trials are held against the floor on; sorted, empty where samples are few.
        unlabeled: Positions of samples without labels; sorted, after all others.
    """

    folds: tuple[Fold, ...]
    holdout: Array
    guard: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    unlabeled: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def selection(self) -> Array:
        """Positions that models are fitted on and chosen by, sorted."""
        return np.sort(np.concatenate([self.folds[0].train, self.folds[0].validation]))

    @property
    def train_validation(self) -> Array:
        """Positions that are not in the holdout, sorted: what the last model is fitted on."""
        return np.sort(np.concatenate([self.selection, self.guard]))


def join_units(*columns: Sequence[Hashable]) -> Array:
    """Number samples so that two share a number when any column ties them, through others too.

    Args:
        columns: One value for each sample, such as its group or the hash of its content.

    Returns:
        Units of shape (n_samples,), int64, numbered in order of first appearance.
    """
    parent = list(range(len(columns[0])))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for column in columns:
        first: dict[Hashable, int] = {}
        for i, value in enumerate(column):
            j = first.setdefault(value, i)
            parent[root(i)] = root(j)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(i), len(numbers)) for i in range(len(parent))], int)


def canonical_order(fingerprints: Sequence[str], y: Array) -> Array:
    """Order positions by content, so that splits depend on neither file order nor label names.

    Duplicates with different labels are told apart by how many samples have each label.
    """
    counts = np.bincount(y, minlength=int(y.max()) + 1 if len(y) else 1)
    return np.array(sorted(range(len(y)), key=lambda i: (fingerprints[i], counts[y[i]], i)), int)


def class_counts(y: Array, units: Array, n_classes: int) -> Array:
    """Count the samples of each class in each unit, shape (n_units, n_classes)."""
    table = np.zeros((int(units.max()) + 1, n_classes), dtype=np.int64)
    np.add.at(table, (units, y), 1)
    return table


def make_holdout(y: Array, units: Array, seed: int) -> tuple[Array, Array]:
    """Set a fifth of the samples aside; returns (train and validation, holdout) positions."""
    shares = (1.0 - HOLDOUT_FRACTION, HOLDOUT_FRACTION)
    # Two units of each class must remain: one to train and one to validate on.
    bins = assign_bins(y, units, shares, seed, least=(2, 1))
    return np.flatnonzero(bins == 0), np.flatnonzero(bins == 1)


def make_guard(y: Array, units: Array, seed: int) -> tuple[Array, Array]:
    """Set a tenth aside for the guard; returns (selection, guard) positions.

    Where what is left is so few that every sample must validate, the guard has none.
    """
    if len(y) * (1.0 - GUARD_FRACTION) <= FEW_SAMPLES:
        return np.arange(len(y)), np.arange(0)
    bins = assign_bins(y, units, (1.0 - GUARD_FRACTION, GUARD_FRACTION), seed, least=(2, 1))
    return np.flatnonzero(bins == 0), np.flatnonzero(bins == 1)


def few_per_class(y: Array, units: Array, n: int, seed: int) -> Array:
    """Choose positions of at most `n` samples of each class, whole units only, in random order."""
    y, units = _canonical(y), _canonical(units)
    table = class_counts(y, units, int(y.max()) + 1)
    left = np.full(table.shape[1], n)
    chosen = np.zeros(len(table), dtype=bool)
    for unit in np.random.default_rng([seed, 1]).permutation(len(table)):
        if (table[unit] <= left).all():
            chosen[unit] = True
            left -= table[unit]
    return np.flatnonzero(chosen[units])


def make_folds(y: Array, units: Array, seed: int) -> tuple[Fold, ...]:
    """Divide into train and validation: k folds where samples are few, one fold otherwise.

    Few are at most 600 samples. Then k is 5, or the number of units of the rarest class if that
    is less. With more, a quarter tells candidates apart about as well, at a fifth of the cost.
    """
    table = class_counts(y, _canonical(units), int(y.max()) + 1)
    per_class = table.sum(axis=0)
    rarest_units = int((table[:, per_class > 0] > 0).sum(axis=0).min())
    few = len(y) <= FEW_SAMPLES
    k = max(2, min(N_FOLDS, rarest_units))
    if not few:
        shares = (1.0 - VALIDATION_FRACTION, VALIDATION_FRACTION)
        bins = assign_bins(y, units, shares, seed, least=(1, 1))
        return (Fold(np.flatnonzero(bins == 0), np.flatnonzero(bins == 1)),)
    # A class that is not all in one fold is in the training part of every fold.
    bins = assign_bins(y, units, (1.0 / k,) * k, seed, spread=True)
    return tuple(Fold(np.flatnonzero(bins != f), np.flatnonzero(bins == f)) for f in range(k))


def assign_bins(
    y: Array,
    units: Array,
    shares: Sequence[float],
    seed: int,
    *,
    least: Sequence[int] | None = None,
    spread: bool = False,
) -> Array:
    """Deal whole units into bins of given shares with the class proportions of the whole.

    Units of several samples are placed first, each where it brings the table of class counts
    nearest to its target (chi-squared distance); single samples then fill what is missing. Where
    that leaves a class out of a bin that needs it, other orders are tried, and the one with the
    fewest such gaps is taken.

    Args:
        y: Class codes of shape (n_samples,).
        units: Unit of each sample, shape (n_samples,).
        shares: Wanted share of the samples for each bin, summing to 1.
        seed: Of the order.
        least: Units of each class that each bin must have, as far as the class has enough.
        spread: Whether each class of at least two units must be in at least two bins.

    Returns:
        Bin of each sample, shape (n_samples,).
    """
    # Numbers by first appearance: renaming classes or groups then changes nothing.
    y, units = _canonical(y), _canonical(units)
    table = class_counts(y, units, int(y.max()) + 1)
    needs = _needs(table, least, len(shares))
    best: tuple[tuple[int, float], Array] | None = None
    rng = np.random.default_rng([seed, len(shares)])
    for _ in range(_ATTEMPTS):
        bins = _deal(table, np.asarray(shares), needs, rng)
        score = (_gaps(table, bins, needs, spread), _distance(table, bins, shares))
        if best is None or score < best[0]:
            best = (score, bins)
        if best[0][0] == 0:
            break
    if best is None:
        raise RuntimeError("_ATTEMPTS must be positive")
    return best[1][units]


def _canonical(values: Array) -> Array:
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def _needs(table: Array, least: Sequence[int] | None, n_bins: int) -> Array:
    """Units of each class that each bin must get, shape (n_bins, n_classes)."""
    needs = np.zeros((n_bins, table.shape[1]), dtype=np.int64)
    left = (table > 0).sum(axis=0)
    for b in range(n_bins):
        needs[b] = np.minimum(left, least[b] if least is not None else 0)
        left = left - needs[b]
    return needs


def _deal(table: Array, shares: Array, needs: Array, rng: np.random.Generator) -> Array:
    targets = shares[:, None] * table.sum(axis=0)[None, :]
    current = np.zeros_like(targets)
    seen = np.zeros_like(needs)
    bins = np.full(len(table), -1, dtype=np.int64)
    sizes = table.sum(axis=1)
    order = rng.permutation(len(table))
    large = order[sizes[order] > 1]
    for unit in large[np.argsort(-sizes[large], kind="stable")]:
        row, has = table[unit], table[unit] > 0
        cost = (row * (2 * (current - targets) + row) / np.maximum(targets, 1e-9)).sum(axis=1)
        # What a bin still must get outweighs proportions; a second unit of a class goes elsewhere.
        wanted = ((seen < needs) & has).sum(axis=1)
        alone = ((seen > 0) & (seen.sum(axis=0) == seen) & has).sum(axis=1)
        bin_ = int(np.argmin(cost - 1e3 * wanted + 1e2 * alone * (needs.sum() == 0)))
        bins[unit] = bin_
        current[bin_] += row
        seen[bin_] += has
    _deal_singles(table, order[sizes[order] == 1], targets - current, needs - seen, bins)
    return bins


def _deal_singles(table: Array, order: Array, lack: Array, needs: Array, bins: Array) -> None:
    """Give single samples, class by class, to the bins that lack most of their class.

    Args:
        table: Class counts of each unit.
        order: Units to place.
        lack: Samples missing to the target, shape (n_bins, n_classes); updated.
        needs: Units that must still come, same shape; updated.
        bins: Bin of each unit; updated.
    """
    classes = table[order].argmax(axis=1) if len(order) else order
    for c in dict.fromkeys(classes.tolist()):
        for unit in order[classes == c]:
            # Equal lack goes to the bin that is emptier over all, so that sizes stay even too.
            keys = (-np.round(lack.sum(axis=1), 9), -np.round(lack[:, c], 9), needs[:, c] <= 0)
            bin_ = int(np.lexsort(keys)[0])
            bins[unit] = bin_
            lack[bin_, c] -= 1
            needs[bin_, c] -= 1


def _gaps(table: Array, bins: Array, needs: Array, spread: bool) -> int:
    n_bins = len(needs)
    seen = np.stack([(table[bins == b] > 0).sum(axis=0) for b in range(n_bins)])
    gaps = int(np.maximum(needs - seen, 0).sum())
    if spread:
        splittable = seen.sum(axis=0) > 1
        gaps += int((((seen > 0).sum(axis=0) < 2) & splittable).sum())
    # A bin without any sample would be no fold at all.
    return gaps + 1000 * int((seen.sum(axis=1) == 0).sum())


def _distance(table: Array, bins: Array, shares: Sequence[float]) -> float:
    total = table.sum(axis=0)
    parts = [np.abs(table[bins == b].sum(axis=0) - s * total) for b, s in enumerate(shares)]
    return float(np.sum(parts) / max(total.sum(), 1))
