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
        share: Whether values lie in [0, 1]; gains are then counted in log-odds.
    """

    def __init__(self, *, share: bool) -> None:
        self._share = share
        self._gains: dict[int, float | None] = {}
        self._mean = self._sd = _TO_COME
        self._finals: dict[tuple[int, int], Belief] = {}

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Take in the trials that have ended since the last time."""
        known = self._gains
        new = [o for o in outcomes if o.state == "complete" and o.trial not in known]
        if not new and self._share and self._finals:
            return
        self._finals.clear()
        known |= {outcome.trial: self._gain(outcome) for outcome in new}
        assumed = _TO_COME
        if not self._share:
            values = [o.value for o in outcomes if o.value is not None]
            assumed = float(np.std(values)) if len(values) > 1 else 0.0
        gains = np.array([gain for gain in self._gains.values() if gain is not None])
        weight = _ASSUMED + len(gains)
        self._mean = (_ASSUMED * assumed + float(gains.sum())) / weight
        squares = _ASSUMED * assumed**2 + float(((gains - self._mean) ** 2).sum())
        self._sd = max(float(np.sqrt(squares / weight)), _LEAST_SPREAD * assumed)

    def final(self, outcome: Outcome) -> Belief:
        """Return what a trial with a value is expected to end with."""
        n_done = len(outcome.history)
        if (outcome.trial, n_done) in self._finals:
            return self._finals[outcome.trial, n_done]
        left = (1 - n_done / max(outcome.planned_steps, n_done)) ** 2
        mean = self._read(outcome.value or 0.0) + left * self._mean
        final = Belief.of(mean, max(left * self._sd, 1e-9), share=self._share)
        self._finals[outcome.trial, n_done] = final
        return final

    def _read(self, value: float) -> float:
        return log_odds(value) if self._share else value

    def _gain(self, ended: Outcome) -> float | None:
        """Return what a whole schedule would have added, by what its second half has."""
        n_done = ended.planned_steps // 2
        if not ended.tuned or ended.value is None or not 0 < n_done < len(ended.history):
            return None
        before = self._read(max(ended.history[:n_done]))
        return (self._read(ended.value) - before) / (1 - n_done / ended.planned_steps) ** 2
