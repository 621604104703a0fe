"""The study as a machine of states, on a runner that takes no time."""

from autotl.search.study.candidate import Candidate
from autotl.search.study.records import TrialRecords


def test_so_many_trials_as_were_asked_for(toys):
    study = toys.search(trials=9)

    assert len(study.outcomes) == len(study.runner.begun) == 9
    assert study.stopped_by == "trials"
    assert set(study.rows) == set(range(9))


def test_every_trial_says_why_it_was_tried_and_why_it_ended(toys):
    study = toys.search(trials=12)

    assert all(o.why and o.reason for o in study.outcomes)
    assert any("portfolio" in o.why for o in study.outcomes)
    assert any("sampler" in o.why for o in study.outcomes)


def test_the_same_seed_tries_the_same(toys):
    assert toys.shown(toys.search(trials=15, seed=3)) == toys.shown(toys.search(trials=15, seed=3))
    assert toys.shown(toys.search(trials=15, seed=3)) != toys.shown(toys.search(trials=15, seed=4))


def test_nothing_is_tried_twice(toys):
    study = toys.search(trials=25)

    assert toys.repeats(study) == []
    assert len({o.candidate.key() for o in study.outcomes}) == 25


def test_a_space_that_is_used_up_ends_the_search(toys):
    study = toys.search(trials=50, methods=(toys.PROBE,), backbones=("a",))

    assert len(study.outcomes) == 4
    assert study.stopped_by == "space"


def test_trials_are_paused_for_better_ones_and_the_best_is_complete(toys):
    study = toys.search(trials=20)

    states = {o.state for o in study.outcomes}
    assert "paused" in states
    assert study.best.state == "complete"
    assert study.best.value == max(o.value for o in study.outcomes)
    assert all(len(o.history) < toys.N_STEPS for o in study.outcomes if o.state == "paused")


def test_a_paused_trial_goes_on_from_its_states(toys):
    study = toys.search(trials=30)

    assert study.runner.continued  # the runner checks the states
    again = {trial for trial, _ in study.runner.continued}
    assert again <= {trial for trial, _ in study.runner.begun}
    left = [p.name for p in study.records.folder.glob("*fold*")]
    paused = {f"{o.trial:05d}" for o in study.outcomes if o.state == "paused"}
    assert {name.split("-")[0] for name in left} == paused


def test_a_failing_method_fails_its_trials_and_no_others(toys):
    def curve(candidate):
        if candidate.adaptation == "tuned":
            raise ValueError("the method's own bug")
        return [0.5]

    study = toys.search(trials=10, runner=toys.Runner(curve))

    failed = [o for o in study.outcomes if o.state == "failed"]
    assert failed
    assert all("the method's own bug" in o.reason and o.traceback for o in failed)
    assert all(o.value is None for o in failed)
    assert sum(o.state == "complete" for o in study.outcomes) >= 5
    assert len(study.outcomes) == 10


def test_a_shelf_on_which_everything_fails_ends_the_search(toys):
    calls = []

    def curve(candidate):
        calls.append(candidate)
        if len(calls) > 150:  # the clock would end it, after hours of nothing
            raise toys.Killed
        raise ValueError("broken")

    study = toys.search(runner=toys.Runner(curve))

    assert {o.state for o in study.outcomes} == {"failed"}
    assert study.best is None


def test_a_method_that_ends_before_its_first_step_costs_its_own_trial_only(toys):
    study = toys.search(
        trials=8, runner=toys.Runner(lambda c: toys.rise(c) if c.adaptation == "probe" else [])
    )

    assert len(study.outcomes) == 8
    empty = [o for o in study.outcomes if o.candidate.adaptation == "tuned"]
    assert empty
    assert {o.state for o in empty} == {"failed"}
    assert study.best.value == 0.5


def test_a_plan_that_fails_costs_its_own_trial_only(toys):
    class Planless(toys.Runner):
        def plan(self, candidate, left, *, first):
            if candidate.backbone == "a":
                raise MemoryError("while its layers were timed")
            return toys.N_STEPS, ""

    study = toys.search(trials=8, runner=Planless())

    failed = [o for o in study.outcomes if o.state == "failed"]
    assert {o.candidate.backbone for o in failed} == {"a"}
    assert "its layers were timed" in failed[0].reason
    assert study.best.candidate.backbone == "b"


def test_a_cost_that_cannot_be_told_fails_its_own_trials_only(toys):
    def cost(spec, candidate, left, *, may_time=True):
        if candidate.backbone == "a" and spec is toys.TUNED:
            raise RuntimeError("its network could not be loaded")
        return 1.0

    class Planless(toys.Runner):
        def plan(self, candidate, left, *, first):
            cost(toys.TUNED if candidate.adaptation == "tuned" else toys.PROBE, candidate, left)
            return toys.N_STEPS, ""

    study = toys.search(trials=12, runner=Planless(), cost=cost)

    (failed,) = [o for o in study.outcomes if o.state == "failed"]
    assert (failed.candidate.backbone, failed.candidate.adaptation) == ("a", "tuned")
    assert "its network could not be loaded" in failed.reason
    assert {o.candidate.backbone for o in study.outcomes if o.value is not None} == {"a", "b"}
    assert (len(study.outcomes), study.stopped_by) == (12, "trials")


def test_a_cost_that_could_not_be_told_once_costs_nothing(toys):
    """Such as where memory was short for a moment."""
    calls = []

    def cost(spec, candidate, left, *, may_time=True):
        calls.append(candidate.backbone)
        if len(calls) == 1:
            raise MemoryError
        return 1.0

    study = toys.search(trials=8, cost=cost)

    assert "failed" not in {o.state for o in study.outcomes}
    assert (len(study.outcomes), study.stopped_by) == (8, "trials")


def test_without_hope_the_search_ends_by_the_floor(toys):
    study = toys.search(
        runner=toys.Runner(lambda c: [0.05] * (1 if c.adaptation == "probe" else toys.N_STEPS)),
        floor=0.95,
    )

    assert study.stopped_by == "floor"
    assert "nothing beat the floor" in study.stop_reason
    assert len(study.outcomes) < 60


def test_predictors_are_kept_of_the_best_few_only(toys, folder):
    study = toys.search(folder, trials=20)

    complete = [o for o in study.outcomes if o.state == "complete" and o.value is not None]
    complete.sort(key=lambda o: (-o.value, o.log_loss))
    tuned = [o for o in complete if o.tuned][:4]
    probes = {o.candidate.backbone: o for o in reversed(complete) if not o.tuned}.values()
    best = {o.trial for o in (*tuned, *probes)}
    paused = {o.trial for o in study.outcomes if o.state == "paused"}
    kept = {int(p.stem.split("-")[0]) for p in study.records.folder.glob("*-predictor.json")}
    assert best <= kept <= best | paused
    reread = TrialRecords(study.records.folder)
    found = reread.predictor(reread.read(study.best.trial))
    assert float(found.tensors["value"][0]) == study.best.value


def test_candidates_are_told_apart_by_what_they_are():
    one = Candidate(backbone="a", adaptation="m", params={"x": 1, "y": 2})
    other = Candidate(backbone="a", adaptation="m", params={"y": 2, "x": 1})

    assert one.key() == other.key()
