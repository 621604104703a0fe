"""Which paused trial goes on, and that a pause changes nothing of what a trial shows."""

import numpy as np
import pytest

from autotl.data import build_task
from autotl.features import BackboneSession
from autotl.registry import get_registry
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.evaluate import Evaluation
from autotl.search.study.extrapolation import Extrapolation
from autotl.search.study.pausing import best_paused
from autotl.search.study.records import TrialRecords
from autotl.testing.fakes import fake_backbone, toy_images


def outcome(trial, history, *, state="paused", planned=10, cost=1.0):
    return Outcome(
        trial=trial, candidate=Candidate(backbone="b", adaptation="m", params={"lr": trial}),
        state=state, history=list(history), value=max(history, default=None), tuned=True,
        costs=[cost * (i + 1) for i in range(len(history))], planned_steps=planned,
    )  # fmt: skip


def chosen(outcomes, bar=0.5, left=1000.0):
    found = best_paused(outcomes, bar, left, Extrapolation(share=True))
    return found and found.outcome.trial


def test_the_better_of_two_goes_on():
    assert chosen([outcome(1, [0.5] * 3), outcome(2, [0.6] * 3)], bar=0.6) == 2


def test_the_cheaper_of_equals_goes_on():
    others = [outcome(1, [0.5] * 3, cost=5.0), outcome(2, [0.5] * 3, cost=2.0)]

    assert chosen(others, bar=0.6) == 2


def test_only_paused_trials_that_were_measured_go_on():
    others = [
        outcome(1, [0.9] * 3, state="complete"), outcome(2, [0.9] * 3, state="running"),
        outcome(3, []), outcome(4, [0.9] * 3, state="pruned"),
    ]  # fmt: skip

    assert chosen(others) is None
    assert chosen([]) is None


def test_what_is_nearly_done_and_close_goes_before_what_has_only_begun():
    early, late = outcome(1, [0.5] * 2), outcome(2, [0.79] * 8)

    assert chosen([early, late], bar=0.8) == 2


def test_what_does_not_fit_into_the_time_does_not_go_on():
    waiting = [outcome(1, [0.5] * 3, cost=2.0)]  # seven steps of two seconds

    assert chosen(waiting, left=13.9) is None
    assert chosen(waiting, left=14.1) == 1


def test_gains_to_come_are_learnt_from_trials_that_ran_on():
    waiting = outcome(1, [0.6] * 3, planned=9)
    late = [0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5, 0.5, 0.5]
    flat = [0.5] * 9

    def gain(history):
        ran_on = [outcome(t, history, state="complete", planned=9) for t in range(5, 15)]
        return best_paused([waiting, *ran_on], 0.8, 1000.0, Extrapolation(share=True)).gain

    assert gain(late) > 5 * gain(flat)


def test_without_shares_the_spread_of_values_says_what_may_come():
    waiting = outcome(1, [10.0] * 3)
    alike = [outcome(t, [11.0 + t / 100] * 10, state="complete") for t in (2, 3)]
    apart = [outcome(t, [5.0 * t] * 10, state="complete") for t in (2, 3)]

    def gain(others):
        return best_paused([waiting, *others], 20.0, 1000.0, Extrapolation(share=False)).gain

    assert gain(apart) > gain(alike)


def test_without_a_bar_any_value_counts():
    assert chosen([outcome(1, [0.1] * 3)], bar=None) == 1


# A pause changes nothing


SPACE = {
    "freeze_fraction": 0.4, "lr": 2e-3, "weight_decay": 1e-3, "epochs": 6, "augment": 0.7,
    "label_smoothing": 0.1, "batch_norm": "train",
}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return toy_images(900)


def make_task(images, n):
    pixels, y = images
    task = build_task(pixels[:n], y[:n].tolist(), guard=True)
    return task, BackboneSession(fake_backbone(), task.samples, task.modality)


def evaluation(task, session, method):
    candidate = Candidate(backbone="fake/tiny", adaptation=method, params=SPACE)
    spec = get_registry().adaptations.get(method)
    outcome = Outcome(trial=3, candidate=candidate, state="running")
    return Evaluation(outcome, spec, session, task, None, 5, timed=False)


def pause_at(*steps):
    """Return a report that pauses after these steps."""
    counter = iter(range(1, 100))
    return lambda _seconds: ("paused", "others were better") if next(counter) in steps else None


@pytest.mark.parametrize(
    ("method", "n", "n_folds"), [("lp_ft", 60, 5), ("fine_tune", 60, 5), ("lp_ft", 900, 1)]
)
def test_a_trial_that_was_paused_twice_equals_one_that_was_not(
    images, tmp_path, method, n, n_folds
):
    task, session = make_task(images, n)
    assert len(task.split.folds) == n_folds
    n_steps = 4
    whole = evaluation(task, session, method).run(n_steps, lambda _: None)

    first = evaluation(task, session, method)
    first.run(n_steps, pause_at(1))
    assert first.outcome.state == "paused"
    assert len(first.states) == n_folds
    records = TrialRecords(tmp_path)
    for at in (2, 99):  # each time through the disk, as in another process
        records.pause(3, first.states)
        records.write(first.outcome)
        again = TrialRecords(tmp_path)
        found = again.read(3)
        again.predictor(found)
        # Another session, as another process would open it.
        first = Evaluation(found, first.spec, make_task(images, n)[1], task, None, 5, timed=False)
        first.run(n_steps, pause_at(at - 1), again.paused(3, n_folds))
    parts = first.outcome

    assert parts.history == whole.history
    assert (parts.value, parts.log_loss, parts.steps) == (whole.value, whole.log_loss, whole.steps)
    assert (parts.state, parts.costs) == (whole.state, whole.costs)
    np.testing.assert_array_equal(parts.proba, whole.proba)
    for name, tensor in whole.saved.tensors.items():
        np.testing.assert_array_equal(np.asarray(parts.saved.tensors[name]), np.asarray(tensor))


def test_the_predictor_on_the_disk_is_the_one_of_the_best_step(images, tmp_path):
    task, session = make_task(images, 60)
    records = TrialRecords(tmp_path)
    one = evaluation(task, session, "fine_tune")
    one.run(6, pause_at(1))
    records.pause(3, one.states)
    records.write(one.outcome)
    value = one.outcome.value

    one.run(6, lambda _: None, records.paused(3, 5))
    records.write(one.outcome)

    assert one.outcome.value > value  # it has improved, or this shows nothing
    stored = records.predictor(TrialRecords(tmp_path).read(3))
    for name, tensor in one.outcome.saved.tensors.items():
        np.testing.assert_array_equal(np.asarray(stored.tensors[name]), np.asarray(tensor))


def test_a_trial_that_was_paused_may_end_by_patience_counted_over_the_pause(images):
    task, session = make_task(images, 60)
    one = evaluation(task, session, "lp_ft")
    one.run(8, pause_at(2))
    one.outcome.value, one.outcome.steps = 2.0, 1  # never to be beaten

    one.run(8, lambda _: None, one.states)

    assert one.outcome.state == "complete"
    assert len(one.outcome.history) == 4
    assert "no gain" in one.outcome.reason
