import optuna
import pytest
from optuna.trial import TrialState

from autotl.errors import ModelFormatError, SpaceChangedError
from autotl.search.settings import select_adaptations
from autotl.search.study.space import SearchSpace
from autotl.search.study.storage import open_study

METHODS = ("linear_probe", "lp_ft", "fine_tune")


def space(*backbones, methods=METHODS):
    return SearchSpace(list(backbones), select_adaptations(list(methods)))


def opened(space, path, **more):
    return open_study(space, 0, path, lambda: None, **more)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "study.journal"


def fill(study, space):
    """Leave trials in every state: complete on both backbones, pruned, failed, in flight."""
    for backbone, value in (("a/one", 0.5), ("b/two", 0.7)):
        study.enqueue_trial(space.to_optuna(space.default(backbone, "linear_probe")))
        trial = study.ask()
        space.suggest(trial)
        trial.set_user_attr("outcome", {"reason": "done", "seconds": 1.5})
        trial.set_constraint("negative_transfer", 0.1)
        study.tell(trial, value)
    for state in (TrialState.PRUNED, TrialState.FAIL, None):
        study.enqueue_trial(space.to_optuna(space.default("a/one", "lp_ft", epochs=7)))
        trial = study.ask()
        space.suggest(trial)
        if state is not None:
            study.tell(trial, state=state)
    return study


def test_a_study_is_taken_up_with_its_trials(journal):
    here = space("a/one", "b/two")
    fill(opened(here, journal), here)

    study = opened(space("b/two", "a/one"), journal)  # in the order of another ranking

    assert [t.value for t in study.trials] == [0.5, 0.7, None, None, None]
    assert [here.from_optuna(t.params).backbone for t in study.trials[:2]] == ["a/one", "b/two"]
    assert study.trials[-1].state == TrialState.RUNNING
    trial = study.ask()  # and goes on
    assert space("b/two", "a/one").suggest(trial).backbone in ("a/one", "b/two")


def test_without_a_journal_every_study_is_new():
    here = space("a/one")
    fill(opened(space("a/one", "b/two"), None), space("a/one", "b/two"))

    assert opened(here, None).trials == []


@pytest.mark.parametrize(
    ("now", "changes"),
    [
        (space("a/one"), ["backbone 'b/two' was removed"]),
        (space("a/one", "b/two", "c/three"), ["backbone 'c/three' was added"]),
        (
            space("a/one", "c/three", methods=["linear_probe", "lp_ft"]),
            ["backbone 'c/three' was added", "backbone 'b/two' was removed",
             "method 'fine_tune' was removed"],
        ),
    ],
)  # fmt: skip
def test_a_changed_space_is_refused_with_what_has_changed(journal, now, changes):
    opened(space("a/one", "b/two"), journal)

    with pytest.raises(SpaceChangedError) as caught:
        opened(now, journal)

    assert caught.value.changes == changes
    assert "accept_changes=True" in str(caught.value)
    assert "Restore" in str(caught.value)


def test_a_refused_change_leaves_the_study_as_it_was(journal):
    here = space("a/one", "b/two")
    fill(opened(here, journal), here)
    with pytest.raises(SpaceChangedError):
        opened(space("a/one"), journal)

    assert len(opened(here, journal).trials) == 5


def test_an_accepted_change_keeps_numbers_and_results(journal):
    here, now = space("a/one", "b/two"), space("a/one", "b/two", "c/three")
    fill(opened(here, journal), here)

    study = opened(now, journal, accept_changes=True)

    assert [t.number for t in study.trials] == [0, 1, 2, 3, 4]
    assert [t.value for t in study.trials[:2]] == [0.5, 0.7]
    assert study.trials[0].user_attrs["outcome"] == {"reason": "done", "seconds": 1.5}
    assert now.from_optuna(study.trials[1].params).backbone == "b/two"
    assert study.trials[2].state == TrialState.PRUNED
    trial = study.ask()
    now.suggest(trial)  # Optuna refuses distributions that do not fit those of earlier trials
    study.tell(trial, 0.9)
    assert opened(now, journal).trials[-1].value == 0.9  # from now on, this is the study


def test_trials_in_flight_survive_an_accepted_change(journal):
    here, now = space("a/one", "b/two"), space("a/one", "b/two", "c/three")
    fill(opened(here, journal), here)

    study = opened(now, journal, accept_changes=True)

    # Not a failure yet: the study must see that it was in flight, or that it was paused.
    assert study.trials[4].state == TrialState.RUNNING
    assert now.from_optuna(study.trials[4].params).params["epochs"] == 7


def test_what_left_the_space_has_no_say_but_keeps_its_number(journal):
    here, now = space("a/one", "b/two"), space("a/one")
    fill(opened(here, journal), here)

    study = opened(now, journal, accept_changes=True)

    assert len(study.trials) == 5
    assert study.trials[1].state == TrialState.FAIL
    assert study.trials[0].value == 0.5


def test_changes_can_be_accepted_again_and_again(journal):
    here = space("a/one", "b/two")
    fill(opened(here, journal), here)
    for now in (space("a/one", "b/two", "c/three"), space("a/one", "d/four"), here):
        study = opened(now, journal, accept_changes=True)
        assert study.trials[0].value == 0.5
        assert len(study.trials) == 5

    assert len(opened(here, journal).trials) == 5
    assert len(optuna.get_all_study_names(study._storage)) == 4


def test_accepting_without_a_change_goes_on_as_before(journal):
    here = space("a/one", "b/two")
    fill(opened(here, journal), here)

    study = opened(here, journal, accept_changes=True)

    assert len(optuna.get_all_study_names(study._storage)) == 1
    assert len(study.trials) == 5


def cut_after_creation(path, here):
    """Leave what a process that is killed as it creates the study leaves."""
    opened(here, path)
    first = path.read_text().splitlines(keepends=True)[0]
    path.write_text(first)


def test_a_study_whose_creation_was_cut_short_is_begun_anew(journal):
    here = space("a/one")
    cut_after_creation(journal, here)

    assert opened(here, journal).user_attrs["space"] == here.described()


def test_a_journal_that_lost_its_trials_is_refused(journal):
    here = space("a/one")
    cut_after_creation(journal, here)
    (journal.parent / "trials").mkdir()
    (journal.parent / "trials" / "00000.json").write_text("{}")

    with pytest.raises(ModelFormatError, match="is damaged"):
        opened(here, journal)
