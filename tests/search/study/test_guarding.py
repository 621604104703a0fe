"""The guard as a search uses it; its statistics have tests of their own."""

import dataclasses
import math

import numpy as np
import pytest

from autotl.data import Fold, Split, build_task
from autotl.data.metric import choose_metric
from autotl.guard import is_audited
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.guarding import FloorGuard
from autotl.specs import SavedState
from autotl.testing.fakes import toy_images

SEED, FLOOR = 0, 0.8
AUDITED = [t for t in range(400) if is_audited(t, SEED)]
PLAIN = [t for t in range(400) if not is_audited(t, SEED)]


@pytest.fixture(scope="module")
def small_task():
    images, y = toy_images(60)
    return build_task(images, y.tolist(), guard=True)


def make_task(base, n=1000, n_guard=200, n_classes=2, metric="accuracy", groups=None, seed=0):
    """Return a task of labels alone, half of the selection for training."""
    y = np.random.default_rng(seed).integers(0, n_classes, n)
    guard = np.arange(n - n_guard, n)
    cut = (n - n_guard) // 2
    fold = Fold(np.arange(cut), np.arange(cut, n - n_guard))
    return dataclasses.replace(
        base, y=y, classes=list(range(n_classes)), metric=choose_metric(metric, y, [0, 1]),
        groups=np.arange(n) if groups is None else groups,
        split=Split((fold,), np.arange(0), guard),
    )  # fmt: skip


