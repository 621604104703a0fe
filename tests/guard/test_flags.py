import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.errors import InvalidDataError
from autotl.guard import flag_negative
from autotl.guard.betting import log_e_of_counts


@settings(max_examples=100, deadline=None)
@given(
    log_e=st.lists(st.one_of(st.floats(-5, 12), st.sampled_from([3.0, 4.0])), max_size=25),
    alpha=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_flags_are_those_of_brute_force(log_e, alpha):
    n, e = len(log_e), np.exp(log_e)
    most = max((k for k in range(n + 1) if k and (e >= n / (alpha * k)).sum() >= k), default=0)

    flags = flag_negative(np.array(log_e), alpha=alpha)

    assert flags.flagged.tolist() == [bool(most and x >= n / (alpha * most)) for x in e]
    assert flags.flagged.sum() >= most
    assert flags.threshold == pytest.approx(max(n, 1) / (alpha * max(most, 1)))


def test_false_discovery_rate_holds_on_shared_examples():
    # One floor, the same 300 examples: a lucky floor makes all candidates look bad.
    rng = np.random.default_rng(0)
    proportions, flagged = [], []
    for _ in range(150):
        floor = rng.random(300) < 0.7
        worse = np.arange(30) >= 20
        loses, wins = np.where(worse, 0.35, 0.12), np.where(worse, 0.1, 0.28)
        u = rng.random((30, 300))
        lost = (floor & (u < loses[:, None])).sum(axis=1)
        won = (~floor & (u < wins[:, None])).sum(axis=1)
        flags = flag_negative(log_e_of_counts(lost, won)).flagged
        proportions.append((flags & ~worse).sum() / max(flags.sum(), 1))
        flagged.append((flags & worse).sum())

    assert np.mean(proportions) <= 0.05
    assert np.mean(flagged) >= 8  # and it finds most of the ten


def test_no_candidates_have_no_flags():
    assert flag_negative(np.zeros(0)).flagged.shape == (0,)


def test_a_candidate_without_evidence_is_not_flagged():
    assert flag_negative(np.array([-np.inf, 10.0])).flagged.tolist() == [False, True]


def test_candidates_that_were_not_judged_are_refused():
    with pytest.raises(InvalidDataError, match="holds NaN"):
        flag_negative(np.array([1.0, np.nan]))
