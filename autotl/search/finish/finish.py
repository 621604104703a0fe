"""What a search ended with."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotl.adapt.raw import RawModel
from autotl.result.intervals import Gap
from autotl.result.predictors import EnsemblePredictor, TransferPredictor
from autotl.search.study.candidate import Outcome

__all__ = ["Finish"]


@dataclass(kw_only=True)
class Finish:
    """What was shipped and what the holdout said.

    Args:
        shipped: "transfer" or "floor".
        transfer: The finalist, refitted, or the ensemble around it; None when no trial finished.
        floor: The floor, fitted on train and validation.
        transfer_proba: Holdout probabilities of `transfer`.
        floor_proba: The floor's holdout probabilities.
        gap: `transfer` minus floor on the holdout.
        refit_seconds: Time of the refit.
        holdout_seconds: Time of predicting the holdout.
        notes: What the user should know.
        bare: Whether the floor is the majority class.
        new_floor: Whether a floor of the finalist's make took the place of the search's.
        finalist: The trial behind `transfer`.
        finalist_proba: Its holdout probabilities without the rest of an ensemble.
        why_floor: Why the floor was shipped although a candidate finished, in words.
        standing: How the finalist was chosen and stands against the floor, for `result.json`.
        ensemble: The ensemble that was tried, for `result.json`; None where none was.
        latency_ms: Milliseconds for one sample by backbone.
        finalists_seconds: Time of comparing finalists and of the floors of their make.
        soup: The average of weights that was tried, for `result.json`; None where none was.
        domains: What samples beside the labelled ones gave, for `result.json`.
        guessed: Whether the holdout is no test: the user's own samples have no label.
    """

    shipped: str
    transfer: TransferPredictor | EnsemblePredictor | None
    floor: RawModel | TransferPredictor
    transfer_proba: np.ndarray | None
    floor_proba: np.ndarray
    gap: Gap | None
    refit_seconds: float
    holdout_seconds: float
    notes: list[str]
    bare: bool = False
    new_floor: bool = False
    finalist: Outcome | None = None
    finalist_proba: np.ndarray | None = None
    why_floor: str = ""
    standing: dict[str, Any] | None = None
    ensemble: dict[str, Any] | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    finalists_seconds: float = 0.0
    soup: dict[str, Any] | None = None
    domains: dict[str, Any] | None = None
    guessed: bool = False

    @property
    def verdict(self) -> str:
        """The sign of the gap's interval; "inconclusive" where there is none to rely on."""
        if self.gap is None or self.bare or self.guessed:
            return "inconclusive"
        return self.gap.verdict

    @property
    def proba(self) -> np.ndarray:
        """Holdout probabilities of the shipped model."""
        if self.shipped == "transfer" and self.transfer_proba is not None:
            return self.transfer_proba
        return self.floor_proba
