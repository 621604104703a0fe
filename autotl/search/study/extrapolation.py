"""What the rest of a schedule is expected to add to a trial that has not ended."""

from collections.abc import Sequence

import numpy as np

from autotl.search.study.belief import Belief, log_odds
from autotl.search.study.candidate import Outcome

_TO_COME = 0.9
"""Log-odds that a whole schedule is expected to add to what its first steps show, and the spread.

What is to come shrinks with the square of the share of the schedule that is left, as learning
rates that fall to zero let it: measured on the curves of `benchmarks/selection/curves.py`.
"""
_ASSUMED = 2  # trials that the assumption counts as
_LEAST_SPREAD = 0.05  # of what is to come, as a share of what is assumed


class Extrapolation:
    """Expected final values of trials that were paused, learnt from those that ended.

    Args:
        outcomes: What trials have shown.
        share: Whether values lie in [0, 1]; gains are then counted in log-odds.
    """

    def __init__(self, outcomes: Sequence[Outcome], *, share: bool) -> None:
        self._share = share
        values = [o.value for o in outcomes if o.value is not None]
        spread = float(np.std(values)) if len(values) > 1 else 0.0
        self._assumed = _TO_COME if share else spread
        self._ended = [
            o for o in outcomes if o.tuned and o.state == "complete" and o.value is not None
        ]

    def final(self, outcome: Outcome) -> Belief:
        """Return what a trial with a value is expected to end with."""
        value, n_done = self._read(outcome.value or 0.0), len(outcome.history)
        left = (1 - n_done / max(outcome.planned_steps, n_done)) ** 2
        seen = [gain for o in self._ended if (gain := self._gain(o, n_done)) is not None]
        weight = _ASSUMED + len(seen)
        mean = (_ASSUMED * self._assumed + sum(seen)) / weight
        squares = sum((gain - mean) ** 2 for gain in seen)
        sd = float(np.sqrt((_ASSUMED * self._assumed**2 + squares) / weight))
        sd = max(sd, _LEAST_SPREAD * self._assumed, 1e-9)
        return Belief.of(value + left * mean, max(left * sd, 1e-9), share=self._share)

    def _read(self, value: float) -> float:
        return log_odds(value) if self._share else value

    def _gain(self, ended: Outcome, n_done: int) -> float | None:
        """Return what a whole schedule would have added, by what came after so many steps."""
        if n_done >= ended.planned_steps or not ended.history or ended.value is None:
            return None
        before = self._read(max(ended.history[:n_done]))
        return float((self._read(ended.value) - before) / (1 - n_done / ended.planned_steps) ** 2)
