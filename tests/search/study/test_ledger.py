"""A study goes on with what an earlier one left."""

import shutil

import pytest

from autotl.search.study import ledger as ledger_module
from autotl.search.study.candidate import GIVEN_UP


def test_a_search_goes_on_with_more_trials(toys, folder):
    first = toys.search(folder, trials=8)
    second = toys.search(folder, trials=14, earlier=50.0)

    assert toys.shown(second)[:8] == toys.shown(first) or second.runner.continued
    assert len(second.outcomes) == 14
    assert len(second.runner.begun) == 6
    assert set(second.rows) == set(range(14))  # the old ones have rows too
    assert toys.repeats(second) == []
    new = [o for o in second.outcomes if o.trial >= 8]
    assert all(o.finished_at >= 50.0 for o in new)


def test_a_search_that_goes_on_draws_what_it_has_not_drawn(toys, folder):
    only = {"methods": (toys.TUNED,), "backbones": ("a",)}
    toys.search(folder, trials=4, **only)

    second = toys.search(folder, trials=8, **only)

    assert toys.repeats(second) == []
    assert len({o.candidate.key() for o in second.outcomes}) == 8


def test_what_was_best_stays_best(toys, folder):
    first = toys.search(folder, trials=10)
    second = toys.make_study(folder, trials=10)

    assert second.best.trial == first.best.trial
    stored = second.records.predictor(second.best)
    assert float(stored.tensors["value"][0]) == first.best.value


def test_a_killed_trial_is_run_again_and_no_other_is_lost(toys, folder):
    picture = toys.kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()

    after = toys.search(picture.copy, trials=12)

    assert after.runner.begun[0][1].key() == lost
    fates = [o for o in after.outcomes if o.candidate.key() == lost]
    assert [o.trial for o in fates if o.state == "failed"] == [6]
    assert any(o.trial > 6 and o.history for o in fates)
    ended = [o for o in after.outcomes if o.trial < 6]
    assert len(ended) == 6
    assert all(o.value is not None for o in ended)
    assert len(after.outcomes) == 13  # twelve, and the one that was lost
    assert toys.repeats(after) == []


def test_a_search_that_is_killed_before_it_could_run_a_trial_again(toys, folder):
    picture = toys.kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()
    toys.make_study(picture.copy, trials=12)  # takes up what was in flight, and is killed in turn

    after = toys.search(picture.copy, trials=12)

    assert any(o.candidate.key() == lost and o.history for o in after.outcomes)
    assert toys.repeats(after) == []
    assert len([o for o in after.outcomes if o.state != "failed"]) == 12


def test_a_trial_killed_between_its_record_and_the_journal_is_not_lost(toys, folder, monkeypatch):
    study = toys.make_study(folder, trials=6)
    tell, copy = ledger_module.tell, folder.with_name("killed")

    def tell_or_die(stored, outcome):
        if outcome.trial == 3:
            shutil.copytree(folder, copy)
            raise toys.Killed
        tell(stored, outcome)

    monkeypatch.setattr(ledger_module, "tell", tell_or_die)
    with pytest.raises(toys.Killed):
        study.run()
    key, value = study.outcomes[3].candidate.key(), study.outcomes[3].value
    monkeypatch.setattr(ledger_module, "tell", tell)

    for _ in range(2):  # also when it is taken up once more
        after = toys.search(copy, trials=6)
        found = [o for o in after.outcomes if o.candidate.key() == key and o.state == "complete"]
        assert [o.value for o in found] == [value]


def test_a_paused_trial_goes_on_in_a_later_run(toys, folder):
    trial = toys.search(trials=16).runner.continued[0][0]
    copy = kill_going_on(toys, folder, folder.with_name("copy"), trial)

    second = toys.search(copy, trials=16)

    assert trial not in {n for n, _ in second.runner.begun}
    assert trial in {n for n, _ in second.runner.continued}


def test_a_paused_trial_killed_while_it_went_on_waits_where_it_was(toys, folder):
    runner = toys.Runner()
    toys.search(folder, trials=16, runner=runner)
    trial = runner.continued[0][0]
    copy = folder.with_name("copy")

    def on_step(outcome):
        if outcome.trial == trial and going_on.continued:
            shutil.copytree(fresh, copy)
            raise toys.Killed

    fresh = folder.with_name("fresh")
    fresh.mkdir()
    going_on = toys.Runner(on_step=on_step)
    with pytest.raises(toys.Killed):
        toys.search(fresh, trials=16, runner=going_on)

    after = toys.make_study(copy, trials=16)
    assert after.outcomes[trial].state == "paused"
    after.run()
    assert toys.shown(after)[trial][0] == trial
    assert all(o.reason != "in flight" for o in after.outcomes)


def test_an_interrupt_keeps_what_was_measured(toys, folder):
    def on_step(outcome):
        if outcome.trial == 5 and len(outcome.history) == 2:
            raise KeyboardInterrupt

    study = toys.search(
        folder, trials=12, runner=toys.Runner(lambda c: [0.2, 0.3, 0.4], on_step=on_step)
    )

    assert study.stopped_by == "interrupt"
    assert len(study.outcomes) == 6
    assert study.outcomes[5].reason == "interrupted"
    assert study.outcomes[5].value == 0.3


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_trial_is_run_again(toys, folder, at):
    def on_step(outcome):
        if outcome.trial == 5 and len(outcome.history) == at:
            raise KeyboardInterrupt

    curve = [0.2, 0.3, 0.9]
    study = toys.search(folder, trials=12, runner=toys.Runner(lambda c: curve, on_step=on_step))
    cut = study.outcomes[5].candidate.key()

    after = toys.search(folder, trials=12, runner=toys.Runner(lambda c: curve))

    again = [o for o in after.outcomes if o.candidate.key() == cut and o.trial != 5]
    assert [len(o.history) for o in again] == [3]


