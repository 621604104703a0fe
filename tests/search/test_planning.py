import pytest

from autotl.search.candidate import Candidate
from autotl.search.planning import CostModel


def tuned(fraction):
    return Candidate(backbone="b", adaptation="fine_tune", params={"freeze_fraction": fraction})


def test_frozen_groups_cost_less():
    costs = CostModel(forward={"b": 0.01})

    assert costs.epoch(tuned(0.9), 100, 20) < costs.epoch(tuned(0.0), 100, 20)


def test_measured_epochs_correct_the_estimate():
    costs = CostModel(forward={"b": 0.01})

    costs.observe(tuned(0.5), 7.0, 100, 20)

    assert costs.epoch(tuned(0.5), 100, 20) == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(100.0, 20), (30.0, 10), (1.0, 0), (float("inf"), 20)]
)
def test_schedule_fits_the_time(seconds, expected):
    assert CostModel().planned_steps(20, 3.0, seconds) == expected
