from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betainc, betaln

from autotl.errors import InvalidDataError
from autotl.guard.betting import log_e_of_counts, log_e_values


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 4), (7, 0), (12, 5), (60, 40)])
def test_e_value_is_the_mixture_integrated(wins, losses):
    outcomes = np.repeat([1, -1], [wins, losses])

    found = np.exp(log_e_of_counts(np.array(wins), np.array(losses)))

    def wealth(bet):
        return 6 * bet * (1 - bet) * (1 + bet) ** wins * (1 - bet) ** losses

    integral = quad(wealth, 0, 1)[0]
    assert found == pytest.approx(integral, rel=1e-7)
    if len(outcomes):
        assert np.exp(log_e_values(outcomes)[-1]) == pytest.approx(found)


@pytest.mark.parametrize(("wins", "losses"), [(300, 250), (500, 400), (900, 1000)])
def test_e_value_matches_the_closed_form_far_out(wins, losses):
    # In theta = (1 + bet) / 2, a difference of two incomplete beta functions.
    parts = [
        np.log(factor) + betaln(a, losses + 2) + np.log(1 - betainc(a, losses + 2, 0.5))
        for factor, a in ((2, wins + 2), (1, wins + 1))
    ]
    scale = np.log(24) + (wins + losses) * np.log(2)
    closed = scale + parts[0] + np.log1p(-np.exp(parts[1] - parts[0]))

    assert log_e_of_counts(np.array(wins), np.array(losses)) == pytest.approx(closed, abs=1e-6)


def test_e_value_stays_finite_against_overwhelming_evidence():
    assert log_e_of_counts(np.array(0), np.array(3000)) == pytest.approx(
        np.log(6 / (3002 * 3003)), abs=0.2
    )


@pytest.mark.parametrize(
    ("values", "chances"),
    [
        ([-1, 0, 1], [0.2, 0.6, 0.2]),
        ([-1, 0, 1], [0.3, 0.5, 0.2]),
        ([-1, 0.25], [0.2, 0.8]),
        ([-0.4, -0.1, 0.8], [0.55, 0.2, 0.25]),
    ],
)
def test_mean_e_value_under_the_null_is_at_most_one(values, chances):
    assert np.dot(values, chances) <= 1e-12  # the null

    means = np.zeros(6)
    for path in product(range(len(values)), repeat=6):
        weight = np.prod([chances[i] for i in path])
        means += weight * np.exp(log_e_values(np.array([values[i] for i in path])))

    assert (means <= 1 + 1e-9).all()
    assert (np.diff(means) <= 1e-9).all()  # a supermartingale


@settings(max_examples=50, deadline=None)
@given(outcomes=st.lists(st.floats(-1, 1), min_size=1, max_size=60), seed=st.integers(0, 1000))
def test_order_does_not_change_the_last_e_value(outcomes, seed):
    outcomes = np.array(outcomes)

    shuffled = np.random.default_rng(seed).permutation(outcomes)

    assert log_e_values(shuffled)[-1] == pytest.approx(log_e_values(outcomes)[-1], abs=1e-9)


def test_zeros_change_nothing():
    path = log_e_values(np.array([0, 1, 0, 0, 1, -1, 0]))

    assert path[0] == 0
    assert path[[1, 4, 5]] == pytest.approx(log_e_values(np.array([1, 1, -1])))
    assert path[2] == path[3] == path[1]


def test_no_outcomes_have_an_empty_path():
    assert log_e_values(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("outcomes", [[0.5, np.nan], [1.5], [[0.1, 0.2]]])
def test_outcomes_out_of_bounds_are_refused(outcomes):
    with pytest.raises(InvalidDataError, match=r"Expected one dimension and values in \[-1, 1\]"):
        log_e_values(np.array(outcomes))
