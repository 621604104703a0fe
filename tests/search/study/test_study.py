"""The study as a machine of states, on a runner that takes no time."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from autotl.search.budget import Budget
from autotl.search.study import study as study_module
from autotl.search.study.candidate import Candidate
from autotl.search.study.chooser import Chooser
from autotl.search.study.halving import CostHalving
from autotl.search.study.portfolio import Portfolio
from autotl.search.study.posterior import MethodPrior, Scale
from autotl.search.study.records import TrialRecords
from autotl.search.study.space import SearchSpace
from autotl.search.study.study import Study
from autotl.specs import AdaptationSpec, Choice, Range, SavedState
from autotl.testing.fakes import fake_adaptation

N_STEPS = 12
PROBE = AdaptationSpec(
    name="probe", steps=fake_adaptation().steps, restore=fake_adaptation().restore,
    space={"solver": Choice(options=("ridge", "logistic")), "scaling": Choice(options=(1, 2))},
    defaults={"solver": "logistic", "scaling": 1},
)  # fmt: skip
TUNED = AdaptationSpec(
    name="tuned", steps=fake_adaptation().steps, restore=fake_adaptation().restore,
    space={"lr": Range(low=1e-5, high=1e-1, log=True)}, defaults={"lr": 1e-3},
    trains_backbone=True,
)  # fmt: skip


class Killed(BaseException):
    """Ends a run where a real one is killed; what it left is looked at in a copy."""


def rise(candidate):
    """Return a learning curve whose height the learning rate decides."""
    if candidate.adaptation == "probe":
        return [0.5]
    # The defaults are far from the best, so that what comes later takes the lead.
    height = 0.9 - 0.1 * abs(np.log10(candidate.params["lr"]) + 2)
    return [float(height * (1 - 0.5**k)) for k in range(1, N_STEPS + 1)]


class Runner:
    """Plays curves; `on_step(outcome)` may raise."""

    def __init__(self, curve=rise, on_step=lambda outcome: None):
        self.curve, self.on_step = curve, on_step
        self.begun, self.continued = [], []

    def plan(self, candidate, left, *, first):
        return N_STEPS, ""

    def predict(self, outcome, rows):
        return None

    def run(self, outcome, until, report, states=None):
        log = self.continued if states else self.begun
        log.append((outcome.trial, outcome.candidate))
        outcome.state, outcome.tuned = "running", outcome.candidate.adaptation == "tuned"
        curve = self.curve(outcome.candidate)
        if states:
            assert [s.config["done"] for s in states] == [len(outcome.history)] * 2
        for value in curve[len(outcome.history) :]:
            self.step(outcome, value)
            self.on_step(outcome)
            signal = report(0.0)
            if signal is not None:
                outcome.state, outcome.reason = signal
                saved = SavedState(
                    tensors={"x": np.zeros(1)}, config={"done": len(outcome.history)}
                )
                return [saved, saved] if signal[0] == "paused" else []
        outcome.state, outcome.reason = "complete", "all steps done"
        return []

    def step(self, outcome, value):
        outcome.history.append(value)
        outcome.costs.append(float(len(outcome.history)))
        if outcome.value is None or value > outcome.value:
            outcome.value, outcome.steps, outcome.log_loss = value, len(outcome.history), 1 - value
            outcome.proba = np.eye(2)
            outcome.saved = SavedState(
                tensors={"value": np.array([value])}, config={"trial": outcome.trial}
            )


class Silent:
    """A guard that says nothing."""

    def watch(self, outcome, outcomes):
        return ""

    def judge(self, outcome):
        return None

    def spares(self, trial):
        return False


def cost(spec, candidate, left):
    return 1.0 if spec is PROBE else 5.0


def make_study(
    folder=None, *, trials=None, runner=None, backbones=("a", "b"), methods=(PROBE, TUNED),
    seed=0, worker=None, floor=0.1, earlier=0.0, accept_changes=False, on_outcome=None,
):  # fmt: skip
    space = SearchSpace(list(backbones), methods)
    screened = {
        name: SimpleNamespace(
            expectation=SimpleNamespace(expected=0.7, spread=0.05, methods={}, level_spread=0.0),
            name=name,
        )
        for name in backbones
    }
    chooser = Chooser(
        space, screened, SimpleNamespace(cost=cost), Portfolio([]),
        {"probe": MethodPrior(), "tuned": MethodPrior(gain=0.1, spread=0.4)},
        Scale(level_spread=0.5),
    )  # fmt: skip
    rows = []
    study = Study(
        space=space, chooser=chooser, runner=runner or Runner(), halving=CostHalving(2.0),
        guard=Silent(), records=TrialRecords(folder / "trials" if folder else None),
        budget=Budget(600.0, trials, earlier=earlier), seed=seed, floor=floor,
        reserve=lambda best: 0.0, on_outcome=on_outcome or (lambda o: rows.append(o.trial)),
        journal=folder / "study.journal" if folder else None, n_folds=2, worker=worker,
        accept_changes=accept_changes,
    )  # fmt: skip
    study.rows = rows
    return study


def search(folder=None, **more):
    study = make_study(folder, **more)
    study.run()
    return study


def shown(study):
    return [(o.trial, o.candidate.key(), o.state, o.value, o.history) for o in study.outcomes]


def repeats(study):
    return [o.reason for o in study.outcomes if "the same as" in o.reason]


class Picture:
    """Copies a run's folder at some step: what a killed process leaves."""

    def __init__(self, folder, of, at=2):
        self.folder, self.of, self.at = folder, of, at
        self.copy = folder.with_name(folder.name + "-killed")
        self.outcome = None

    def __call__(self, outcome):
        if outcome.trial == self.of and len(outcome.history) == self.at:
            shutil.copytree(self.folder, self.copy)
            self.outcome = outcome
            raise Killed


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    made.mkdir()
    return made


