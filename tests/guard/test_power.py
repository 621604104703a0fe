import numpy as np
import pytest

from autotl.errors import InvalidDataError
from autotl.guard import certify, detectable_gap, detection_power, plan_walk


@pytest.mark.parametrize("n_examples", [50, 200, 1000, 3000])
def test_equals_are_found_different_at_most_at_alpha(n_examples):
    assert 0 < detection_power(n_examples, 0.3, 0.0) <= 0.05


def test_power_is_what_simulation_shows():
    rng = np.random.default_rng(0)
    walk = plan_walk("accuracy", np.zeros(150, int))
    signs = rng.choice([-1, 0, 1], (1000, 150), p=[0.2, 0.7, 0.1])

    found = [certify(walk, s > 0, s < 0).finding == "negative" for s in signs]

    assert np.mean(found) == pytest.approx(detection_power(150, 0.3, 0.1), abs=0.05)


def test_gap_is_the_smallest_that_has_the_power():
    gap = detectable_gap(300, 0.2)

    assert gap is not None
    assert detection_power(300, 0.2, gap) >= 0.8 > detection_power(300, 0.2, gap - 0.001)


def test_more_examples_detect_smaller_gaps():
    gaps = [detectable_gap(n, 0.2) for n in (50, 200, 800)]

    assert gaps == sorted(gaps, reverse=True)
    assert 0.08 < gaps[1] < 0.13


@pytest.mark.parametrize("n_examples", [0, 6])
def test_too_few_examples_detect_nothing(n_examples):
    assert detectable_gap(n_examples, 0.2) is None


def test_predictors_that_agree_are_never_found_different():
    assert detection_power(500, 0.0, 0.0) == 0


@pytest.mark.parametrize("arguments", [(-1, 0.2), (10, 1.2), (10, float("nan"))])
def test_impossible_sizes_are_refused(arguments):
    with pytest.raises(InvalidDataError, match="Expected a count"):
        detectable_gap(*arguments)
