import json

import numpy as np
import pytest

import autotl
from autotl.errors import OutputExistsError, UnknownNameError
from autotl.search.progress import SilentProgress
from autotl.search.settings import open_run_folder, select_adaptations
from autotl.testing.fakes import fake_backbone, toy_images


def comparable(model):
    columns = ("backbone", "adaptation", "params", "validation", "state", "steps")
    return [[row[c] for c in columns] for row in model.result["leaderboard"]]


def test_same_seed_gives_the_same_result(run_search):
    first, second = run_search(trials=6, seed=3), run_search(trials=6, seed=3)

    assert comparable(first) == comparable(second)
    assert first.result["holdout"] == second.result["holdout"]
    assert first.result["gap"] == second.result["gap"]


def test_trials_limit_is_exact(run_search):
    model = run_search(trials=3)

    assert sum(model.result["n_trials"].values()) == 3
    assert model.result["stopped_by"] == "trials"


def test_a_backbone_is_probed_before_it_is_trained(run_search):
    model = run_search(fake_backbone("fake/a"), fake_backbone("fake/b", seed=1), trials=6)

    first = {}
    for row in sorted(model.result["leaderboard"], key=lambda row: row["trial"]):
        first.setdefault(row["backbone"], row["adaptation"])
    assert set(first.values()) == {"linear_probe"}


def test_tuned_methods_are_tried_and_say_their_depth(run_search):
    model = run_search(trials=8)

    tuned = [r for r in model.result["leaderboard"] if r["adaptation"] in ("lp_ft", "fine_tune")]
    assert tuned
    assert all(row["freeze_depth"] <= 3 for row in tuned)
    assert all(row["reason"] for row in tuned)


def test_worthless_backbone_ships_the_floor(run_search, noise_backbone):
    model = run_search(noise_backbone, trials=2)

    assert model.result["shipped"] == "floor"
    assert model.result["leaderboard"][0]["below_floor"]
    assert model.verdict == "negative"
    images, y = toy_images(30, seed=5)
    assert model.score(images, [f"class {code}" for code in y]) > 0.8


def test_failing_method_is_a_failed_trial(run_search, broken_adaptation):
    model = run_search(trials=3, adaptations=["broken", "linear_probe"])

    failed = [row for row in model.result["leaderboard"] if row["state"] == "failed"]
    assert {row["adaptation"] for row in failed} == {"broken"}
    assert "ValueError: the method's own bug" in failed[0]["reason"]
    assert model.result["n_trials"]["complete"] >= 1


def test_failing_backbone_is_skipped_by_name(run_search):
    import dataclasses

    def load(device):
        raise OSError("weights are gone")

    broken = dataclasses.replace(fake_backbone("fake/broken"), load=load)

    model = run_search(fake_backbone(), broken, trials=2)

    skipped = {s["name"]: s["reason"] for s in model.result["skipped_backbones"]}
    assert "weights are gone" in skipped["fake/broken"]


class Interrupting(SilentProgress):
    """Presses Ctrl-C after some trials."""

    def __init__(self, after):
        self.after = after

    def trial(self, row):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def test_interrupt_returns_what_has_finished(run_search, tmp_path):
    model = run_search(trials=50, progress=Interrupting(2), out=open_run_folder(tmp_path / "run"))

    assert model.result["stopped_by"] == "interrupt"
    assert sum(model.result["n_trials"].values()) == 2
    images, _ = toy_images(4, seed=1)
    assert len(autotl.load(tmp_path / "run").floor.predict_proba(images)) == 4


def test_tiny_budget_returns_the_floor_with_a_message(run_search):
    model = run_search(trials=None, seconds=0.01)

    assert model.result["shipped"] == "floor"
    assert model.result["best"] is None
    assert any("larger budget" in text for text in model.result["warnings"])
    assert len(model.predict(toy_images(5)[0])) == 5


def test_run_folder_has_everything_and_no_pickle(run_search, tmp_path):
    run = open_run_folder(tmp_path / "run")

    model = run_search(trials=4, out=run)

    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert {
        "run.json", "study.journal", "leaderboard.csv", "result.json", "report.html",
        "model/model.json", "model/model.safetensors",
    } <= names  # fmt: skip
    assert {n.rsplit(".")[-1] for n in names} <= {"json", "journal", "csv", "html", "safetensors"}
    assert json.loads((run / "result.json").read_text())["verdict"] == model.verdict
    assert len((run / "leaderboard.csv").read_text().splitlines()) == 5
    splits = json.loads((run / "run.json").read_text())["splits"]
    assert len(splits["holdout"]) == 12


def test_run_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(OutputExistsError, match="exists and is not empty"):
        open_run_folder(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_unknown_adaptation_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'linear_probe'"):
        select_adaptations(["liner_probe"])


def test_adaptation_patterns_select():
    assert {a.name for a in select_adaptations(["l*"])} == {"linear_probe", "lp_ft", "lora"}


def test_rows_carry_gap_and_interval(run_search):
    row = run_search(trials=1).result["leaderboard"][0]

    assert row["gap_low"] <= row["gap"] <= row["gap_high"]
    assert row["below_floor"] == (row["gap"] < 0)


def test_confusion_counts_the_holdout(run_search):
    result = run_search(trials=1).result

    assert np.sum(result["confusion"]) == result["task"]["n_holdout"]
    assert [c["label"] for c in result["per_class"]] == result["task"]["classes"]


def test_preference_of_the_probe_is_explained():
    from autotl.result.wording import shipped_sentence

    best = {"trial": 3, "backbone": "a/b", "adaptation": "linear_probe", "validation": 0.97}
    result = {
        "metric": "accuracy",
        "shipped": "transfer",
        "floor": {"name": "majority", "validation": 0.5},
        "best": best,
        "leaderboard": [{"trial": 8}, best],
    }

    assert "Trial 8 leads on validation by less than one standard error" in shipped_sentence(
        result
    )
    assert "Trial" not in shipped_sentence(result | {"leaderboard": [best]})
