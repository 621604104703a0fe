import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.halving import FACTOR, CostHalving

HALVING = CostHalving(first=3.0)


def outcome(trial, history, costs=None, *, state="paused", planned=40, tuned=True):
    candidate = Candidate(backbone="b", adaptation="m", params={"lr": trial})
    return Outcome(
        trial=trial, candidate=candidate, state=state, history=list(history),
        costs=list(costs) if costs is not None else [float(i + 1) for i in range(len(history))],
        value=max(history, default=None), planned_steps=planned, tuned=tuned,
    )  # fmt: skip


def running(trial, history, costs=None, **more):
    return outcome(trial, history, costs, state="running", **more)


@given(st.floats(0.01, 1e6))
@settings(max_examples=50)
def test_a_rung_is_the_highest_whose_cost_is_reached(cost):
    rung = HALVING.rung(cost)

    assert rung == -1 or HALVING.cost(rung) <= cost * (1 + 1e-9)
    assert cost < HALVING.cost(rung + 1) * (1 + 1e-9)


def test_rungs_grow_by_the_factor():
    assert [HALVING.cost(r) for r in range(3)] == [3.0, 3.0 * FACTOR, 3.0 * FACTOR**2]
    assert [HALVING.rung(c) for c in (0, 2.9, 3, 8.9, 9, 27)] == [-1, -1, 0, 0, 1, 2]


def test_trials_are_compared_at_equal_cost_not_at_equal_epoch():
    # By the cost of the first rung the cheap ones have done three epochs, this one a single one.
    dear = running(9, [0.70], [3.0])
    cheap = [outcome(t, [0.2, 0.5, 0.8], [1.0, 2.0, 3.0]) for t in range(5)]
    assert not HALVING.holds(dear, cheap)  # though their first epochs were worse

    late = [outcome(t, [0.5, 0.6, 0.9], [1.0, 2.9, 50.0], state="complete") for t in range(5)]
    assert HALVING.holds(dear, late)  # what they had later, at more cost, does not count


def test_the_best_third_goes_on():
    others = [outcome(t, [v], [3.0]) for t, v in enumerate((0.1, 0.2, 0.3, 0.4, 0.5))]

    assert HALVING.holds(running(9, [0.6], [3.0]), others)
    assert HALVING.holds(running(9, [0.45], [3.0]), others)  # second of six
    assert not HALVING.holds(running(9, [0.35], [3.0]), others)


@given(st.lists(st.floats(0, 1), max_size=1), st.floats(0, 1))
@settings(max_examples=30)
def test_nothing_is_paused_with_too_few_beside(values, own):
    others = [outcome(t, [v], [3.0]) for t, v in enumerate(values)]

    assert HALVING.holds(running(9, [own], [3.0]), others)


def test_those_that_have_not_got_there_do_not_count():
    on_the_way = [running(t, [0.9], [2.0]) for t in range(5)]

    assert HALVING.holds(running(9, [0.1], [3.0]), on_the_way)
    assert HALVING.value_at(on_the_way[0], 0) is None


def test_those_that_ended_before_count_with_what_they_had():
    ended = [outcome(t, [0.9], [2.0], state="complete") for t in range(5)]

    assert HALVING.value_at(ended[0], 3) == 0.9
    assert not HALVING.holds(running(9, [0.1, 0.2], [5.0, 9.0]), ended)


def test_probes_and_oneself_do_not_count():
    probes = [outcome(t, [0.9], [3.0], state="complete", tuned=False) for t in range(5)]
    itself = [outcome(9, [0.9], [3.0])]

    assert HALVING.holds(running(9, [0.1], [3.0]), [*probes, *itself])


def test_failed_trials_hold_nobody_back():
    crashed = [outcome(t, [0.99], [3.0], state="failed") for t in range(5)]

    assert HALVING.holds(running(9, [0.5], [3.0]), crashed)


def test_a_step_that_crosses_several_rungs_is_judged_at_the_highest():
    leap = running(9, [0.7], [30.0])
    assert HALVING.rung(leap.costs[-1]) == 2
    assert HALVING.crossed(leap)

    low = [outcome(t, [0.1, 0.2], [3.0, 28.0]) for t in range(5)]
    high = [outcome(t, [0.1, 0.9], [3.0, 26.0], state="complete") for t in range(5)]
    assert HALVING.holds(leap, low)
    assert not HALVING.holds(leap, high)


def test_a_rung_is_crossed_once():
    assert not HALVING.crossed(running(9, [0.1], [2.0]))
    assert HALVING.crossed(running(9, [0.1, 0.2], [2.0, 3.0]))
    assert not HALVING.crossed(running(9, [0.1, 0.2, 0.3], [2.0, 3.0, 4.0]))


def test_who_is_nearly_done_goes_on():
    others = [outcome(t, [0.9] * 8) for t in range(5)]

    assert not HALVING.holds(running(9, [0.1] * 7, planned=10), others)
    assert HALVING.holds(running(9, [0.1] * 8, planned=10), others)


@pytest.mark.parametrize("n", range(2, 12))
def test_equals_are_not_paused_for_each_other(n):
    equals = [outcome(t, [0.5], [3.0]) for t in range(n)]

    assert HALVING.holds(running(99, [0.5], [3.0]), equals)
