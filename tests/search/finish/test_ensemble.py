import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.search.finish import ensemble
from autotl.search.finish.ensemble import (
    MOST_MEMBERS,
    build_ensemble,
    cross_fitted,
    greedy_weights,
)


@st.composite
def libraries(draw):
    """Probabilities of a few members, and the truth."""
    n_members, n = draw(st.integers(1, 6)), draw(st.integers(4, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = rng.integers(0, 3, n)
    weights = rng.gamma(draw(st.floats(0.1, 5)), size=(n_members, n, 3)) + 1e-9
    return weights / weights.sum(axis=2, keepdims=True), y


@given(libraries())
def test_weights_are_a_convex_mix(toys, library):
    probas, y = library

    weights = greedy_weights(toys.accuracy, y, probas)

    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    assert weights[0] > 0
    assert np.count_nonzero(weights) <= MOST_MEMBERS


@given(libraries())
def test_never_worse_than_its_start_where_chosen(toys, library):
    probas, y = library

    weights = greedy_weights(toys.accuracy, y, probas)

    assert toys.accuracy(y, np.tensordot(weights, probas, axes=1)) >= toys.accuracy(y, probas[0])


def complementary(task, seed=0):
    """Two members, each right about its own half of the samples and unsure about the other."""
    rng = np.random.default_rng(seed)
    truth = np.eye(len(task.classes))[task.y[task.split.train_validation]]
    half = rng.permutation(len(truth)) < len(truth) // 2
    sure, unsure = 0.9 * truth + 0.05, rng.dirichlet(np.ones(truth.shape[1]) * 50, len(truth))
    sure /= sure.sum(axis=1, keepdims=True)
    return np.where(half[:, None], sure, unsure), np.where(half[:, None], unsure, sure)


def test_members_that_help_each_other_are_better(toys):
    task = toys.task(120)
    one, other = complementary(task)
    first, second = toys.contender(task, 0, one), toys.contender(task, 1, other)

    found = build_ensemble(first, [first, second], task, seed=0)

    assert found.better
    assert [c.outcome.trial for c in found.members] == [0, 1]
    assert sum(found.weights) == pytest.approx(1.0)
    assert found.validation > task.metric(task.y[task.split.train_validation], one)


def test_noise_is_no_gain_when_cross_fitted(toys):
    task, rng = toys.task(120), np.random.default_rng(1)
    rows = task.split.train_validation
    finalist = 0.6 * np.eye(3)[task.y[rows]] + 0.4 * rng.dirichlet(np.ones(3), len(rows))
    noise = [rng.dirichlet(np.ones(3), len(rows)) for _ in range(10)]
    library = [toys.contender(task, i, p) for i, p in enumerate([finalist, *noise])]

    found = build_ensemble(library[0], library, task, seed=0)

    assert not found.better


def test_weights_are_chosen_on_other_groups(toys, monkeypatch):
    task = toys.task(90, n_groups=30)
    rows = task.split.train_validation
    groups, seen = task.groups[rows], []

    def spy(score, y, probas):
        seen.append(probas[0, :, 0])
        return np.array([1.0])

    monkeypatch.setattr(ensemble, "greedy_weights", spy)
    cross_fitted(task, np.repeat(groups[None, :, None].astype(float), 3, axis=2), rows, seed=0)

    assert len(seen) == 5
    for outside in seen:
        for group in np.unique(groups):
            assert (outside == group).sum() in (0, (groups == group).sum())
    left_out = [set(np.unique(groups)) - set(outside) for outside in seen]
    assert sorted(g for part in left_out for g in part) == sorted(set(groups))


def test_one_trial_is_no_ensemble(toys):
    task = toys.task(60)
    only = toys.contender(task, 0, complementary(task)[0])

    assert build_ensemble(only, [only], task, seed=0) is None