def kill(folder, of, at=2, **more):
    """Search until a step of a trial; returns the picture of that moment."""
    picture = Picture(folder, of, at)
    with pytest.raises(Killed):
        search(folder, runner=Runner(on_step=picture), **more)
    return picture


# A search


def test_so_many_trials_as_were_asked_for():
    study = search(trials=9)

    assert len(study.outcomes) == len(study.runner.begun) == 9
    assert study.stopped_by == "trials"
    assert set(study.rows) == set(range(9))


def test_every_trial_says_why_it_was_tried_and_why_it_ended():
    study = search(trials=12)

    assert all(o.why and o.reason for o in study.outcomes)
    assert any("portfolio" in o.why for o in study.outcomes)
    assert any("sampler" in o.why for o in study.outcomes)


def test_the_same_seed_tries_the_same():
    assert shown(search(trials=15, seed=3)) == shown(search(trials=15, seed=3))
    assert shown(search(trials=15, seed=3)) != shown(search(trials=15, seed=4))


def test_nothing_is_tried_twice():
    study = search(trials=25)

    assert repeats(study) == []
    assert len({o.candidate.key() for o in study.outcomes}) == 25


def test_a_space_that_is_used_up_ends_the_search():
    study = search(trials=50, methods=(PROBE,), backbones=("a",))

    assert len(study.outcomes) == 4
    assert study.stopped_by == "space"


def test_trials_are_paused_for_better_ones_and_the_best_is_complete():
    study = search(trials=20)

    states = {o.state for o in study.outcomes}
    assert "paused" in states
    assert study.best.state == "complete"
    assert study.best.value == max(o.value for o in study.outcomes)
    assert all(len(o.history) < N_STEPS for o in study.outcomes if o.state == "paused")


def test_a_paused_trial_goes_on_from_its_states():
    study = search(trials=30)

    assert study.runner.continued  # the runner checks the states
    again = {trial for trial, _ in study.runner.continued}
    assert again <= {trial for trial, _ in study.runner.begun}
    left = [p.name for p in study.records.folder.glob("*fold*")]
    paused = {f"{o.trial:05d}" for o in study.outcomes if o.state == "paused"}
    assert {name.split("-")[0] for name in left} == paused


def test_a_failing_method_fails_its_trials_and_no_others():
    def curve(candidate):
        if candidate.adaptation == "tuned":
            raise ValueError("the method's own bug")
        return [0.5]

    study = search(trials=10, runner=Runner(curve))

    failed = [o for o in study.outcomes if o.state == "failed"]
    assert failed
    assert all("the method's own bug" in o.reason and o.traceback for o in failed)
    assert all(o.value is None for o in failed)
    assert sum(o.state == "complete" for o in study.outcomes) >= 5
    assert len(study.outcomes) == 10


