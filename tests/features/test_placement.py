from hypothesis import given
from hypothesis import strategies as st

from autotl.features.placement import CutCost, choose_cuts


def cut(depth, work, sample_bytes=1.0):
    return CutCost(depth=depth, work=work, sample_bytes=sample_bytes)


def test_a_trial_is_served_by_the_cut_at_its_depth():
    cuts = [cut(1, 10.0), cut(2, 20.0), cut(3, 30.0)]

    assert choose_cuts(cuts, {2: 1.0, 3: 1.0}, 10, 1e9) == (2, 3)


def test_a_cut_beyond_every_trial_is_not_kept():
    assert choose_cuts([cut(1, 10.0), cut(3, 30.0)], {2: 1.0}, 10, 1e9) == (1,)


def test_the_first_choice_saves_the_most_work_a_byte():
    cuts = [cut(1, 10.0, 100.0), cut(2, 15.0, 10.0)]

    assert choose_cuts(cuts, {1: 1.0, 2: 1.0}, 1, 10.0) == (2,)


def test_what_saves_next_to_nothing_is_left_out():
    assert choose_cuts([cut(1, 1.0), cut(2, 100.0)], {2: 1.0, 1: 0.01}, 1, 1e9) == (2,)


def test_without_room_nothing_is_kept():
    assert choose_cuts([cut(1, 10.0)], {1: 1.0}, 1000, 999.0) == ()


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(1, 1e6)), max_size=8),
    st.dictionaries(st.integers(0, 8), st.floats(0.1, 10), max_size=5),
    st.integers(1, 1000),
    st.floats(0, 1e9),
)
def test_the_limit_holds(costs, demand, n_samples, limit):
    works = sorted(work for work, _ in costs)
    cuts = [cut(d, w, b) for d, (w, (_, b)) in enumerate(zip(works, costs, strict=True), start=1)]

    kept = choose_cuts(cuts, demand, n_samples, limit)

    assert sum(c.sample_bytes * n_samples for c in cuts if c.depth in kept) <= limit
    assert list(kept) == sorted(set(kept))
