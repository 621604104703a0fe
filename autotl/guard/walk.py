"""The fixed order in which every candidate meets the guard examples."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from autotl.errors import InvalidDataError


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Guard examples in walking order: what a difference on each weighs and which go together.

    Args:
        order: Positions among the guard examples, shape (n_examples,).
        weights: Weight of each example in walking order, shape (n_examples,).
        units: Number of each example's unit in walking order, ascending, shape (n_examples,).
        bound: Most weight that a unit can have.
    """

    order: np.ndarray
    weights: np.ndarray
    units: np.ndarray
    bound: float

    def __len__(self) -> int:
        return len(self.order)

    def blocks(self, n_blocks: int) -> list["Walk"]:
        """Cut the walk into disjoint blocks of about equal length that part no unit.

        Raises:
            InvalidDataError: `n_blocks` is below one.
        """
        if n_blocks < 1:
            raise InvalidDataError(f"n_blocks is {n_blocks!r}. Expected at least 1.")
        aims = np.linspace(0, len(self), n_blocks + 1)[1:-1]
        starts = self._starts()
        cuts = [int(starts[starts >= aim].min(initial=len(self))) for aim in aims]
        edges = [0, *cuts, len(self)]
        return [self._part(slice(*edge)) for edge in pairwise(edges)]

    def beginning(self, n_examples: int) -> "Walk":
        """Return the first examples of the walk.

        Raises:
            InvalidDataError: There are not so many, or a unit would be parted.
        """
        if n_examples > len(self):
            raise InvalidDataError(
                f"{n_examples} examples were read, but the walk has {len(self)}. Pass at most one "
                "value for each."
            )
        part = self._part(slice(n_examples))
        if 0 < n_examples < len(self) and self.units[n_examples] == self.units[n_examples - 1]:
            raise InvalidDataError(
                f"The first {n_examples} examples end within a group. Read whole groups: "
                "`Walk.blocks` cuts between them."
            )
        return part

    def outcomes(self, candidate: np.ndarray, floor: np.ndarray, margin: float) -> np.ndarray:
        """Return what each unit says against the candidate and for it, shape (2, n_units).

        Args:
            candidate: Whether the candidate is right, in walking order, shape (n_examples,).
            floor: The same of the floor.
            margin: How much worse (row 0) or better (row 1) than the floor the null allows.

        Rows are in units of what the heaviest unit could say, hence within [-1, 1].
        """
        difference = floor.astype(np.float64) - candidate
        both = self.weights * np.stack([difference - margin, -difference - margin])
        starts = self._starts()
        sums = np.add.reduceat(both, starts, axis=1) if len(starts) else both
        shares: np.ndarray = np.clip(sums / (self.bound * (1 + margin)), -1, 1)  # rounding
        return shares

    def n_examples(self, n_units: int) -> int:
        """Count the examples of the first units of the walk."""
        starts = self._starts()
        return int(starts[n_units]) if n_units < len(starts) else len(self)

    def _starts(self) -> np.ndarray:
        """Return where each unit starts."""
        return np.flatnonzero(np.diff(self.units, prepend=-1))

    def _part(self, rows: slice) -> "Walk":
        return Walk(
            order=self.order[rows],
            weights=self.weights[rows],
            units=self.units[rows],
            bound=self.bound,
        )


def plan_walk(
    kind: str,
    y: np.ndarray,
    *,
    class_shares: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    bound: float | None = None,
    seed: int = 0,
) -> Walk | None:
    """Shuffle the guard examples; None for a metric that is no sum over examples.

    Args:
        kind: "accuracy", "balanced_accuracy" or "other".
        y: Class codes of the guard examples, shape (n_examples,).
        class_shares: Share of each class among the training samples, shape (n_classes,); needed
            for balanced accuracy, whose weights must be known before the guard is read.
        groups: Group of each guard example; groups are then the units, whole and shuffled.
        bound: Most weight that a group can have; the largest here where None, which is right for
            a future whose groups are no larger than these.
        seed: Of the order.

    Raises:
        InvalidDataError: Lengths differ, `kind` is unknown, or a class of `y` has no share.
    """
    if kind == "other":
        return None
    y = np.asarray(y)
    weights = _weights(kind, y, class_shares)
    if groups is not None and len(groups) != len(y):
        raise InvalidDataError(
            f"groups has {len(groups)} values but y has {len(y)}. Pass one group for each example."
        )
    units = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units = int(units.max(initial=-1)) + 1
    place = np.random.default_rng([seed, n_units]).permutation(n_units)[units]
    order = np.argsort(place, kind="stable")
    largest = float(np.bincount(units, weights, minlength=1).max()) if len(y) else 1.0
    if bound is not None and not bound >= largest - 1e-9:
        raise InvalidDataError(
            f"bound is {bound!r}, but a unit of the guard examples weighs {largest:.6g}. Expected "
            "at least that; leave bound out to use it."
        )
    return Walk(
        order=order,
        weights=weights[order],
        units=place[order],
        bound=largest if bound is None else float(bound),
    )


def _weights(kind: str, y: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """Return the weight of a difference on each example; one on average."""
    if y.ndim != 1:
        raise InvalidDataError(f"y has shape {y.shape}. Expected one class code per example.")
    if kind == "accuracy":
        return np.ones(len(y))
    if kind != "balanced_accuracy":
        raise InvalidDataError(
            f"kind is {kind!r}. Expected 'accuracy', 'balanced_accuracy' or 'other'."
        )
    if shares is None:
        raise InvalidDataError(
            "class_shares is None. Balanced accuracy weighs classes by their shares among the "
            "training samples; pass those."
        )
    shares = np.asarray(shares, dtype=np.float64)
    known = np.flatnonzero(shares > 0)
    strangers = np.setdiff1d(y, known)
    if len(strangers):
        raise InvalidDataError(
            f"Class {strangers[0]} of the guard examples has no share in class_shares "
            f"(length {len(shares)}). Every class needs a positive share."
        )
    weights: np.ndarray = shares.sum() / (len(known) * shares[y])
    return weights
