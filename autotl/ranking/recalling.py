"""What earlier runs on similar data add to what is expected of backbones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autotl.data import Task
from autotl.experience import Advice, DataFingerprint, Gain, describe, embedder
from autotl.ranking.prior import Expectation

if TYPE_CHECKING:
    from autotl.ranking.screening import Screened

__all__ = ["adjusted", "describe_data"]

_LANDMARK = "ridge_loo"
_REFERENCE = "embedded/"  # backbones that every installation has
_ERROR = 0.1  # squared, in log-odds, of a gain that rests on a few similar runs
_TELLING_WEIGHT = 5.0  # at which it is about half as large
_LEAST_WEIGHT = 0.05


def describe_data(task: Task, seen: Sequence["Screened"], rows: np.ndarray) -> DataFingerprint:
    """Return the fingerprint of a task from the first look at its samples.

    Args:
        task: The task.
        seen: Backbones that were looked at, all on the same samples.
        rows: Those samples.
    """
    features, scores = {}, {}
    for screened in seen:
        spec = screened.session.spec
        if spec.name.startswith(_REFERENCE):
            features[embedder(spec)] = screened.session.embed(rows)
        if screened.evidence is not None and _LANDMARK in screened.evidence.scores:
            scores[spec.name] = screened.evidence.scores[_LANDMARK]
    return describe(task, features, scores, len(rows))


def adjusted(
    expectations: Sequence[Expectation], names: Sequence[str], advice: Advice
) -> list[Expectation]:
    """Return expectations after what earlier runs say of how far backbones lie above average.

    Each is a mean of what the samples and what earlier runs say, weighed by precision.
    """
    if not expectations:
        return []
    own = np.array([_log_odds(x.expected) for x in expectations])
    level = float(own.mean())
    found = []
    for x, odds, name in zip(expectations, own, names, strict=True):
        found.append(_blended(x, float(odds), level, advice.gain(name)))
    return found


def _blended(x: Expectation, odds: float, level: float, gain: Gain) -> Expectation:
    if gain.weight < _LEAST_WEIGHT:
        return x
    slope = max(x.expected * (1 - x.expected), 1e-3)
    variance = (x.spread / slope) ** 2
    error = _ERROR * (1 + 1 / gain.weight) / (1 + gain.weight / _TELLING_WEIGHT)
    share = variance / (variance + error)
    blended = odds + share * (level + gain.mean - odds)
    p = float(1 / (1 + np.exp(-blended)))
    spread = float(np.sqrt(variance * (1 - share))) * max(p * (1 - p), 1e-3)
    level_spread = x.level_spread * spread / x.spread
    return replace(x, expected=p, spread=spread, level_spread=level_spread)


def _log_odds(share: float) -> float:
    p = min(max(share, 1e-3), 1 - 1e-3)
    return float(np.log(p / (1 - p)))
