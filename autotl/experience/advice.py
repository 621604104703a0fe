"""What earlier runs say of a data set: what worked on similar ones, and how long it took."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from autotl.experience.fingerprint import DataFingerprint, similarity
from autotl.experience.record import COMPLETE, RunRecord, TrialRecord

__all__ = ["MOST_RUNS", "Advice", "Configuration", "Gain", "SimilarRun", "advise"]

_LEAST_SIMILARITY = 0.05
_SAME = 0.7  # similarity from which runs count as one data set; sampling anew rarely falls below
MOST_RUNS = 64  # the most similar; their pairs are compared
_RESAMPLING = 0.05  # what the same data sampled anew may lack in similarity
_RIDGE = 1e-6  # of the weights: keeps the equations solvable and weighs nothing


class Gain(NamedTuple):
    """How far something lay above the average of what was tried on similar data.

    Args:
        mean: In log-odds of the metric.
        weight: How much it rests on: 0 for nothing, 1 for a run on data of similarity 0.5, 10 to
            20 for one on the same data. On the logistic probes of the development zoo the mean
            squared error of `mean` was about 0.1 / (1 + weight / 5), for weights above 0.05.
    """

    mean: float
    weight: float


_UNKNOWN = Gain(0.0, 0.0)


class Configuration(NamedTuple):
    """What won on similar data.

    Args:
        backbone: Name of the backbone.
        adaptation: Name of the method.
        params: Its parameters; from a file, so they may lie outside of today's space.
        weight: That of the runs that it won, and half, a third ... of those where it came second,
            third ...
    """

    backbone: str
    adaptation: str
    params: Mapping[str, Any]
    weight: float


class SimilarRun(NamedTuple):
    """A run that counts, and how much."""

    run: RunRecord
    similarity: float

    @property
    def weight(self) -> float:
        """Odds that what the run shows holds here too: the same data outvote several alike."""
        return self.similarity / (1 - self.similarity + _RESAMPLING)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What earlier runs say of a data set.

    Args:
        similar: The runs that count, most similar first.
        seconds_per_sample: Median seconds of one sample in one step by backbone and method, of
            runs on the device, similar or not: time hardly depends on the data.
    """

    similar: Sequence[SimilarRun] = ()
    seconds_per_sample: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def gain(self, backbone: str, adaptation: str | None = None) -> Gain:
        """Return the gain of a backbone with a method, or with the best of its methods."""
        if adaptation is None:
            return self._by_backbone.get(backbone, _UNKNOWN)
        return self._by_pair.get((backbone, adaptation), _UNKNOWN)

    def configurations(self, k: int | None = None) -> list[Configuration]:
        """Return the best of each backbone and method that beat the floor, most telling first."""
        return self._configurations[:k]

    def seconds(self, backbone: str, adaptation: str) -> float | None:
        """Return what one sample takes in one step on this device; None where unknown."""
        return self.seconds_per_sample.get((backbone, adaptation))

    @cached_property
    def _by_pair(self) -> dict[Hashable, Gain]:
        return self._gains(lambda trial: trial.pair)

    @cached_property
    def _by_backbone(self) -> dict[Hashable, Gain]:
        return self._gains(lambda trial: trial.backbone)

    @cached_property
    def _same(self) -> np.ndarray:
        """Whether two runs were on the same data, of shape (n_runs, n_runs)."""
        runs = [similar.run.fingerprint for similar in self.similar]
        same = np.eye(len(runs), dtype=bool)
        for i, a in enumerate(runs):
            for j, b in enumerate(runs[:i]):
                same[i, j] = same[j, i] = similarity(a, b) >= _SAME
        return same

    def _gains(self, key: Callable[[TrialRecord], Hashable]) -> dict[Hashable, Gain]:
        """Return the gain of each key, levels of the runs taken out.

        Weighted least squares of log-odds = level of the run + gain, so that a run in which only
        good ones were tried does not make them look average. Runs on the same data share the
        weight of one.
        """
        odds = [_best_odds(similar.run, key) for similar in self.similar]
        keys = sorted({k for row in odds for k in row}, key=str)
        if not keys:
            return {}
        there = np.array([[k in row for k in keys] for row in odds])
        values = np.array([[row.get(k, 0.0) for k in keys] for row in odds])
        alike = np.maximum(self._same.astype(float) @ there, 1.0)
        weights = np.array([similar.weight for similar in self.similar])[:, None] * there / alike
        level = np.maximum(weights.sum(axis=1), 1e-12)
        matrix = np.diag(weights.sum(axis=0)) - weights.T @ (weights / level[:, None])
        mean = (weights * values).sum(axis=1) / level
        right = (weights * (values - mean[:, None])).sum(axis=0)
        ridge = _RIDGE * float(weights.max()) * np.eye(len(keys))
        gains = np.linalg.solve(matrix + ridge, right)
        known = np.maximum(np.diag(matrix), 0.0)  # what is left once the levels are estimated
        return {
            k: Gain(float(gain), float(weight))
            for k, gain, weight in zip(keys, gains, known, strict=True)
        }

    @cached_property
    def _configurations(self) -> list[Configuration]:
        votes: dict[tuple[str, str], list[tuple[float, TrialRecord]]] = defaultdict(list)
        for similar, n_same in zip(self.similar, self._same.sum(axis=0), strict=True):
            for place, trial in enumerate(_winners(similar.run), start=1):
                votes[trial.pair].append((similar.weight / float(n_same) / place, trial))
        found = []
        for pair, cast in votes.items():
            _, trial = max(cast, key=lambda vote: vote[0])
            found.append(Configuration(*pair, trial.params, sum(weight for weight, _ in cast)))
        return sorted(found, key=lambda c: -c.weight)


