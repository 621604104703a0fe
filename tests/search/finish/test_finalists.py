import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.search.budget import Budget
from autotl.search.finish.finalists import (
    MOST_FINALISTS,
    Rematch,
    ShippingRule,
    select_finalists,
)
from autotl.search.finish.repeats import Lead, Repeats, corrected_error, fresh_splits
from autotl.search.progress import SilentProgress

NEVER = frozenset()


@settings(max_examples=15, deadline=None)
@given(st.integers(30, 90), st.integers(12, 40), st.integers(0, 1000), st.integers(1, 7))
def test_fresh_splits_keep_groups_together(toys, n, n_groups, seed, n_splits):
    task = toys.task(n, n_groups=n_groups)

    folds = fresh_splits(task, n_splits, seed)

    assert len(folds) == n_splits
    for fold in folds:
        both = np.concatenate([fold.train, fold.validation])
        assert sorted(both) == sorted(task.split.train_validation)
        assert not set(task.groups[fold.train]) & set(task.groups[fold.validation])
        assert not set(both) & set(task.split.holdout)


def test_fresh_splits_are_seeded_and_new(toys):
    task = toys.task(700)  # one fold
    again = [fresh_splits(task, 3, seed=4) for _ in range(2)]

    for one, other in zip(*again, strict=True):
        np.testing.assert_array_equal(one.train, other.train)
    validations = [task.split.folds[0].validation, *(f.validation for f in again[0])]
    assert len({tuple(v) for v in validations}) == 4
    counts = np.bincount(task.y[again[0][0].validation])
    assert counts.max() - counts.min() <= 1


def test_corrected_error_grows_with_the_test_share():
    differences = np.array([0.01, 0.03, 0.02])

    assert corrected_error(differences, 0.0) == pytest.approx(0.01 / math.sqrt(3))
    assert corrected_error(differences, 1 / 3) == pytest.approx(0.01 * math.sqrt(1 / 3 + 1 / 3))
    assert corrected_error(differences[:1], 0.25) is None


def test_finalists_are_of_distinct_families(toys):
    task = toys.task(90)
    same = toys.method("same")
    pool = [toys.contender(task, i, spec=same) for i in range(3)]
    pool += [toys.contender(task, 10 + i) for i in range(6)]

    chosen = select_finalists(pool[1], pool, task, NEVER)

    assert chosen[0] is pool[1]
    assert len(chosen) == MOST_FINALISTS
    assert len({c.family for c in chosen}) == MOST_FINALISTS


def test_what_is_clearly_worse_is_no_finalist(toys):
    task = toys.task(300)
    truth = np.eye(3)[task.y[task.split.train_validation]]
    good = toys.contender(task, 0)
    awful = toys.contender(task, 1, np.roll(truth, 1, axis=1))

    assert select_finalists(good, [good, awful], task, NEVER) == [good]


def test_flagged_trials_are_no_finalists_beside_others(toys):
    task = toys.task(90)
    pool = [toys.contender(task, i) for i in range(3)]

    chosen = select_finalists(pool[0], pool, task, frozenset({0, 2}))

    assert [c.outcome.trial for c in chosen] == [1]
    assert select_finalists(pool[0], pool[:1], task, frozenset({0})) == [pool[0]]


def rematch(toys, task, seconds=600.0, trials=1, **settings):
    budget = Budget(seconds, trials)
    measurement = toys.floor(task, budget, SilentProgress())
    baselines = measurement.run()
    return Rematch(task, measurement, budget, SilentProgress(), 0, **settings), baselines[0]


