"""Workers of one study."""

import pytest

from autotl.search.study.candidate import GIVEN_UP


def test_workers_begin_what_each_was_given(toys, folder):
    toys.make_study(folder, trials=9)  # the parent
    one = toys.search(folder, trials=5, worker="0-0")
    other = toys.search(folder, trials=4, worker="0-1")

    assert (len(one.runner.begun), len(other.runner.begun)) == (5, 4)
    assert set(one.rows) == set(range(5))  # a worker speaks of its own trials only
    parent = toys.make_study(folder, trials=9)
    assert len(parent.outcomes) == 9
    assert toys.repeats(parent) == []


def test_workers_do_not_draw_alike(toys, folder):
    only = {"methods": (toys.TUNED,), "backbones": ("a",)}
    toys.make_study(folder, **only)
    for k in range(3):
        toys.search(folder, trials=4, worker=f"0-{k}", **only)

    parent = toys.make_study(folder, **only)

    assert toys.repeats(parent) == []
    assert len({o.candidate.key() for o in parent.outcomes}) == 12


def test_the_successor_of_a_killed_worker_runs_its_trial_again(toys, folder):
    picture = toys.kill(folder, of=5, trials=8, worker="0-0")
    lost = picture.outcome.candidate.key()

    successor = toys.search(picture.copy, trials=8, worker="0-0")

    assert successor.runner.begun[0][1].key() == lost
    done = [o for o in toys.make_study(picture.copy).outcomes if o.state != "failed"]
    assert len(done) == 8


@pytest.mark.parametrize("names", [("0-0", "0-0"), ("0-0", "0-1")])
def test_a_trial_that_ends_two_workers_is_given_up(toys, folder, names):
    picture = toys.kill(folder, of=5, trials=8, worker=names[0])
    lost = picture.outcome.candidate.key()
    if names[0] != names[1]:
        toys.make_study(picture.copy, worker=names[0])  # the successor, whose other takes it
    again = toys.kill(picture.copy, of=6, at=1, trials=8, worker=names[1])
    assert again.outcome.candidate.key() == lost

    successor = toys.search(again.copy, trials=8, worker=names[1])

    assert lost not in {c.key() for _, c in successor.runner.begun}
    assert len(successor.runner.begun) >= 2
    assert successor.stopped_by == "trials"
    parent = toys.make_study(again.copy)
    assert parent.outcomes[6].reason == GIVEN_UP
    assert 6 in parent.rows


def test_a_paused_trial_whose_worker_ended_is_taken_in_as_paused(toys, folder):
    study = toys.search(folder, trials=16, worker="0-0")
    paused = next(o for o in study.outcomes if o.state == "paused")
    study.ledger.reopen(paused)  # it goes on, and the worker ends

    parent = toys.make_study(folder, worker="other")
    parent.sync()
    assert paused.trial not in {o.trial for o in parent.outcomes}
    parent.sync(paused=True)
    assert {o.trial: o.state for o in parent.outcomes}[paused.trial] == "paused"


def test_another_worker_may_take_the_lost_trial(toys, folder):
    picture = toys.kill(folder, of=5, trials=8, worker="0-0")
    lost = picture.outcome.candidate.key()
    other = toys.make_study(picture.copy, trials=3, worker="0-1")
    other.sync()  # while the lost one seemed to run
    toys.make_study(picture.copy, trials=8, worker="0-0")  # the successor, not begun yet

    other.run()

    assert other.runner.begun[0][1].key() == lost
    assert toys.repeats(other) == []


def test_workers_run_again_what_was_in_flight_before_the_search_was_taken_up(toys, folder):
    picture = toys.kill(folder, of=4, trials=10)
    lost = picture.outcome.candidate.key()
    parent = toys.make_study(picture.copy, trials=10)

    worker = toys.search(picture.copy, trials=3, worker="5-0")

    assert worker.runner.begun[0][1].key() == lost
    assert toys.repeats(worker) == []
    parent.sync(paused=True)
    assert any(o.candidate.key() == lost and o.history for o in parent.outcomes)


def test_a_worker_leaves_the_trials_of_others_alone(toys, folder):
    picture = toys.kill(folder, of=5, trials=8, worker="0-0")

    other = toys.search(picture.copy, trials=2, worker="0-1")

    assert picture.outcome.candidate.key() not in {c.key() for _, c in other.runner.begun}
    assert len(other.runner.begun) == 2
