"""Paired intervals for the difference of two predictors on the same samples."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]
REPETITIONS = 1000
_LEAST_UNITS = 5  # fewer groups than that say nothing about other groups
QUICK_REPETITIONS = 200  # for the many intervals of a leaderboard


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A difference of scores, candidate minus floor, with its interval.

    Args:
        value: The difference.
        low: Lower end.
        high: Upper end.
        confidence: Two-sided level.
        method: How the interval was made.
    """

    value: float
    low: float
    high: float
    confidence: float
    method: str

    @property
    def verdict(self) -> str:
        """The sign of the interval: "positive", "negative" or "inconclusive"."""
        if self.low > 0:
            return "positive"
        return "negative" if self.high < 0 else "inconclusive"


def paired_gap(  # noqa: PLR0913  # two predictors, their truth, and how to compare
    kind: str,
    score: Score,
    y: np.ndarray,
    candidate: np.ndarray,
    floor: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> Gap:
    """Compare two predictors by their probabilities on the same samples.

    Args:
        kind: "accuracy", "balanced_accuracy" or "other": what the metric decomposes into.
        score: `score(y, proba)`, greater is better.
        y: Class codes of shape (n_samples,).
        candidate: Probabilities of shape (n_samples, n_classes).
        floor: The same of the floor.
        groups: Group codes; where groups have several members the group is the unit.
        confidence: Two-sided level of the interval.
        repetitions: Of the bootstrap.
        seed: Of the bootstrap.

    Accuracy uses Newcombe's interval for paired proportions, balanced accuracy a class-weighted
    normal interval, both a t interval over unit sums where there are groups, everything else a
    stratified or group-wise paired bootstrap.

    References:
        Newcombe: Improved confidence intervals for the difference between binomial proportions
        based on paired data. Statistics in Medicine 17, 1998 (method 10).
    """
    value = score(y, candidate) - score(y, floor)
    grouped = groups is not None and len(np.unique(groups)) < len(groups)
    units = groups if grouped else None
    level = (confidence, repetitions)
    if kind == "other":
        rng = np.random.default_rng(seed)
        low, high = _bootstrap(score, y, candidate, floor, units, rng, level)
        method = "group bootstrap" if grouped else "stratified bootstrap"
    else:
        a, b = candidate.argmax(1) == y, floor.argmax(1) == y
        low, high, method = _of_hits(kind, y, a, b, units, confidence)
    return Gap(value=value, low=low, high=high, confidence=confidence, method=method)


def _of_hits(
    kind: str,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    units: np.ndarray | None,
    confidence: float,
) -> tuple[float, float, str]:
    """Return the interval of (balanced) accuracy from who was right on which sample."""
    z = _normal_quantile(confidence)
    if units is not None:
        return (*_unit_sums(kind, y, a, b, units, confidence), "units")
    if kind == "accuracy":
        return (*_newcombe(a, b, z), "newcombe")
    return (*_class_weighted(y, a, b, z), "class-weighted")


def _unit_sums(
    kind: str,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    units: np.ndarray,
    confidence: float,
) -> tuple[float, float]:
    """Return a t interval whose unit is the group: groups vary, samples within them do not."""
    from scipy.stats import t

    codes, at = np.unique(units, return_inverse=True)
    n_units = len(codes)
    if n_units < _LEAST_UNITS:
        return -1.0, 1.0
    weights = np.full(len(y), 1.0 / len(y))
    if kind == "balanced_accuracy":
        counts = np.bincount(y)
        weights = 1.0 / (counts[y] * np.count_nonzero(counts))
    difference = weights * (a.astype(float) - b.astype(float))
    value = float(difference.sum())
    # The ratio estimator: a unit with twice the samples is expected to show twice the difference.
    residual = np.bincount(at, difference) - value * np.bincount(at, weights)
    # One win and one loss added: few discordant samples are not certainty.
    variance = n_units / (n_units - 1) * float((residual**2).sum()) + 2 * float(weights.max()) ** 2
    half = float(t.ppf(0.5 + confidence / 2, n_units - 1)) * math.sqrt(variance)
    return max(-1.0, value - half), min(1.0, value + half)


def _normal_quantile(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _wilson(successes: int, n: int, z: float) -> tuple[float, float]:
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def _newcombe(a: np.ndarray, b: np.ndarray, z: float) -> tuple[float, float]:
    """Return the interval of mean(a) - mean(b) for paired booleans."""
    n = len(a)
    both, only_a = int((a & b).sum()), int((a & ~b).sum())
    only_b, neither = int((~a & b).sum()), int((~a & ~b).sum())
    p1, p2 = (both + only_a) / n, (both + only_b) / n
    l1, u1 = _wilson(both + only_a, n, z)
    l2, u2 = _wilson(both + only_b, n, z)
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    phi = 0.0
    if product > 0:
        numerator = float(both * neither - only_a * only_b)
        # Newcombe's continuity correction keeps phi from being overstated in small samples.
        if numerator > 0:
            numerator = max(numerator - n / 2, 0.0)
        phi = numerator / math.sqrt(product)
    d = p1 - p2
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return d - math.sqrt(max(below, 0.0)), d + math.sqrt(max(above, 0.0))


def _class_weighted(y: np.ndarray, a: np.ndarray, b: np.ndarray, z: float) -> tuple[float, float]:
    """Return the interval of the mean over classes of the within-class difference."""
    difference = a.astype(float) - b.astype(float)
    means, variance = [], 0.0
    classes = np.unique(y)
    for code in classes:
        d = difference[y == code]
        means.append(d.mean())
        # One win and one loss added, spread over the classes: no discordance is not certainty.
        n = len(d) + 2 / len(classes)
        spread = (np.sum(d**2) + 2 / len(classes)) / n - (d.sum() / n) ** 2
        variance += spread / n / len(classes) ** 2
    centre, half = float(np.mean(means)), z * math.sqrt(variance)
    return max(-1.0, centre - half), min(1.0, centre + half)


def _bootstrap(
    score: Score,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray | None,
    rng: np.random.Generator,
    level: tuple[float, int],
) -> tuple[float, float]:
    confidence, repetitions = level
    strata = [np.flatnonzero(y == c) for c in np.unique(y)]
    members = None if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    found = []
    for _ in range(repetitions):
        if members is None:
            rows = np.concatenate([rng.choice(s, len(s)) for s in strata])
        else:
            rows = np.concatenate(
                [members[i] for i in rng.integers(0, len(members), len(members))]
            )
            if len(np.unique(y[rows])) < len(strata):
                continue  # most scorers are undefined when a class is missing
        found.append(score(y[rows], a[rows]) - score(y[rows], b[rows]))
    if len(found) < repetitions / 2 or (members is not None and len(members) < _LEAST_UNITS):
        return -math.inf, math.inf  # too little to judge by
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)
