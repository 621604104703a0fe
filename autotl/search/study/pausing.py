"""Which paused trial is worth going on with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from autotl.search.study.candidate import Outcome
from autotl.search.study.halving import CostHalving
from autotl.search.study.posterior import Belief

_GAIN_TO_COME, _GAIN_SPREAD = 0.01, 0.02  # before two trials have run on to their end
_LEAST_SPREAD = 0.005
_LEAST_COST = 1e-3


@dataclass(frozen=True, kw_only=True)
class Continue:
    """A paused trial that could go on.

    Args:
        outcome: What it has shown.
        rate: Expected improvement for each unit of cost.
        chance: Probability that it exceeds what must be beaten.
    """

    outcome: Outcome
    rate: float
    chance: float


def best_paused(
    outcomes: Sequence[Outcome], halving: CostHalving, bar: float | None, left: float
) -> Continue | None:
    """Return the paused trial that is worth most for its cost, of those that halving frees.

    Args:
        outcomes: What trials have shown.
        halving: Says who may pass a rung.
        bar: What must be beaten.
        left: Cost that may still be spent.
    """
    reached = cache(lambda rung: halving.reached(outcomes, rung))
    found = []
    for outcome in outcomes:
        if outcome.state != "paused" or outcome.value is None:
            continue
        n_done = len(outcome.history)
        cost = (outcome.planned_steps - n_done) * outcome.costs[-1] / n_done
        if cost > left or not halving.frees(outcome, reached):
            continue
        mean, sd = _gain_to_come(outcomes, n_done / outcome.planned_steps)
        ahead = Belief(mean=outcome.value + mean, sd=sd)
        bar = bar if bar is not None else 0.0
        rate = ahead.improvement(bar) / max(cost, _LEAST_COST)
        found.append(Continue(outcome=outcome, rate=rate, chance=ahead.chance(bar)))
    return max(found, key=lambda c: (c.rate, -c.outcome.trial), default=None)


def _gain_to_come(outcomes: Sequence[Outcome], progress: float) -> tuple[float, float]:
    """Return mean and spread of what tuned trials have gained after the same progress."""
    gains = []
    for o in outcomes:
        if o.tuned and o.state == "complete" and o.value is not None and o.history:
            n_done = max(1, round(progress * o.planned_steps))
            gains.append(o.value - max(o.history[:n_done]))
    if len(gains) < 2:
        return _GAIN_TO_COME, _GAIN_SPREAD
    return float(np.mean(gains)), max(float(np.std(gains)), _LEAST_SPREAD)
