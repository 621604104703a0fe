import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.errors import InvalidDataError
from autotl.guard import EProcess, certify, plan_walk


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    n_blocks=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_blocks_are_disjoint_and_part_no_group(groups, n_blocks, seed):
    groups = np.array(groups)
    walk = plan_walk("accuracy", np.zeros(len(groups), int), groups=groups, seed=seed)

    blocks = walk.blocks(n_blocks)

    assert sorted(np.concatenate([b.order for b in blocks])) == list(range(len(groups)))
    met = [set(groups[b.order]) for b in blocks]
    assert sum(len(m) for m in met) == len(set(groups))
    assert walk.bound == np.bincount(groups).max()


def test_order_depends_on_the_seed_alone():
    y = np.zeros(50, int)

    first, again, other = (plan_walk("accuracy", y, seed=s).order for s in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


def test_blocks_of_one_checkpoint_add_up():
    rng = np.random.default_rng(0)
    walk = plan_walk("accuracy", np.zeros(90, int), groups=rng.integers(0, 30, 90))
    candidate, floor = rng.random((2, 90)) < 0.6
    evidence = EProcess()

    at = 0
    for block in walk.blocks(3):
        rows = slice(at, at + len(block))
        found = evidence.read(block, candidate[rows], floor[rows])
        at += len(block)

    assert found == certify(walk, candidate, floor)


def test_another_checkpoint_starts_over_at_its_share_of_alpha():
    walk = plan_walk("accuracy", np.zeros(40, int))
    first, second = walk.blocks(2)
    right, wrong = np.ones(20, bool), np.zeros(20, bool)
    evidence = EProcess(n_checkpoints=2)

    early = evidence.read(first, wrong, right, checkpoint=1)
    late = evidence.read(second, right, right, checkpoint=2)

    assert (early.finding, early.n_examples, early.alpha) == ("negative", 8, 0.025)
    assert (late.finding, late.log_e_negative) == ("inconclusive", 0.0)


def test_more_checkpoints_than_share_alpha_are_refused():
    first, second = plan_walk("accuracy", np.zeros(40, int)).blocks(2)
    right = np.ones(20, bool)
    evidence = EProcess()
    evidence.read(first, right, right, checkpoint=1)

    with pytest.raises(InvalidDataError, match="Checkpoint 2 is one more than the 1"):
        evidence.read(second, right, right, checkpoint=2)


def test_blocks_that_were_read_are_refused():
    block = plan_walk("accuracy", np.zeros(10, int)).blocks(1)[0]
    right = np.ones(10, bool)
    evidence = EProcess()
    evidence.read(block, right, right)

    with pytest.raises(InvalidDataError, match="no new evidence"):
        evidence.read(block, right, right)


def test_a_walk_does_not_end_within_a_group():
    walk = plan_walk("accuracy", np.zeros(6, int), groups=np.array([0, 0, 0, 1, 1, 1]))

    with pytest.raises(InvalidDataError, match="within a group"):
        certify(walk, np.ones(4, bool), np.ones(4, bool))


def test_metrics_that_are_no_sums_have_no_walk():
    assert plan_walk("other", np.zeros(5, int)) is None


@pytest.mark.parametrize(
    ("kind", "keywords", "message"),
    [
        ("accuracy", {"groups": np.zeros(3)}, "groups has 3 values but y has 4"),
        ("f1", {}, "kind is 'f1'"),
        ("balanced_accuracy", {}, "class_shares is None"),
        ("balanced_accuracy", {"class_shares": np.array([1.0])}, "Class 1 .* no share"),
        ("balanced_accuracy", {"class_shares": np.array([1.0, 0.0])}, "Class 1 .* no share"),
        ("accuracy", {"groups": np.zeros(4), "bound": 2}, "bound is 2"),
    ],
)
def test_walks_that_cannot_be_planned_say_why(kind, keywords, message):
    with pytest.raises(InvalidDataError, match=message):
        plan_walk(kind, np.array([0, 1, 0, 1]), **keywords)
