"""Scores on fresh splits, and what they say about a difference."""

import math
from dataclasses import dataclass, field

import numpy as np

from autotl.data import Fold, Task
from autotl.data.splits import canonical_order, make_folds

__all__ = ["Lead", "Repeats", "corrected_error", "fresh_splits"]

_LEAST_FOR_BOUND = 3  # splits that tell a spread


def corrected_error(differences: np.ndarray, test_share: float) -> float | None:
    """Return the standard error of a mean of differences over overlapping splits.

    Args:
        differences: Of shape (n_splits,).
        test_share: Validation samples for each training sample.

    Returns:
        None with fewer than two splits.

    References:
        Nadeau, Bengio: Inference for the Generalization Error. Machine Learning 52, 2003.
    """
    n = len(differences)
    if n < 2:
        return None
    return math.sqrt((1 / n + test_share) * float(np.var(differences, ddof=1)))


def fresh_splits(task: Task, n: int, seed: int) -> list[Fold]:
    """Divide train and validation anew, as the task did, with other seeds.

    Where the task validates by folds, `n` of them come from as few divisions as possible.
    """
    rows = task.split.train_validation
    ordered = rows[canonical_order([task.fingerprints[i] for i in rows], task.y[rows])]
    found: list[Fold] = []
    for draw in range(n):
        fresh = int(np.random.SeedSequence([seed, draw, 1]).generate_state(1)[0])
        for fold in make_folds(task.y[ordered], task.groups[ordered], fresh):
            parts = (np.sort(ordered[part]) for part in (fold.train, fold.validation))
            found.append(Fold(*parts))
        if len(found) >= n:
            break
    return found[:n]


@dataclass(kw_only=True)
class Repeats:
    """What finalists and the floor reached on fresh splits.

    Args:
        folds: The splits that all finalists were measured on.
        proba: Probabilities by trial, one array a split.
        scores: Metric by trial, shape (n_splits,).
        floor: The floor's metric, shape (n_splits,); empty until it is measured.
    """

    folds: list[Fold] = field(default_factory=list)
    proba: dict[int, list[np.ndarray]] = field(default_factory=dict)
    scores: dict[int, np.ndarray] = field(default_factory=dict)
    floor: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def test_share(self) -> float:
        """Validation samples for each training sample."""
        shares = [len(fold.validation) / len(fold.train) for fold in self.folds]
        return float(np.mean(shares))

    def lead(self, trial: int) -> "Lead | None":
        """Return how far a finalist is ahead of the floor; None where either is unknown."""
        n = min(len(self.floor), len(self.scores.get(trial, ())))
        if not n:
            return None
        own, floor = self.scores[trial][:n], self.floor[:n]
        return Lead(
            value=float(own.mean()),
            floor=float(floor.mean()),
            standard_error=corrected_error(own - floor, self.test_share),
            n_splits=n,
        )


@dataclass(frozen=True, kw_only=True)
class Lead:
    """A finalist against the floor over several splits.

    Args:
        value: The finalist's mean metric.
        floor: The floor's.
        standard_error: Of their difference; None with one split.
        n_splits: How many there were.
    """

    value: float
    floor: float
    standard_error: float | None
    n_splits: int

    @property
    def difference(self) -> float:
        """Finalist minus floor."""
        return self.value - self.floor

    def low(self, confidence: float = 0.95) -> float | None:
        """Return the lower end of the two-sided t interval; None with too few splits."""
        if self.standard_error is None or self.n_splits < _LEAST_FOR_BOUND:
            return None
        from scipy.stats import t

        half = float(t.ppf(0.5 + confidence / 2, self.n_splits - 1)) * self.standard_error
        return self.difference - half
