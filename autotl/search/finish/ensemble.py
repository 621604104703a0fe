"""Greedy ensembles of trials, judged on validation samples that did not choose their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.data import Task
from autotl.data.splits import assign_bins
from autotl.result.intervals import Gap, Score
from autotl.search.finish.again import Contender
from autotl.search.finish.finalists import compare
from autotl.search.floor.measurement import validation_rows

MOST_MEMBERS = 4  # networks that one prediction has to run
_LIBRARY, _ROUNDS, _FOLDS = 15, 15, 5
ONE_STANDARD_ERROR = 0.683  # two-sided level of such an interval


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members and weights that a search found.

    Args:
        members: Trials with positive weight, the finalist first.
        weights: One each, summing to 1.
        validation: Metric of the cross-fitted ensemble on the validation samples.
        lead: Cross-fitted ensemble minus finalist, with its interval of one standard error.
    """

    members: list[Contender]
    weights: list[float]
    validation: float
    lead: Gap

    @property
    def better(self) -> bool:
        """Whether it leads the finalist by more than one standard error."""
        return len(self.members) > 1 and self.lead.low > 0

    def to_dict(self, *, used: bool) -> dict[str, Any]:
        """Return it as `result.json` lists it."""
        rows = [
            {
                "trial": c.outcome.trial,
                "backbone": c.family[0],
                "adaptation": c.family[1],
                "weight": weight,
            }
            for c, weight in zip(self.members, self.weights, strict=True)
        ]
        lead = vars(self.lead)
        return {"members": rows, "validation": self.validation, "lead": lead, "used": used}


def greedy_weights(
    score: Score, y: np.ndarray, probas: np.ndarray, most: int = MOST_MEMBERS
) -> np.ndarray:
    """Add members with replacement, one at a time, while the ensemble gets better.

    Args:
        score: `score(y, proba)`, greater is better; log-loss breaks ties.
        y: Class codes of shape (n_samples,).
        probas: Shape (n_members, n_samples, n_classes); the first member starts the ensemble, so
            that the result is never worse than it on these samples.
        most: Different members at most.

    Returns:
        Weights of shape (n_members,), summing to 1.

    References:
        Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble Selection from Libraries of Models.
        ICML 2004.
    """

    def quality(proba: np.ndarray) -> tuple[float, float]:
        own = proba[np.arange(len(y)), y]
        return score(y, proba), float(np.log(np.clip(own, 1e-12, None)).mean())

    counts = np.zeros(len(probas), int)
    counts[0] = 1
    total, best = probas[0].astype(float), quality(probas[0])
    for n in range(2, _ROUNDS + 2):
        full = np.count_nonzero(counts) == most
        open_ = np.flatnonzero(counts) if full else np.arange(len(probas))
        tried = [quality((total + probas[i]) / n) for i in open_]
        at = max(range(len(tried)), key=tried.__getitem__)
        if tried[at] <= best:
            break
        best, total = tried[at], total + probas[open_[at]]
        counts[open_[at]] += 1
    weights: np.ndarray = counts / counts.sum()
    return weights


def cross_fitted(task: Task, probas: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return the ensemble's probabilities, each sample's with weights chosen on other samples.

    Args:
        task: The task.
        probas: Shape (n_members, n_samples, n_classes), the finalist's first.
        rows: The samples' rows in the task; groups stay together.
        seed: Of the division.
    """
    y = task.y[rows]
    parts = assign_bins(y, task.groups[rows], (1 / _FOLDS,) * _FOLDS, seed)
    mixed: np.ndarray = probas[0].astype(float)
    for part in np.unique(parts):
        inside, outside = parts == part, parts != part
        if not outside.any():
            continue  # one group only: nothing to choose weights on
        weights = greedy_weights(task.metric, y[outside], probas[:, outside])
        mixed[inside] = np.tensordot(weights, probas[:, inside], axes=1)
    return mixed


def build_ensemble(
    finalist: Contender, contenders: Sequence[Contender], task: Task, seed: int
) -> Ensemble | None:
    """Choose members among complete trials; None where there is nothing to join.

    Args:
        finalist: Starts the ensemble and is what it has to beat.
        contenders: Trials with validation probabilities.
        task: The task.
        seed: Of the division of the validation samples.
    """
    others = [
        c
        for c in contenders
        if c.outcome.state == "complete"
        and c.outcome.value is not None
        and c.outcome.proba is not None
        and c.outcome.trial != finalist.outcome.trial
    ]
    others.sort(key=lambda c: (-(c.outcome.value or 0.0), c.outcome.log_loss))
    library = [finalist, *others[: _LIBRARY - 1]]
    known = [c.outcome.proba for c in library if c.outcome.proba is not None]
    if len(library) < 2 or len(known) != len(library):
        return None
    rows, probas = validation_rows(task), np.stack(known)
    mixed = cross_fitted(task, probas, rows, seed)
    weights = greedy_weights(task.metric, task.y[rows], probas)
    chosen = np.flatnonzero(weights)
    return Ensemble(
        members=[library[i] for i in chosen],
        weights=[float(weights[i]) for i in chosen],
        validation=float(task.metric(task.y[rows], mixed)),
        lead=compare(task, mixed, probas[0], rows, ONE_STANDARD_ERROR),
    )
