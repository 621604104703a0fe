"""Asynchronous successive halving that compares trials at equal cost."""

from bisect import bisect_right
from collections.abc import Sequence

from autotl.search.study.candidate import Outcome

FACTOR = 3
_NEARLY_DONE = 0.75  # of the planned steps: what is left costs less than it decides


class CostHalving:
    """Rungs of cost; a trial goes on while it is among the best third at the same cost.

    Costs are seconds, or steps where trials replace the clock. What epoch a trial has reached by
    then is its own affair: a small network may be in its tenth, a large one in its first.

    Args:
        first: Cost of the first rung.

    References:
        Li et al.: A System for Massively Parallel Hyperparameter Tuning. MLSys 2020 (ASHA).
    """

    def __init__(self, first: float) -> None:
        self.first = first
        self._ended: dict[tuple[int, int], float | None] = {}

    def rung(self, cost: float) -> int:
        """Return the highest rung that a cost has reached, -1 for none."""
        rung, bar = -1, self.first
        while cost >= bar:
            rung, bar = rung + 1, bar * FACTOR
        return rung

    def cost(self, rung: int) -> float:
        """Return the cost of a rung."""
        return self.first * float(FACTOR) ** rung

    def value_at(self, outcome: Outcome, rung: int) -> float | None:
        """Return the best value of a trial within the cost of a rung.

        One that ended before counts with what it ended with; one that has not got there with None.
        """
        limit = self.cost(rung)
        if outcome.open and (not outcome.costs or outcome.costs[-1] < limit):
            return None
        n_within = bisect_right(outcome.costs, limit)  # costs only grow
        return max(outcome.history[: max(1, n_within)], default=None)

    def holds(self, outcome: Outcome, others: Sequence[Outcome]) -> bool:
        """Say whether a trial that runs may go on past the rung that it has reached."""
        rung = self.rung(outcome.costs[-1])
        if rung < 0 or len(outcome.history) >= _NEARLY_DONE * outcome.planned_steps:
            return True
        beside = [*(o for o in others if o.trial != outcome.trial), outcome]
        own, values = self.value_at(outcome, rung), self.reached(beside, rung)
        n_kept = len(values) // FACTOR
        if n_kept == 0 or own is None:  # too few to tell
            return True
        return len(values) - bisect_right(values, own) < n_kept

    def reached(self, outcomes: Sequence[Outcome], rung: int) -> list[float]:
        """Return what tuned trials have shown within the cost of a rung, ascending."""
        tuned = (o for o in outcomes if o.tuned and o.state != "failed")
        values = (self._kept_value_at(o, rung) for o in tuned)
        return sorted(v for v in values if v is not None)

    def _kept_value_at(self, outcome: Outcome, rung: int) -> float | None:
        """Return the value within a rung's cost, looked up once of a trial that has ended."""
        if outcome.open:
            return self.value_at(outcome, rung)
        key = (outcome.trial, rung)
        if key not in self._ended:
            self._ended[key] = self.value_at(outcome, rung)
        return self._ended[key]

    def crossed(self, outcome: Outcome) -> bool:
        """Say whether the latest step of a trial has reached another rung."""
        before = outcome.costs[-2] if len(outcome.costs) > 1 else 0.0
        return self.rung(outcome.costs[-1]) > self.rung(before)
