"""Going on with a run: what the arguments mean, what is compared, what is kept."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import autotl
from autotl.api import fit_source, resume
from autotl.errors import (
    BudgetTooSmallError,
    InvalidDataError,
    ModelFormatError,
    SearchError,
    SpaceChangedError,
)
from autotl.registry import get_registry
from autotl.search.occupying import occupied
from autotl.search.study.records import TrialRecords
from autotl.testing.fakes import fake_backbone, toy_images

N = 60
IMAGES, CODES = toy_images(N)
LABELS = [f"class {code}" for code in CODES]
GROUPS = [f"group {i // 2}" for i in range(N)]


def fit(out, **arguments):
    return autotl.fit(
        IMAGES, LABELS, out=out, progress=False, cache=False, device="cpu", **arguments
    )


def go_on(run, X=None, y=None, **arguments):
    X, y = (IMAGES, LABELS) if X is None else (X, y)
    return resume(run, X, y, progress=False, **arguments)


@pytest.fixture(scope="module", autouse=True)
def shelf():
    """Register fake backbones under names that `backbones=` finds."""
    catalog = get_registry().backbones
    with pytest.MonkeyPatch.context() as patch:
        for name, seed in (("fake/a", 0), ("fake/b", 1)):
            patch.setitem(catalog._specs, name, fake_backbone(name, seed=seed))
            patch.setitem(catalog._aliases, name, name)
            patch.setitem(catalog._owners, name, "tests")
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three trials that has ended."""
    out = tmp_path_factory.mktemp("finished") / "run"
    fit(out, trials=3, backbones=["fake/a"])
    return out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def edit(run, **asked):
    """Change what a run was asked for."""
    path = run / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["asked"] |= asked
    path.write_text(json.dumps(content), encoding="utf-8")


