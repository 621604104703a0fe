import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.splits import (
    Split,
    few_per_class,
    join_units,
    make_folds,
    make_holdout,
)

CHECKED = settings(deadline=None, max_examples=40, derandomize=True)


@st.composite
def tasks(draw):
    """Codes and units in which every class has at least three units of its own."""
    n_classes = draw(st.integers(2, 6))
    sizes = draw(
        st.lists(
            st.lists(st.integers(1, 4), min_size=3, max_size=30),
            min_size=n_classes,
            max_size=n_classes,
        )
    )
    y, units = [], []
    for c, of_class in enumerate(sizes):
        for size in of_class:
            unit = (units[-1] + 1) if units else 0
            y += [c] * size
            units += [unit] * size
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(y))
    return np.array(y)[order], np.array(units)[order]


def whole(units, part):
    return not set(units[part]) & set(np.delete(units, part))


@CHECKED
@given(tasks(), st.integers(0, 5))
def test_holdout_and_folds_are_sound(task, seed):
    y, units = task

    rest, holdout = make_holdout(y, units, seed)
    folds = make_folds(y[rest], units[rest], seed)

    assert sorted([*rest, *holdout]) == list(range(len(y)))
    assert whole(units, holdout)
    assert set(y[holdout]) == set(y)
    covered = np.concatenate([f.validation for f in folds])
    if len(folds) > 1:
        assert sorted(covered) == list(range(len(rest)))
    for fold in folds:
        assert sorted([*fold.train, *fold.validation]) == list(range(len(rest)))
        assert whole(units[rest], fold.validation)
        assert len(fold.validation) > 0
        assert set(y[rest][fold.train]) == set(y)


@CHECKED
@given(tasks(), st.integers(0, 5))
def test_splits_repeat_by_seed_and_ignore_names(task, seed):
    y, units = task
    renamed = (y.max() - y) * 7
    moved = 5 * units.max() - 3 * units

    first = make_holdout(y, units, seed)[1]

    assert np.array_equal(first, make_holdout(y, units, seed)[1])
    assert np.array_equal(first, make_holdout(renamed, moved, seed)[1])


def test_seeds_differ():
    y = np.arange(100) % 4

    holdouts = {tuple(make_holdout(y, np.arange(100), seed)[1]) for seed in range(5)}

    assert len(holdouts) == 5


@pytest.mark.parametrize("counts", [[500, 300, 40], [7, 5, 3], [100, 100, 100]])
def test_proportions_are_kept_to_a_sample(counts):
    y = np.repeat(np.arange(3), counts)
    units = np.arange(len(y))

    rest, holdout = make_holdout(y, units, 0)
    folds = make_folds(y[rest], units[rest], 0)

    assert np.abs(np.bincount(y[holdout]) - 0.2 * np.array(counts)).max() <= 1
    for fold in folds:
        share = 0.25 if len(folds) == 1 else 1 / len(folds)
        wanted = share * np.bincount(y[rest])
        found = np.bincount(y[rest][fold.validation], minlength=3)
        assert np.abs(found - wanted).max() <= 1
        assert abs(len(fold.validation) - share * len(rest)) <= 1


def test_large_mixed_groups_stay_near_proportions():
    rng = np.random.default_rng(1)
    units = rng.integers(0, 40, 1000)
    y = (rng.random(1000) < 0.1 + 0.6 * (units % 3 == 0)).astype(int)

    _, holdout = make_holdout(y, units, 0)

    assert abs(len(holdout) / 1000 - 0.2) < 0.04
    assert abs(y[holdout].mean() - y.mean()) < 0.04
    assert whole(units, holdout)


@pytest.mark.parametrize(
    ("n", "n_classes", "n_folds"), [(600, 2, 5), (602, 2, 1), (600, 40, 5), (12, 4, 3), (8, 4, 2)]
)
def test_folds_are_many_where_samples_are_few(n, n_classes, n_folds):
    y = np.arange(n) % n_classes

    assert len(make_folds(y, np.arange(n), 0)) == n_folds


@CHECKED
@given(tasks(), st.integers(2, 5))
def test_few_per_class_takes_whole_units(task, n):
    y, units = task

    chosen = few_per_class(y, units, n, 0)

    assert whole(units, chosen)
    assert np.bincount(y[chosen]).max(initial=0) <= n


def test_few_per_class_is_exact_without_ties():
    y = np.arange(100) % 4

    assert np.bincount(y[few_per_class(y, np.arange(100), 7, 3)]).tolist() == [7] * 4


def test_join_units_follows_ties_through_columns():
    units = join_units(["a", "b", "c", "a", "d"], [1, 2, 2, 3, 3])

    assert units.tolist() == [0, 1, 1, 0, 0]


def test_train_validation_is_sorted_and_complete():
    y = np.arange(50) % 2
    rest, holdout = make_holdout(y, np.arange(50), 0)

    split = Split(make_folds(y, np.arange(50), 0), holdout)

    assert split.train_validation.tolist() == list(range(50))
    assert sorted([*rest, *holdout]) == list(range(50))


def test_splitting_many_samples_is_quick():
    y = np.random.default_rng(0).integers(0, 50, 20_000)

    _, holdout = make_holdout(y, np.arange(len(y)), 0)

    assert abs(len(holdout) - 4000) <= 50
