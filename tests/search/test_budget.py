import time

import pytest

from autotl.errors import BudgetTooSmallError
from autotl.search.budget import Budget, OutOfTime


@pytest.mark.parametrize("seconds", [0, -5, float("nan")])
def test_budget_must_be_positive(seconds):
    with pytest.raises(BudgetTooSmallError, match="positive number of seconds"):
        Budget(seconds)


def test_trials_must_be_positive():
    with pytest.raises(BudgetTooSmallError, match="at least 1"):
        Budget(60, trials=0)


def test_stage_stops_at_the_earlier_limit():
    budget = Budget(100.0, started=time.monotonic() - 10)

    with budget.stage(5.0), budget.stage(50.0), pytest.raises(OutOfTime):
        budget.check()
    budget.check()


def test_with_trials_the_clock_decides_nothing():
    budget = Budget(1.0, trials=3, started=time.monotonic() - 1000)

    with budget.stage(budget.seconds):
        budget.check()
    assert budget.left() == float("inf")