def age(run, seconds):
    """Make a run as old as that."""
    records = TrialRecords(run / "trials")
    for number in records.trials():
        outcome = records.read(number)
        outcome.finished_at = seconds
        records.write(outcome)


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the search: returns what it would have been given."""
    seen = SimpleNamespace()

    class Search:
        def __init__(self, task, shelf, settings, budget, progress):
            seen.task, seen.shelf, seen.settings, seen.budget = task, shelf, settings, budget

        def run(self):
            return SimpleNamespace(result={})

    monkeypatch.setattr("autotl.search.call.Search", Search)
    return seen


# How far


@pytest.mark.parametrize("more", [2, 3, 50])
def test_trials_are_added_to_those_that_were_done(run, asked, more):
    go_on(run, trials=more)  # three is what was asked for before, too

    assert asked.budget.trials == asked.settings.trials == 3 + more


def test_a_run_that_has_done_its_trials_asks_for_more(run, asked):
    with pytest.raises(BudgetTooSmallError, match=r"3 trials.*--trials"):
        go_on(run)


def test_a_run_that_was_cut_short_does_the_rest(run, asked):
    edit(run, trials=10)

    go_on(run)

    assert asked.budget.trials == 10


@pytest.mark.parametrize(
    ("used", "given", "expected"),
    [
        (40.0, None, 60.0),  # what was left
        (95.0, None, 100.0),  # as much again
        (250.0, None, 100.0),
        (40.0, 30.0, 30.0),
        (40.0, 100.0, 100.0),  # what the user says, also where it is what was said before
    ],
)
def test_time_to_go_on_for(run, asked, used, given, expected):
    edit(run, trials=None, budget_seconds=100.0)
    age(run, used)

    go_on(run, budget_seconds=given)

    assert asked.settings.budget_seconds == asked.budget.seconds == expected
    assert asked.budget.earlier == used
    assert asked.budget.trials is None


def test_all_else_is_as_before_unless_it_is_changed(run, asked):
    edit(run, seed=5, workers=2, views=3, adaptations=["lp_ft"], labels_per_class=10)

    with pytest.raises(InvalidDataError):  # another seed and other labels: other splits
        go_on(run, trials=1)
    edit(run, seed=0, labels_per_class=None)
    go_on(run, trials=1, workers=3)

    assert (asked.settings.workers, asked.settings.views) == (3, 3)
    assert asked.settings.adaptations == ["lp_ft"]
    assert asked.settings.resumes
    assert [b.name for b in asked.shelf.usable] == ["fake/a"]


# On what


def swapped(values, i, j):
    values = list(values)
    values[i], values[j] = values[j], values[i]
    return values


def test_other_samples_are_refused(run, asked):
    others = [*IMAGES[:-1], toy_images(3, seed=9)[0][2]]

    with pytest.raises(InvalidDataError, match="1 samples are new and 1 are gone"):
        go_on(run, others, LABELS, trials=1)
    with pytest.raises(InvalidDataError, match="0 samples are new and 3 are gone"):
        go_on(run, IMAGES[:-3], LABELS[:-3], trials=1)
    with pytest.raises(InvalidDataError, match="another order"):
        go_on(run, swapped(IMAGES, 0, 3), LABELS, trials=1)


def test_other_labels_are_refused(run, asked):
    with pytest.raises(InvalidDataError, match="label"):
        go_on(run, IMAGES, swapped(LABELS, 0, 1), trials=1)


def test_other_groups_are_refused(run, asked):
    # With them, samples of the run's holdout would be trained on.
    with pytest.raises(InvalidDataError):
        go_on(run, trials=1, groups=GROUPS)


def test_samples_from_python_must_be_passed_again(run, asked):
    with pytest.raises(InvalidDataError, match=r"autotl\.resume\(run, X, y\)"):
        resume(run, trials=1, progress=False)
    with pytest.raises(InvalidDataError, match="labels"):
        resume(run, IMAGES, trials=1, progress=False)


def test_what_is_no_run_says_so(tmp_path, run):
    with pytest.raises(ModelFormatError, match="does not exist"):
        go_on(tmp_path / "nowhere")
    for content in ("", "[]", "{}", '{"asked": {"trials": 3}}'):
        (run / "run.json").write_text(content)
        with pytest.raises(ModelFormatError):
            go_on(run, trials=1)


def write_data(folder):
    """Write the samples as folders of images, as a table, and some of them as a holdout."""
    rows = ["image,label"]
    for i, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        name = f"images/{label}/{i:02d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
        rows.append(f"{name},{label}")
    (folder / "table.csv").write_text("\n".join(rows[:-9]))
    (folder / "held.csv").write_text("\n".join([rows[0], *rows[-9:]]))
    (folder / "weights").mkdir()
    (folder / "weights" / "backbones.toml").touch()


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """Go to a folder with data and weights, and let searches do no more than to say what they do.

    Returns the fingerprints of the samples of each.
    """
    found = []

    def run(self):
        if not self.settings.resumes:
            self._write_run()
        found.append(self.task.fingerprints)
        return SimpleNamespace(result={})

    monkeypatch.setattr("autotl.search.engine.Search.run", run)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_data(Path())
    return found


def fit_here(source, **more):
    fit_source(
        source, out="run", weights=("weights",), backbones=["fake/a"], trials=1, device="cpu",
        progress=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "more"), [("images", {}), ("table.csv", {"holdout": "held.csv", "image": "image"})]
)
def test_a_run_goes_on_from_any_folder(searched, tmp_path, monkeypatch, source, more):
    fit_here(source, **more)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")

    resume("../here/run", trials=1, progress=False)

    assert searched[0] == searched[1]
    assert len(searched[0]) == N


@pytest.mark.parametrize("weights", ["weights", Path("weights"), ["weights"]])
def test_weights_are_kept_as_they_are_found_from_anywhere(searched, tmp_path, weights):
    autotl.fit(
        IMAGES, LABELS, out="run", weights=weights, backbones=["fake/a"], trials=1, progress=False
    )

    stored = json.loads(Path("run/run.json").read_text())["asked"]["weights"]
    assert stored == [str((tmp_path / "here" / "weights").resolve())]


@pytest.mark.parametrize(
    ("gone", "words"),
    [("weights", "a link"), ("table.csv", r"autotl\.resume\(run, X, y\)"), ("held.csv", "a link")],
)
def test_what_was_moved_is_named(searched, gone, words):
    fit_here("table.csv", holdout="held.csv", image="image")
    place = Path(gone).resolve()
    moved = place.rename(place.parent / "moved")

    with pytest.raises(InvalidDataError, match=f"{re.escape(str(place))}.*{words}"):
        resume("run", trials=1, progress=False)
    place.symlink_to(moved)
    resume("run", trials=1, progress=False)
    assert searched[0] == searched[1]


def test_a_run_that_is_searched_cannot_be_resumed_but_read(run):
    with occupied(run):
        with pytest.raises(SearchError, match="Another search is at work"):
            go_on(run, trials=1)
        assert len(autotl.load(run).predict(IMAGES[:3])) == 3


# With what result


def rows(model):
    return {row["trial"]: row for row in model.result["leaderboard"]}


def test_a_finished_run_goes_on_with_more_trials(run):
    before = json.loads((run / "result.json").read_text())
    asked_before = (run / "run.json").read_text()

    model = go_on(run, trials=3)

    old, now = {r["trial"]: r for r in before["leaderboard"]}, rows(model)
    assert sorted(now) == list(range(6))
    for trial, row in old.items():
        for column in ("backbone", "adaptation", "params", "validation", "state", "seconds"):
            assert now[trial][column] == row[column]
    last = max(row["finished_at"] for row in old.values())
    assert all(now[trial]["finished_at"] > last for trial in (3, 4, 5))
    assert model.result["stopped_by"] == "trials"
    assert json.loads((run / "result.json").read_text())["n_trials"] == model.result["n_trials"]
    assert (run / "run.json").read_text() == asked_before
    assert all(row["why"] for row in now.values())
    assert len(autotl.load(run).predict(IMAGES[:3])) == 3


@pytest.mark.parametrize(("before", "now"), [({}, 2), ({"holdout_looks": 6}, 7)])
def test_looks_at_the_holdout_are_counted_over_the_life_of_a_run(run, before, now):
    result = json.loads((run / "result.json").read_text())
    assert result.pop("holdout_looks") == 1  # runs of earlier versions do not say
    assert "looked at its holdout" not in (run / "report.html").read_text()
    (run / "result.json").write_text(json.dumps(result | before))

    with pytest.raises(InvalidDataError):
        go_on(run, IMAGES[:-3], LABELS[:-3], trials=1)
    model = go_on(run, trials=1)

    assert model.result["holdout_looks"] == now
    assert json.loads((run / "result.json").read_text())["holdout_looks"] == now
    assert f"looked at its holdout {now} times" in (run / "report.html").read_text()


def test_a_damaged_record_costs_its_own_trial_only(run):
    (run / "trials" / "00001.json").write_text('{"trial": ')
    kept = TrialRecords(run / "trials").read(0).value

    found = rows(go_on(run, trials=1))

    assert found[0]["validation"] == kept
    assert found[1]["state"] == "failed"
    assert sorted(found) == [0, 1, 2, 3]


def test_a_run_that_goes_on_keeps_what_it_had(run):
    before = [TrialRecords(run / "trials").read(n) for n in range(3)]

    found = rows(go_on(run, trials=1))

    assert sorted(found) == [0, 1, 2, 3]
    for outcome in before:
        row = found[outcome.trial]
        assert row["adaptation"] == outcome.candidate.adaptation
        assert row["params"] == dict(outcome.candidate.params)
        assert row["validation"] == outcome.value


def test_an_added_backbone_is_refused_until_it_is_accepted(run):
    edit(run, backbones=["fake/a", "fake/b"])
    old = {n: TrialRecords(run / "trials").read(n).value for n in range(3)}

    with pytest.raises(SpaceChangedError, match="backbone 'fake/b' was added"):
        go_on(run, trials=2)
    model = go_on(run, trials=2, accept_changes=True)

    now = rows(model)
    assert {n: now[n]["validation"] for n in old} == old
    assert sorted(now) == list(range(5))


def test_a_run_that_was_interrupted_before_its_first_trial_goes_on(tmp_path, monkeypatch):
    from autotl.search.floor.measurement import FloorMeasurement

    measure = FloorMeasurement.run

    def interrupted(self):
        found = measure(self)
        self.interrupted = True
        return found

    monkeypatch.setattr(FloorMeasurement, "run", interrupted)
    first = fit(tmp_path / "run", trials=2, backbones=["fake/a"])
    assert first.result["stopped_by"] == "interrupt"
    monkeypatch.setattr(FloorMeasurement, "run", measure)

    assert len(rows(go_on(tmp_path / "run"))) == 2