def test_a_shelf_on_which_everything_fails_ends_the_search():
    calls = []

    def curve(candidate):
        calls.append(candidate)
        if len(calls) > 150:  # the clock would end it, after hours of nothing
            raise Killed
        raise ValueError("broken")

    study = search(runner=Runner(curve))

    assert {o.state for o in study.outcomes} == {"failed"}
    assert study.best is None


def test_a_method_that_ends_before_its_first_step_costs_its_own_trial_only():
    study = search(trials=8, runner=Runner(lambda c: rise(c) if c.adaptation == "probe" else []))

    assert len(study.outcomes) == 8
    empty = [o for o in study.outcomes if o.candidate.adaptation == "tuned"]
    assert empty
    assert {o.state for o in empty} == {"failed"}
    assert study.best.value == 0.5


def test_a_plan_that_fails_costs_its_own_trial_only():
    class Planless(Runner):
        def plan(self, candidate, left, *, first):
            if candidate.backbone == "a":
                raise MemoryError("while its layers were timed")
            return N_STEPS, ""

    study = search(trials=8, runner=Planless())

    failed = [o for o in study.outcomes if o.state == "failed"]
    assert {o.candidate.backbone for o in failed} == {"a"}
    assert "its layers were timed" in failed[0].reason
    assert study.best.candidate.backbone == "b"


def test_without_hope_the_search_ends_by_the_floor():
    study = search(
        runner=Runner(lambda c: [0.05] * (1 if c.adaptation == "probe" else N_STEPS)), floor=0.95
    )

    assert study.stopped_by == "floor"
    assert "nothing beat the floor" in study.stop_reason
    assert len(study.outcomes) < 60


def test_predictors_are_kept_of_the_best_only(folder):
    study = search(folder, trials=20)

    best = {o.trial for o in study._best.values()}
    paused = {o.trial for o in study.outcomes if o.state == "paused"}
    kept = {int(p.stem.split("-")[0]) for p in study.records.folder.glob("*-predictor.json")}
    assert best <= kept <= best | paused
    reread = TrialRecords(study.records.folder)
    found = reread.predictor(reread.read(study.best.trial))
    assert float(found.tensors["value"][0]) == study.best.value


# Going on


def test_a_search_goes_on_with_more_trials(folder):
    first = search(folder, trials=8)
    second = search(folder, trials=14, earlier=50.0)

    assert shown(second)[:8] == shown(first) or second.runner.continued
    assert len(second.outcomes) == 14
    assert len(second.runner.begun) == 6
    assert set(second.rows) == set(range(14))  # the old ones have rows too
    assert repeats(second) == []
    new = [o for o in second.outcomes if o.trial >= 8]
    assert all(o.finished_at >= 50.0 for o in new)


def test_a_search_that_goes_on_draws_what_it_has_not_drawn(folder):
    only = {"methods": (TUNED,), "backbones": ("a",)}
    search(folder, trials=4, **only)

    second = search(folder, trials=8, **only)

    assert repeats(second) == []
    assert len({o.candidate.key() for o in second.outcomes}) == 8


def test_what_was_best_stays_best(folder):
    first = search(folder, trials=10)
    second = make_study(folder, trials=10)

    assert second.best.trial == first.best.trial
    stored = second.records.predictor(second.best)
    assert float(stored.tensors["value"][0]) == first.best.value


def test_a_killed_trial_is_run_again_and_no_other_is_lost(folder):
    picture = kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()

    after = search(picture.copy, trials=12)

    assert after.runner.begun[0][1].key() == lost
    fates = [o for o in after.outcomes if o.candidate.key() == lost]
    assert [o.trial for o in fates if o.state == "failed"] == [6]
    assert any(o.trial > 6 and o.history for o in fates)
    ended = [o for o in after.outcomes if o.trial < 6]
    assert len(ended) == 6
    assert all(o.value is not None for o in ended)
    assert len(after.outcomes) == 13  # twelve, and the one that was lost
    assert repeats(after) == []