# What ends its process


def test_a_trial_that_was_lost_twice_is_given_up(toys, folder):
    picture = toys.kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()
    again = toys.kill(picture.copy, of=7, at=1, trials=12)
    assert again.outcome.candidate.key() == lost

    after = toys.search(again.copy, trials=12)

    assert lost not in {c.key() for _, c in after.runner.begun}
    assert (after.outcomes[7].state, after.outcomes[7].reason) == ("failed", GIVEN_UP)
    assert {6, 7} <= set(after.rows)  # both stay in the leaderboard
    assert after.stopped_by == "trials"
    assert len([o for o in after.outcomes if not o.lost]) == 12
    later = toys.make_study(again.copy, trials=12)
    assert later.outcomes[7].reason == GIVEN_UP


def test_what_waits_to_be_run_again_is_not_lost_twice(toys, folder):
    picture = toys.kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()
    changed = {"backbones": ("a", "b", "c"), "accept_changes": True}
    for more in ({}, {}, changed):
        toys.make_study(picture.copy, trials=12, **more)  # takes it up, and is killed in turn

    after = toys.search(picture.copy, trials=12, **changed)

    assert after.runner.begun[0][1].key() == lost
    assert GIVEN_UP not in {o.reason for o in after.outcomes}


def test_a_trial_that_was_lost_twice_is_given_up_in_a_changed_space(toys, folder):
    picture = toys.kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()
    again = toys.kill(picture.copy, of=7, at=1, trials=12)

    after = toys.search(again.copy, trials=12, backbones=("a", "b", "c"), accept_changes=True)

    assert after.outcomes[7].reason == GIVEN_UP
    assert lost not in {c.key() for _, c in after.runner.begun}


def test_an_interrupt_is_no_loss(toys, folder):
    def press(outcome):
        if outcome.candidate.key() == first and len(outcome.history) == 2:
            raise KeyboardInterrupt

    first = toys.search(folder.parent / "other", trials=6).outcomes[5].candidate.key()
    for _ in range(3):
        toys.search(folder, trials=12, runner=toys.Runner(on_step=press))
    after = toys.search(folder, trials=12)

    assert any(o.candidate.key() == first and len(o.history) > 2 for o in after.outcomes)
    assert GIVEN_UP not in {o.reason for o in after.outcomes}


def kill_going_on(toys, folder, copy, trial):
    """Search until a paused trial has gone on for a step; the copy is what a killed one left."""

    def on_step(outcome):
        if outcome.trial == trial and runner.continued:
            shutil.copytree(folder, copy)
            raise toys.Killed

    runner = toys.Runner(on_step=on_step)
    with pytest.raises(toys.Killed):
        toys.search(folder, trials=16, runner=runner)
    return copy


def test_a_paused_trial_that_was_lost_twice_as_it_went_on_is_given_up(toys, folder):
    trial = toys.search(trials=16).runner.continued[0][0]
    once = kill_going_on(toys, folder, folder.with_name("once"), trial)
    twice = kill_going_on(toys, once, folder.with_name("twice"), trial)

    after = toys.search(twice, trials=16)

    given_up = after.outcomes[trial]
    assert (given_up.state, given_up.reason) == ("failed", GIVEN_UP)
    assert given_up.history  # what it had shown before stays in its row
    assert trial not in {n for n, _ in after.runner.begun + after.runner.continued}
    assert not list(after.records.folder.glob(f"{trial:05d}-*"))
    assert after.best.trial != trial
    assert after.stopped_by == "trials"


# In a changed space


def test_old_results_and_lost_trials_survive_a_changed_space(toys, folder):
    picture = toys.kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()

    after = toys.search(picture.copy, trials=12, backbones=("a", "b", "c"), accept_changes=True)

    old = {o.trial: o for o in after.outcomes if o.trial < 6}
    assert all(o.value is not None for o in old.values())
    assert any(o.candidate.key() == lost and o.history for o in after.outcomes)
    assert {o.candidate.backbone for o in after.outcomes} == {"a", "b", "c"}


def test_a_paused_trial_survives_a_changed_space(toys, folder):
    trial = toys.search(trials=16).runner.continued[0][0]
    copy = kill_going_on(toys, folder, folder.with_name("copy"), trial)

    after = toys.search(copy, trials=40, backbones=("a", "b", "c"), accept_changes=True)

    assert trial in {n for n, _ in after.runner.continued}


def test_results_of_a_backbone_that_is_gone_stay_in_the_leaderboard(toys, folder):
    first = toys.search(folder, trials=10)
    gone = {o.trial: o.value for o in first.outcomes if o.candidate.backbone == "b"}
    assert gone

    after = toys.search(folder, trials=12, backbones=("a",), accept_changes=True)

    assert gone.keys() <= {o.trial for o in after.outcomes}
    assert after.best.candidate.backbone == "a"
