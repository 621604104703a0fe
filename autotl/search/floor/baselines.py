"""Models without transfer, and the rows that they may read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autotl.adapt.raw import MAJORITY, Classifier
from autotl.data import Task
from autotl.result.predictors import TransferPredictor
from autotl.search.budget import Budget
from autotl.specs import Predictor, RawFeatureSpec

MOST_SAMPLES = 10_000  # that a baseline is fitted on; beyond, raw features gain little


class FreshNetwork(Protocol):
    """A whole network that is trained from random weights."""

    @property
    def name(self) -> str:
        """What people call it."""

    def fit(self, rows: np.ndarray) -> Predictor:
        """Train on some rows."""

    def predict(self, predictor: Predictor, rows: np.ndarray) -> np.ndarray:
        """Return probabilities of shape (len(rows), n_classes)."""

    def final(self) -> TransferPredictor:
        """Train on train and validation."""


@dataclass(kw_only=True)
class Baseline:
    """One model without transfer and what it reached.

    Args:
        feature: The raw feature; None for the majority class and for a network from scratch.
        classifier: The classifier on it.
        network: Trains a whole network in place of feature and classifier.
        state: "complete", "skipped" or "failed".
        reason: Why it was skipped or failed.
        setting: The classifier's setting that cross-validation chose.
        choice: Cross-validated metric inside train, what the floor is chosen by.
        validation: Metric on the validation rows.
        holdout: Metric on the holdout, filled in at the very end.
        proba: Validation probabilities, rows in the order of the folds' validation rows.
        seconds: Time it took.
        fit_seconds: Time of one fit, to plan the final one.
    """

    feature: RawFeatureSpec | None = None
    classifier: Classifier = MAJORITY
    network: FreshNetwork | None = None
    state: str = "complete"
    reason: str = ""
    setting: float = 0.0
    choice: float = float("-inf")
    validation: float | None = None
    holdout: float | None = None
    proba: np.ndarray | None = None
    seconds: float = 0.0
    fit_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Return "feature + classifier", "majority", or the name of the network."""
        if self.network is not None:
            return self.network.name
        prefix = f"{self.feature.name} + " if self.feature else ""
        return prefix + self.classifier.name

    @property
    def bare(self) -> bool:
        """Whether it looks at no sample at all."""
        return self.feature is None and self.network is None

    def row(self) -> dict[str, Any]:
        """Return the entry of `floors` in `result.json`."""
        keys = ("name", "validation", "holdout", "seconds", "state", "reason")
        return {k: getattr(self, k) for k in keys}


class WatchedRows(Sequence[Any]):
    """Rows of a task that may be read while time is left: a raw feature knows no budget.

    Args:
        task: The task.
        rows: Which of its samples.
        budget: The clock.
    """

    def __init__(self, task: Task, rows: np.ndarray, budget: Budget) -> None:
        self.rows, self._samples, self._budget = rows, task.samples.select(rows), budget

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        self._budget.check()
        return self._samples[index]


def capped(rows: np.ndarray) -> np.ndarray:
    """Return the rows, or as many as a baseline is fitted on."""
    if len(rows) <= MOST_SAMPLES:
        return rows
    picked: np.ndarray = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_SAMPLES])
    return picked