def test_a_search_that_is_killed_before_it_could_run_a_trial_again(folder):
    picture = kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()
    make_study(picture.copy, trials=12)  # takes up what was in flight, and is killed in turn

    after = search(picture.copy, trials=12)

    assert any(o.candidate.key() == lost and o.history for o in after.outcomes)
    assert repeats(after) == []
    assert len([o for o in after.outcomes if o.state != "failed"]) == 12


def test_a_trial_killed_twice_is_run_a_third_time(folder):
    picture = kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()
    again = kill(picture.copy, of=7, at=1, trials=12)
    assert again.outcome.candidate.key() == lost

    after = search(again.copy, trials=12)

    assert any(o.candidate.key() == lost and o.history for o in after.outcomes)
    assert len([o for o in after.outcomes if o.state != "failed"]) == 12


def test_a_trial_killed_between_its_record_and_the_journal_is_not_lost(folder, monkeypatch):
    study = make_study(folder, trials=6)
    tell, copy = study_module.tell, folder.with_name("killed")

    def tell_or_die(stored, outcome):
        if outcome.trial == 3:
            shutil.copytree(folder, copy)
            raise Killed
        tell(stored, outcome)

    monkeypatch.setattr(study_module, "tell", tell_or_die)
    with pytest.raises(Killed):
        study.run()
    key, value = study._outcomes[3].candidate.key(), study._outcomes[3].value
    monkeypatch.setattr(study_module, "tell", tell)

    for _ in range(2):  # also when it is taken up once more
        after = search(copy, trials=6)
        found = [o for o in after.outcomes if o.candidate.key() == key and o.state == "complete"]
        assert [o.value for o in found] == [value]


def test_a_paused_trial_goes_on_in_a_later_run(folder):
    first = search(folder, trials=16)
    paused = {o.trial: len(o.history) for o in first.outcomes if o.state == "paused"}
    assert paused
    worst = Runner(lambda c: rise(c) if c.key() in old else [0.01] * N_STEPS)
    old = {o.candidate.key() for o in first.outcomes}

    second = search(folder, trials=40, runner=worst)

    assert not paused.keys() & {trial for trial, _ in second.runner.begun}
    continued = paused.keys() & {trial for trial, _ in second.runner.continued}
    assert continued  # beside so many bad ones, they are among the best third
    for trial in continued:
        assert len(second._outcomes[trial].history) > paused[trial]


def test_a_paused_trial_killed_while_it_went_on_waits_where_it_was(folder):
    runner = Runner()
    search(folder, trials=16, runner=runner)
    trial = runner.continued[0][0]
    copy = folder.with_name("copy")

    def on_step(outcome):
        if outcome.trial == trial and going_on.continued:
            shutil.copytree(fresh, copy)
            raise Killed

    fresh = folder.with_name("fresh")
    fresh.mkdir()
    going_on = Runner(on_step=on_step)
    with pytest.raises(Killed):
        search(fresh, trials=16, runner=going_on)

    after = make_study(copy, trials=16)
    assert after._outcomes[trial].state == "paused"
    after.run()
    assert shown(after)[trial][0] == trial
    assert all(o.reason != "in flight" for o in after.outcomes)


def test_an_interrupt_keeps_what_was_measured(folder):
    def on_step(outcome):
        if outcome.trial == 5 and len(outcome.history) == 2:
            raise KeyboardInterrupt

    study = search(folder, trials=12, runner=Runner(lambda c: [0.2, 0.3, 0.4], on_step=on_step))

    assert study.stopped_by == "interrupt"
    assert len(study.outcomes) == 6
    assert study._outcomes[5].reason == "interrupted"
    assert study._outcomes[5].value == 0.3


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_trial_is_run_again(folder, at):
    def on_step(outcome):
        if outcome.trial == 5 and len(outcome.history) == at:
            raise KeyboardInterrupt

    curve = [0.2, 0.3, 0.9]
    study = search(folder, trials=12, runner=Runner(lambda c: curve, on_step=on_step))
    cut = study._outcomes[5].candidate.key()

    after = search(folder, trials=12, runner=Runner(lambda c: curve))

    again = [o for o in after.outcomes if o.candidate.key() == cut and o.trial != 5]
    assert [len(o.history) for o in again] == [3]


# Going on in a changed space