def proba(y, accuracy, seed, n_classes=2):
    """Return probabilities that are right on about this share of the samples."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(y)) < accuracy
    return np.eye(n_classes)[np.where(right, y, (y + 1) % n_classes)]


def outcome(trial=0, history=(0.5,), *, state="complete", planned=None, tuned=True, **more):
    return Outcome(
        trial=trial, candidate=Candidate(backbone="b", adaptation="m", params={}), state=state,
        history=list(history), value=max(history, default=None), tuned=tuned,
        planned_steps=planned or len(history),
        saved=SavedState(tensors={}, config={}), **more,
    )  # fmt: skip


def make_guard(task, floor_proba, predict=lambda o, rows: None, floor=FLOOR, **more):
    return FloorGuard(task, floor, floor_proba, predict, seed=SEED, **more)


def predictor(task, accuracy, seed=9):
    everywhere = proba(task.y, accuracy, seed)
    return lambda _outcome, rows: everywhere[rows]


# What has ended


def judged(task, accuracy, floor_accuracy=0.9, seed=9):
    guard = make_guard(task, proba(task.y, floor_accuracy, 1)[task.split.guard],
                       predictor(task, accuracy, seed))  # fmt: skip
    found = outcome()
    guard.judge(found)
    return guard, found


def test_a_predictor_that_is_much_worse_is_certified_and_stopped(small_task):
    guard, found = judged(make_task(small_task), 0.5)

    assert guard.kind == "certificate"
    assert found.state == "pruned"
    assert "worse than the floor" in found.reason
    assert found.log_e > -math.log(0.05) - 1e-9
    assert found.discordance > 0.3
    assert guard.summary([found])["flags"] == [0]


def test_equal_predictors_are_not_stopped_more_often_than_allowed(small_task):
    task = make_task(small_task)

    states = [judged(task, 0.9, seed=s)[1].state for s in range(2, 62)]

    assert states.count("pruned") <= 6  # three are expected of sixty at most


def test_a_better_predictor_is_neither_stopped_nor_flagged(small_task):
    guard, found = judged(make_task(small_task), 0.95, floor_accuracy=0.6)

    assert found.state == "complete"
    assert found.log_e < 0
    assert guard.summary([found])["flags"] == []


def test_the_guard_stops_reading_once_it_is_certain(small_task):
    task, read = make_task(small_task, n_guard=400), []
    everywhere = 1 - proba(task.y, 0.95, 3)

    def predict(_outcome, rows):
        read.extend(rows)
        return everywhere[rows]

    guard = make_guard(task, proba(task.y, 0.95, 1)[task.split.guard], predict)
    found = outcome()
    guard.judge(found)

    assert found.state == "pruned"
    assert len(read) < 100
    assert set(read) <= set(task.split.guard)
    assert f"after {len(read)} " in found.reason


def test_a_predictor_that_fails_leaves_the_trial_as_it_was(small_task):
    task = make_task(small_task)
    guard = make_guard(task, proba(task.y, 0.9, 1)[task.split.guard])
    found = outcome()

    guard.judge(found)

    assert (found.state, found.log_e) == ("complete", None)


def in_folds(task, k=5):
    """Return the task with k folds and no samples for the guard."""
    rows = np.sort(np.concatenate([task.split.selection, task.split.guard]))
    parts = [rows[i::k] for i in range(k)]
    folds = tuple(Fold(np.setdiff1d(rows, part), part) for part in parts)
    return dataclasses.replace(task, split=Split(folds, task.split.holdout))


def test_under_folds_the_evidence_only_advises(small_task):
    task = in_folds(make_task(small_task, n=600))
    rows = np.concatenate([f.validation for f in task.split.folds])
    guard = make_guard(task, proba(task.y, 0.9, 1)[rows])
    found = outcome(proba=proba(task.y, 0.3, 2)[rows])

    guard.judge(found)

    assert guard.kind == "advisory"
    assert found.state == "complete"
    assert found.log_e > 5
    assert guard.summary([found])["n_examples"] == len(rows)


@pytest.mark.parametrize("floor_proba", [None, "other"])
def test_without_a_floor_or_for_other_metrics_nothing_is_judged(small_task, floor_proba):
    task = make_task(small_task, metric="neg_log_loss" if floor_proba else "accuracy")
    given = None if floor_proba is None else proba(task.y, 0.9, 1)[task.split.guard]
    guard = make_guard(task, given, predictor(task, 0.1))
    found = outcome()

    guard.judge(found)
    summary = guard.summary([found])

    assert guard.kind == summary["kind"] == "none"
    assert (found.state, found.log_e) == ("complete", None)
    assert (summary["n_examples"], summary["n_judged"], summary["flags"]) == (0, 0, [])
    assert summary["detectable_gap"] is None


def test_balanced_accuracy_weighs_the_rare_class(small_task):
    task = make_task(small_task, n=3000, n_guard=800, metric="balanced_accuracy")
    y = (np.random.default_rng(0).random(3000) < 0.1).astype(int)  # one in ten is rare
    task = dataclasses.replace(task, y=y)
    all_right = np.eye(2)[y]
    blind_to_rare = np.eye(2)[np.zeros(3000, int)]

    guard = make_guard(task, all_right[task.split.guard], lambda _o, rows: blind_to_rare[rows])
    found = outcome()
    guard.judge(found)
    assert found.state == "pruned"

    # Wrong on a tenth of the common class is less than that: a twentieth of the metric.
    slightly = all_right.copy()
    wrong = np.flatnonzero(y == 0)[::9]
    slightly[wrong] = 1 - slightly[wrong]
    milder = outcome()
    make_guard(task, all_right[task.split.guard], lambda _o, rows: slightly[rows]).judge(milder)
    assert milder.log_e < found.log_e


def test_groups_count_as_one_each(small_task):
    one_by_one = make_task(small_task, n_guard=200)
    grouped = make_task(small_task, n_guard=200, groups=np.arange(1000) // 50)  # four groups

    certain, unsure = judged(one_by_one, 0.4)[1], judged(grouped, 0.4)[1]

    assert certain.state == "pruned"
    assert unsure.state == "complete"
    assert unsure.log_e < certain.log_e


# What still runs


def curve(trial, final=0.9, *, start=0.5, n=16, **more):
    """Return a complete trial that rises evenly."""
    return outcome(trial, np.linspace(start, final, n).tolist(), **more)


def running(trial, value=0.1, n=8, planned=16):
    return outcome(trial, [value] * n, state="running", planned=planned)


@pytest.fixture
def guard(small_task):
    task = make_task(small_task)
    return make_guard(task, proba(task.y, 0.9, 1)[task.split.guard])


def known(n, **more):
    return [curve(t, **more) for t in PLAIN[:n]]


def test_nothing_is_stopped_before_enough_is_known(guard):
    # With alpha = 0.05, 19 curves are the fewest whose largest bounds another's.
    trial = running(PLAIN[50])

    assert guard.watch(trial, known(18)) == ""
    assert not trial.doubted
    assert trial.unselected
    assert "does not reach the floor" in guard.watch(trial, known(19))
    assert trial.doubted
    assert not trial.audited


def test_what_may_still_reach_the_floor_goes_on(guard):
    assert guard.watch(running(PLAIN[50], value=0.7), known(30)) == ""
    assert guard.watch(running(PLAIN[50], n=1), known(30)) == ""  # before the first look
    assert guard.watch(running(PLAIN[50], value=0.1), known(30, start=0.0, final=0.95)) == ""


def test_audited_trials_run_on_and_are_marked(guard):
    trial = running(AUDITED[0])

    assert guard.watch(trial, known(30)) == ""
    assert trial.doubted
    assert trial.audited
    assert trial.unselected  # it stays a fair sample of all trials


def test_trials_that_could_have_been_stopped_teach_nothing_of_gains(guard):
    could = [dataclasses.replace(o, unselected=False) for o in known(30)]

    assert guard.watch(running(PLAIN[50]), could) == ""
    lived = running(PLAIN[50], value=0.75)
    guard.watch(lived, known(30))
    assert not lived.unselected


@pytest.mark.parametrize(
    "others",
    [
        known(30, tuned=False),
        [dataclasses.replace(o, state="failed") for o in known(30)],
        [dataclasses.replace(o, state="paused") for o in known(30)],
        [outcome(t, [0.9], planned=1) for t in PLAIN[:30]],  # nothing to gain in one step
    ],
    ids=["probes", "failed", "paused", "plans of one step"],
)
def test_gains_are_learnt_from_tuned_trials_that_ran_to_their_end(guard, others):
    assert guard.watch(running(PLAIN[50]), others) == ""


def test_a_complete_trial_without_a_value_harms_no_other(guard):
    empty = outcome(PLAIN[60], [], planned=5)

    assert guard.watch(running(PLAIN[50]), [*known(30), empty]) != ""


def test_shipped_gains_are_used_until_the_search_has_its_own(small_task):
    task = make_task(small_task)
    shipped = np.zeros((40, 7))  # elsewhere nothing was ever gained late
    guard = make_guard(task, proba(task.y, 0.9, 1)[task.split.guard], shipped=shipped)

    assert guard.watch(running(PLAIN[50], value=0.5), []) != ""


def test_without_a_floor_nothing_is_stopped(small_task):
    guard = make_guard(make_task(small_task), None, floor=None)

    assert guard.watch(running(PLAIN[50]), known(30)) == ""


# What is told in the end


def test_the_summary_says_what_was_done(guard):
    stopped = dataclasses.replace(running(PLAIN[50]), state="pruned", doubted=True)
    wrong = curve(AUDITED[0], 0.9, doubted=True, audited=True)
    right = curve(AUDITED[1], 0.6, doubted=True, audited=True)
    sure = curve(PLAIN[51], 0.5, log_e=8.0, discordance=0.4)
    fine = curve(PLAIN[52], 0.9, log_e=-2.0, discordance=0.1)

    found = guard.summary([stopped, wrong, right, sure, fine])

    assert set(found) == {
        "kind", "n_examples", "alpha", "detectable_gap", "n_judged", "n_stopped", "n_audited",
        "n_doubted", "false_prunes", "false_prune_limit", "flags",
    }  # fmt: skip
    assert (found["kind"], found["n_examples"], found["alpha"]) == ("certificate", 200, 0.05)
    assert (found["n_stopped"], found["n_audited"], found["n_doubted"]) == (1, 2, 2)
    assert found["false_prunes"] == 1  # it ended above the floor after all
    assert 0.5 < found["false_prune_limit"] <= 1
    assert found["flags"] == [PLAIN[51]]
    assert found["n_judged"] == 2
    assert 0.02 < found["detectable_gap"] < 0.5


def test_an_audited_trial_that_the_certificate_ended_counts_as_audited(guard):
    ended = [
        dataclasses.replace(
            curve(t, 0.5, doubted=True, audited=True), state="pruned", log_e=9.0, discordance=0.5
        )
        for t in AUDITED[:20]
    ]

    found = guard.summary(ended)

    assert found["n_audited"] == found["n_doubted"] == 20
    assert found["false_prunes"] == 0
    assert found["false_prune_limit"] < 0.2


def test_the_summary_of_nothing(guard):
    found = guard.summary([])

    assert (found["n_judged"], found["n_stopped"], found["flags"]) == (0, 0, [])
    assert found["false_prune_limit"] == 1
    assert found["detectable_gap"] is None