def advise(runs: Sequence[RunRecord], fingerprint: DataFingerprint, device: str = "") -> Advice:
    """Return what runs say of the data with a fingerprint; with no runs, nothing.

    Args:
        runs: Newest first, as a store returns them.
        fingerprint: Of the data at hand.
        device: Of the trials to come; times of other kinds do not count.
    """
    rated = [SimilarRun(run, similarity(run.fingerprint, fingerprint)) for run in runs]
    rated = [s for s in rated if s.similarity >= _LEAST_SIMILARITY]
    rated.sort(key=lambda s: -s.similarity)
    times = defaultdict(list)
    for run in runs:
        for trial in run.trials if run.device == device else ():
            step = trial.seconds_per_step
            if step is not None and trial.n_samples:
                times[trial.pair].append(step / trial.n_samples)
    return Advice(
        similar=tuple(rated[:MOST_RUNS]),
        seconds_per_sample={pair: median(found) for pair, found in times.items()},
    )


def _best_odds(run: RunRecord, key: Callable[[TrialRecord], Hashable]) -> dict[Hashable, float]:
    """Return the log-odds of the best value by key, half a sample away from 0 and 1.

    Nothing where the metric is no share, since its values do not compare between data sets.
    """
    best: dict[Hashable, float] = {}
    for trial in run.trials:
        if trial.value is None or trial.state == "failed":
            continue
        if not 0 <= trial.value <= 1:
            return {}
        best[key(trial)] = max(trial.value, best.get(key(trial), 0.0))
    least = 0.5 / max(run.fingerprint.n_train, 1)
    clipped = {k: min(max(value, least), 1 - least) for k, value in best.items()}
    return {k: math.log(p / (1 - p)) for k, p in clipped.items()}


def _winners(run: RunRecord) -> list[TrialRecord]:
    """Return the best complete trial of each pair above the floor, best first."""
    beyond = -math.inf if run.floor is None else run.floor
    above = [
        (t.value, t) for t in run.trials
        if t.state == COMPLETE and t.value is not None and t.value > beyond
    ]  # fmt: skip
    above.sort(key=lambda found: (-found[0], found[1].seconds))
    best: dict[tuple[str, str], TrialRecord] = {}
    for _, trial in above:
        best.setdefault(trial.pair, trial)
    return list(best.values())