def test_old_results_and_lost_trials_survive_a_changed_space(folder):
    picture = kill(folder, of=6, trials=12)
    lost = picture.outcome.candidate.key()

    after = search(picture.copy, trials=12, backbones=("a", "b", "c"), accept_changes=True)

    old = {o.trial: o for o in after.outcomes if o.trial < 6}
    assert all(o.value is not None for o in old.values())
    assert any(o.candidate.key() == lost and o.history for o in after.outcomes)
    assert {o.candidate.backbone for o in after.outcomes} == {"a", "b", "c"}


def test_paused_trials_survive_a_changed_space(folder):
    first = search(folder, trials=16)
    paused = [o.trial for o in first.outcomes if o.state == "paused"]
    assert paused

    old = {o.candidate.key() for o in first.outcomes}
    worst = Runner(lambda c: rise(c) if c.key() in old else [0.01] * N_STEPS)
    after = search(folder, trials=40, runner=worst, backbones=("a", "b", "c"), accept_changes=True)

    assert {o.trial for o in after.outcomes} >= set(paused)
    assert set(paused) & {trial for trial, _ in worst.continued}


def test_results_of_a_backbone_that_is_gone_stay_in_the_leaderboard(folder):
    first = search(folder, trials=10)
    gone = {o.trial: o.value for o in first.outcomes if o.candidate.backbone == "b"}
    assert gone

    after = search(folder, trials=12, backbones=("a",), accept_changes=True)

    assert gone.keys() <= {o.trial for o in after.outcomes}
    assert after.best.candidate.backbone == "a"


# Workers of one study


def test_workers_begin_what_each_was_given(folder):
    make_study(folder, trials=9)  # the parent
    one = search(folder, trials=5, worker="0-0")
    other = search(folder, trials=4, worker="0-1")

    assert (len(one.runner.begun), len(other.runner.begun)) == (5, 4)
    assert one.rows == list(range(5))  # a worker speaks of its own trials only
    parent = make_study(folder, trials=9)
    assert len(parent.outcomes) == 9
    assert repeats(parent) == []


def test_workers_do_not_draw_alike(folder):
    only = {"methods": (TUNED,), "backbones": ("a",)}
    make_study(folder, **only)
    for k in range(3):
        search(folder, trials=4, worker=f"0-{k}", **only)

    parent = make_study(folder, **only)

    assert repeats(parent) == []
    assert len({o.candidate.key() for o in parent.outcomes}) == 12


def test_the_successor_of_a_killed_worker_runs_its_trial_again(folder):
    picture = kill(folder, of=5, trials=8, worker="0-0")
    lost = picture.outcome.candidate.key()

    successor = search(picture.copy, trials=8, worker="0-0")

    assert successor.runner.begun[0][1].key() == lost
    done = [o for o in make_study(picture.copy).outcomes if o.state != "failed"]
    assert len(done) == 8


def test_another_worker_may_take_the_lost_trial(folder):
    picture = kill(folder, of=5, trials=8, worker="0-0")
    lost = picture.outcome.candidate.key()
    other = make_study(picture.copy, trials=3, worker="0-1")
    other.sync()  # while the lost one seemed to run
    make_study(picture.copy, trials=8, worker="0-0")  # the successor, not begun yet

    other.run()

    assert other.runner.begun[0][1].key() == lost
    assert repeats(other) == []


def test_workers_run_again_what_was_in_flight_before_the_search_was_taken_up(folder):
    picture = kill(folder, of=4, trials=10)
    lost = picture.outcome.candidate.key()
    parent = make_study(picture.copy, trials=10)

    worker = search(picture.copy, trials=3, worker="5-0")

    assert worker.runner.begun[0][1].key() == lost
    assert repeats(worker) == []
    parent.sync(paused=True)
    assert any(o.candidate.key() == lost and o.history for o in parent.outcomes)


def test_a_worker_leaves_the_trials_of_others_alone(folder):
    picture = kill(folder, of=5, trials=8, worker="0-0")

    other = search(picture.copy, trials=2, worker="0-1")

    assert picture.outcome.candidate.key() not in {c.key() for _, c in other.runner.begun}
    assert len(other.runner.begun) == 2


def test_candidates_are_told_apart_by_what_they_are():
    one = Candidate(backbone="a", adaptation="m", params={"x": 1, "y": 2})
    other = Candidate(backbone="a", adaptation="m", params={"y": 2, "x": 1})

    assert one.key() == other.key()
