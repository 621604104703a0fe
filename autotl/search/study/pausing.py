"""Which paused trial is worth going on with."""

from collections.abc import Sequence
from dataclasses import dataclass

from autotl.search.study.candidate import Outcome
from autotl.search.study.extrapolation import Extrapolation

_LEAST_COST = 1e-3


@dataclass(frozen=True, kw_only=True)
class Continue:
    """A paused trial that could go on.

    Args:
        outcome: What it has shown.
        gain: Expected improvement on what must be beaten.
        cost: Of what is left of it.
        chance: Probability that it exceeds what must be beaten.
    """

    outcome: Outcome
    gain: float
    cost: float
    chance: float

    @property
    def rate(self) -> float:
        """Expected improvement for each unit of cost."""
        return self.gain / max(self.cost, _LEAST_COST)


def best_paused(
    outcomes: Sequence[Outcome], bar: float | None, left: float, *, share: bool
) -> Continue | None:
    """Return the paused trial that is worth most for its cost.

    Args:
        outcomes: What trials have shown.
        bar: What must be beaten.
        left: Cost that may still be spent.
        share: Whether values lie in [0, 1].
    """
    extrapolation = Extrapolation(outcomes, share=share)
    found = []
    for outcome in outcomes:
        if outcome.state != "paused" or outcome.value is None:
            continue
        n_done = len(outcome.history)
        cost = (outcome.planned_steps - n_done) * outcome.costs[-1] / n_done
        if cost > left:
            continue
        final = extrapolation.final(outcome)
        gain = final.mean if bar is None else final.improvement(bar)
        chance = 1.0 if bar is None else final.chance(bar)
        found.append(Continue(outcome=outcome, gain=gain, cost=cost, chance=chance))
    return max(found, key=lambda c: (c.rate, -c.outcome.trial), default=None)
