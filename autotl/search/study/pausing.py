"""Which paused trial is worth going on with."""

from collections.abc import Sequence
from dataclasses import dataclass

from autotl.search.study.belief import improvements
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
    outcomes: Sequence[Outcome], bar: float | None, left: float, extrapolation: Extrapolation
) -> Continue | None:
    """Return the paused trial that is worth most for its cost.

    Args:
        outcomes: What trials have shown.
        bar: What must be beaten.
        left: Cost that may still be spent.
        extrapolation: Says what they will end with.
    """
    extrapolation.learn(outcomes)
    waiting = [o for o in outcomes if o.state == "paused" and o.value is not None]
    fitting = [(o, cost) for o in waiting if (cost := _cost_to_come(o)) <= left]
    finals = [extrapolation.final(o) for o, _ in fitting]
    gains = improvements(finals, bar) if bar is not None else [b.mean for b in finals]
    rates = [g / max(c, _LEAST_COST) for g, (_, c) in zip(gains, fitting, strict=True)]
    if not fitting:
        return None
    i = max(range(len(fitting)), key=lambda i: (rates[i], -fitting[i][0].trial))
    return Continue(
        outcome=fitting[i][0],
        gain=float(gains[i]),
        cost=fitting[i][1],
        chance=1.0 if bar is None else finals[i].chance(bar),
    )


def _cost_to_come(outcome: Outcome) -> float:
    n_done = len(outcome.history)
    return (outcome.planned_steps - n_done) * outcome.costs[-1] / n_done