def test_all_are_measured_on_the_same_splits(toys):
    task, seen = toys.task(90), {0: [], 1: []}
    pool = [
        toys.contender(task, i, spec=toys.method(f"m{i}", seen=rows)) for i, rows in seen.items()
    ]
    games, floor = rematch(toys, task)

    repeats = games.run(pool, floor, lambda _c: math.inf)
    games.measure_floor(repeats, floor, math.inf)

    assert len(repeats.folds) == len(repeats.floor) == 5
    assert set(repeats.scores) == {0, 1}
    for one, other in zip(*seen.values(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert repeats.lead(0).difference == pytest.approx(
        repeats.scores[0].mean() - repeats.floor.mean()
    )


def test_tuned_networks_get_fewer_splits(toys):
    task = toys.task(60)
    games, floor = rematch(toys, task)
    tuned = toys.contender(task, 0, spec=toys.method("tuned", tuned=True))

    assert len(games.run([tuned], floor, lambda _c: math.inf).folds) == 3


def test_failing_finalist_is_left_out_with_a_note(toys):
    task = toys.task(60)
    games, floor = rematch(toys, task)
    pool = [toys.contender(task, 0), toys.contender(task, 1, spec=toys.method("bad", fails=True))]

    repeats = games.run(pool, floor, lambda _c: math.inf)

    assert set(repeats.scores) == {0}
    assert any("the method's own bug" in note for note in games.notes)
    assert games.winner(pool, repeats) is pool[0]


def test_costly_finalists_are_left_out_where_time_is_short(toys):
    task = toys.task(60)
    games, floor = rematch(toys, task, seconds=60.0, trials=None)
    cheap, costly = toys.contender(task, 0), toys.contender(task, 1, seconds=500.0)

    repeats = games.run([cheap, costly], floor, lambda _c: 50.0)

    assert set(repeats.scores) == {0}
    assert any("'toy1' on 'toy/backbone'" in note for note in games.notes)


def test_no_time_measures_nothing(toys):
    task = toys.task(60)
    games, floor = rematch(toys, task, seconds=60.0, trials=None)

    repeats = games.run([toys.contender(task, 0, seconds=500.0)], floor, lambda _c: 50.0)

    assert repeats.folds == []
    assert repeats.lead(0) is None


def test_who_waits_is_not_kept_waiting(toys):
    task = toys.task(60)
    games, floor = rematch(toys, task, hurried=lambda: True)

    assert games.run([toys.contender(task, 0)], floor, lambda _c: math.inf).folds == []


def test_interrupt_keeps_the_splits_that_are_done(toys):
    task, fits = toys.task(60), []

    class Impatient(list):
        def append(self, item):
            super().append(item)
            if len(self) == 3:
                raise KeyboardInterrupt

    fits = Impatient()
    games, floor = rematch(toys, task)

    repeats = games.run(
        [toys.contender(task, 0, spec=toys.method(seen=fits))], floor, lambda _c: math.inf
    )

    assert len(repeats.folds) == len(repeats.scores[0]) == 2


def judged(toys, scores):
    """A probe and a tuned network with given scores on each split."""
    task = toys.task(90)
    pool = [
        toys.contender(task, 0, spec=toys.method("probe")),
        toys.contender(task, 1, spec=toys.method("tuned", tuned=True)),
    ]
    repeats = Repeats(folds=fresh_splits(task, len(scores[0]), 0))
    repeats.scores = dict(enumerate(map(np.array, scores)))
    return rematch(toys, task)[0].winner(pool, repeats).outcome.trial


def test_the_best_on_average_wins_and_a_probe_of_equals(toys):
    assert judged(toys, ([0.80, 0.82, 0.78], [0.82, 0.80, 0.81])) == 1
    assert judged(toys, ([0.90, 0.92, 0.88], [0.85, 0.86, 0.89])) == 0
    assert judged(toys, ([0.80, 0.82, 0.84], [0.84, 0.82, 0.80])) == 0


def lead(difference, error=0.01, n=5):
    return Lead(value=0.8 + difference, floor=0.8, standard_error=error, n_splits=n)


def test_rule_asks_the_mean_or_the_lower_end():
    assert ShippingRule().decide(1, lead(0.001), None)[0]
    assert not ShippingRule().decide(1, lead(0.0), None)[0]
    assert not ShippingRule(margin=0.02).decide(1, lead(0.01), None)[0]
    cautious = ShippingRule(cautious=True)
    assert not cautious.decide(1, lead(0.02), None)[0]  # 2.78 standard errors are needed
    assert cautious.decide(1, lead(0.03), None)[0]


def test_cautious_rule_falls_back_on_validation_with_few_splits():
    cautious, few = ShippingRule(cautious=True), lead(0.5, n=2)

    assert few.low() is None
    assert cautious.decide(1, few, 0.01)[0]
    assert not cautious.decide(1, few, -0.01)[0]
    assert not cautious.decide(1, few, None)[0]


def test_flagged_finalist_is_never_shipped():
    ships, why = ShippingRule(negative=frozenset({1})).decide(1, lead(0.5), None)

    assert not ships
    assert "flagged" in why


def test_outcomes_are_left_as_they_were(toys):
    task = toys.task(60)
    games, floor = rematch(toys, task)
    one = toys.contender(task, 0)
    before = dataclasses.replace(one.outcome)

    games.run([one], floor, lambda _c: math.inf)

    assert one.outcome.history == before.history
    assert one.outcome.value == before.value
