import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.errors import InvalidDataError
from autotl.guard import LOOKS, count_false_stops, gain_bound, is_audited, residual_gains
from autotl.guard.audits import upper_limit


def curves(rng, n, n_steps=16):
    """Learning curves that rise at speeds and to heights of their own, with noise."""
    t = np.arange(1, n_steps + 1) / n_steps
    height, fall, speed = rng.uniform(0.5, 0.9, n), rng.uniform(0, 0.5, n), rng.uniform(1, 8, n)
    clean = height[:, None] - fall[:, None] * np.exp(-speed[:, None] * t)
    return clean + rng.normal(0, 0.01, (n, n_steps))


def test_gains_are_what_the_best_value_still_rises():
    gains = residual_gains([0.1, 0.4, 0.3, 0.5, 0.45, 0.7, 0.6, 0.6], 8)

    assert gains == pytest.approx([0.6, 0.3, 0.3, 0.2, 0.2, 0.0, 0.0])


def test_gains_of_short_plans_and_patient_ends():
    assert residual_gains([0.5], 1) == pytest.approx(np.zeros(len(LOOKS)))
    assert residual_gains([0.2, 0.6], 16) == pytest.approx([0.0] * 7)  # ended by patience
    assert residual_gains([0.2, 0.6, 0.7], 3) == pytest.approx([0.5, 0.5, 0.1, 0.1, 0.1, 0, 0])


def test_bound_is_the_smallest_sufficient_score():
    gains = np.zeros((39, len(LOOKS)))
    gains[:, 3] = np.arange(39)  # halfway

    bound = gain_bound(gains)

    assert bound.at(0.5) == pytest.approx(37)  # the 38th smallest of 39
    assert bound.at(0.55) == bound.at(0.5) < bound.at(0.25)
    assert bound.at(0.1) == math.inf
    assert (bound.source, bound.n_curves) == ("study", 39)


@pytest.mark.parametrize(("n_curves", "finite"), [(0, False), (18, False), (19, True)])
def test_bound_needs_nineteen_curves(n_curves, finite):
    bound = gain_bound(np.full((n_curves, len(LOOKS)), 0.1))

    assert math.isfinite(bound.scale) == finite
    assert not gain_bound(np.zeros((18, len(LOOKS)))).stops(0.0, 0.9, 1.0)


def test_shipped_gains_stand_in_until_then():
    shipped = np.full((50, len(LOOKS)), 0.2)
    few, enough = np.zeros((18, len(LOOKS))), np.zeros((19, len(LOOKS)))

    assert gain_bound(few, shipped=shipped).source == "shipped"
    assert gain_bound(enough, shipped=shipped).source == "study"
    assert gain_bound(few, shipped=shipped[:18]).source == "none"


def test_stop_leaves_room_for_the_gain_and_the_margin():
    bound = gain_bound(np.full((19, len(LOOKS)), 0.1))
    gain = bound.at(7 / 8)

    assert gain == pytest.approx(0.1)
    assert bound.stops(0.69, 7 / 8, 0.8)
    assert not bound.stops(0.71, 7 / 8, 0.8)
    assert not bound.stops(0.69, 7 / 8, 0.8, delta=0.02)
    assert not bound.stops(0.0, 1.0, 0.8)  # done: nothing to stop


def test_exchangeable_trials_are_seldom_stopped_wrongly_at_any_look():
    rng = np.random.default_rng(0)
    wrong, stopped = [], []
    for _ in range(400):
        history, *known = curves(rng, 30)
        bound = gain_bound(np.array([residual_gains(h, 16) for h in known]))
        best = np.maximum.accumulate(history)
        # The floor at which most would be wrong: the trial just reaches it.
        wrong.append(any(bound.stops(best[k], (k + 1) / 16, best[-1]) for k in range(16)))
        stopped.append(any(bound.stops(best[k], (k + 1) / 16, 0.8) for k in range(16)))

    assert np.mean(wrong) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
    assert np.mean(stopped) > 0.3


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), step=st.integers(1, 20), planned=st.integers(1, 20))
def test_bound_covers_its_own_curves_at_every_step(seed, step, planned):
    rng = np.random.default_rng(seed)
    known = curves(rng, 30, planned)
    bound = gain_bound(np.array([residual_gains(h, planned) for h in known]), alpha=1 / 31)
    step = min(step, planned)

    best = np.maximum.accumulate(known, axis=1)

    assert (best[:, -1] - best[:, step - 1] <= bound.at(step / planned) + 1e-9).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: residual_gains([], 4), "history has shape"),
        (lambda: residual_gains([0.1, np.nan], 4), "history has shape"),
        (lambda: residual_gains([0.1] * 5, 4), "for 4 planned steps"),
        (lambda: gain_bound(np.zeros((20, 3))), r"gains has shape \(20, 3\)"),
        (lambda: gain_bound(np.full((20, 7), np.nan)), "gains holds nan"),
        (lambda: gain_bound(np.zeros((20, 7))).at(1.5), "fraction is 1.5"),
        (lambda: is_audited(0, 0, share=2), "share is 2"),
        (lambda: count_false_stops([(True, np.nan)], 0.5), "A final value is NaN"),
    ],
)
def test_misuse_is_refused(call, message):
    with pytest.raises(InvalidDataError, match=message):
        call()


def test_audits_are_drawn_by_seed_and_number():
    drawn = [is_audited(trial, 3) for trial in range(1000)]

    assert drawn == [is_audited(trial, 3) for trial in range(1000)]
    assert drawn != [is_audited(trial, 4) for trial in range(1000)]
    assert 0.08 < np.mean(drawn) < 0.12


def test_false_stops_are_stoppable_and_reach_the_floor():
    counted = count_false_stops(
        [(True, 0.8), (True, 0.5), (False, 0.9)] + [(False, 0.1)] * 17, 0.8
    )

    assert (counted.n_audited, counted.n_stoppable, counted.n_false) == (20, 2, 1)
    assert counted.rate == 0.05
    assert counted.high == pytest.approx(0.2161, abs=1e-4)
    assert (count_false_stops([], 0.8).rate, count_false_stops([], 0.8).high) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (3, 40), (20, 20)])
def test_upper_limit_inverts_the_binomial(successes, n):
    from scipy.stats import binom

    limit = upper_limit(successes, n)

    if successes < n:
        assert binom.cdf(successes, n, limit) == pytest.approx(0.05)
    else:
        assert limit == 1
