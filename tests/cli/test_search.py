"""What `autotl search` hands to the engine and shows; the engine itself is tested elsewhere."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from autotl.cli import main

RESULT = Path(__file__).parents[1] / "result" / "digits_result.json"


@pytest.fixture
def result():
    return json.loads(RESULT.read_text(encoding="utf-8"))


@pytest.fixture
def engine(monkeypatch, result):
    """Stand in for the engine, which takes seconds: records the call, returns a stored result."""
    calls = []
    api = ModuleType("autotl.api")

    def fit_source(source, **arguments):
        calls.append((source, arguments))
        print("a chatty library")  # noqa: T201  # what libraries do, and must not reach stdout
        return SimpleNamespace(result=result)

    api.fit_source = fit_source
    monkeypatch.setitem(sys.modules, "autotl.api", api)
    return calls


def run(*arguments):
    return CliRunner().invoke(main, ["search", *arguments])


def test_search_passes_only_what_was_given(engine):
    run("data", "--out", "run")
    ((data, arguments),) = engine
    assert arguments.pop("started") > 0
    assert (data, arguments) == ("data", {"out": "run", "progress": True})


def test_search_passes_every_option(engine):
    run(
        "data", "--modality", "text", "--metric", "f1_macro", "--budget", "1m", "--trials", "3",
        "--backbones", "a,b", "--backbones", "c", "--adaptations", "lp_ft", "--weights", "w1",
        "--weights", "w2", "--download", "--permissive-only", "--labels-per-class", "10",
        "--holdout", "h", "--groups", "who", "--out", "run", "--seed", "7", "--device", "cpu",
        "--no-progress", "--text", "t", "--label", "l", "--split", "s", "--image", "i",
    )  # fmt: skip
    ((_, arguments),) = engine
    assert arguments.pop("started") > 0
    assert arguments == {
        "modality": "text",
        "metric": "f1_macro",
        "budget_seconds": 60.0,
        "trials": 3,
        "backbones": ["a", "b", "c"],
        "adaptations": ["lp_ft"],
        "weights": ("w1", "w2"),
        "download": True,
        "permissive_only": True,
        "labels_per_class": 10,
        "holdout": "h",
        "groups_column": "who",
        "out": "run",
        "seed": 7,
        "device": "cpu",
        "progress": False,
        "text": "t",
        "label": "l",
        "split": "s",
        "image": "i",
    }


def test_search_json_is_the_result_alone(engine, result):
    done = run("data", "--out", "run", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == result
    assert "a chatty library" in done.stderr


def test_search_json_writes_nan_as_null(engine, result):
    result["holdout"] = float("nan")
    assert json.loads(run("data", "--json").stdout)["holdout"] is None


def test_search_shows_leaderboard_verdict_and_next_step(engine):
    done = run("data", "--out", "digits-run")
    assert done.exit_code == 0
    for words in (
        "embedded/glyphs",
        "the floor",
        "Transfer helps",
        "5.9 points of accuracy above the floor; the 95 % interval runs from +4.6 to +7.6",
        "95.1 % accuracy (floor: 89.2 %)",
        "digits-run/report.html",
        "autotl predict digits-run NEW_DATA",
        "2 stopped early, 1 failed",
    ):
        assert words in done.stdout
    assert "\x1b[" not in done.stdout


def test_search_counts_the_rest_of_a_long_leaderboard(engine, result):
    rows = [r for r in result["leaderboard"] if r["state"] == "complete"]
    result["leaderboard"] = [rows[0] | {"trial": i, "rank": i + 1} for i in range(40)]
    done = run("data", "--out", "run")
    assert done.stdout.count("embedded/glyphs   lp_ft") == 12
    assert "28 more finished" in done.stdout


def test_search_shows_a_run_without_any_trial(engine, result):
    result |= {"best": None, "gap": None, "leaderboard": [], "shipped": "floor"}
    result["verdict_text"] = "No transfer candidate finished."
    done = run("data", "--out", "run")
    assert done.exit_code == 0
    assert "No transfer candidate finished." in done.stdout


def test_search_keeps_control_characters_from_the_terminal(engine, result):
    result["leaderboard"][0]["backbone"] = "evil\x1b[2Jname"
    assert "\x1b" not in run("data", "--out", "run").stdout


def test_search_names_what_permissive_only_left_out(engine, result):
    assert "--permissive-only" not in run("data", "--out", "run").stdout
    names = [f"fake/{i}" for i in range(6)]
    result |= {"permissive_only": True, "restricted_backbones": names}
    shown = run("data", "--out", "run", "--permissive-only").stdout
    assert "Left out by --permissive-only: fake/0, fake/1, fake/2, fake/3 and 2 more.\n" in shown


def test_search_shows_terms_in_the_leaderboard(engine, result):
    result["leaderboard"][0] |= {"source_terms": "scans: research only", "permissive": False}
    header, _, first = run("data", "--out", "run").stdout.splitlines()[1:4]
    assert header.split()[-3:] == ["license", "permissive", "terms"]
    assert first.endswith("Apache-2.0   no           scans: research only")


def test_search_warns_of_the_terms_of_what_it_ships(engine, result):
    result["best"] |= {"source_terms": "scans: research only", "permissive": False}
    shown = run("data", "--out", "run").stdout
    assert "Apache-2.0; scans: research only. It is not known to allow commercial" in shown
    result["best"]["permissive"] = True
    assert "Terms" not in run("data", "--out", "run").stdout
    result |= {"shipped": "floor", "best": result["best"] | {"permissive": False}}
    assert "Terms" not in run("data", "--out", "run").stdout


def test_search_without_out_repeats_permissive_only(engine, result):
    result["out"] = None
    done = run("data", "--budget", "60s", "--permissive-only")
    assert "autotl search data --budget 60s --permissive-only --out RUN" in done.stdout


def test_search_without_out_says_nothing_is_kept(engine, result):
    result["out"] = None
    done = run("data")
    assert "without --out" in done.stderr
    assert "--out RUN" in done.stdout


def test_search_interrupted_with_a_model_exits_130(engine, result):
    result["stopped_by"] = "interrupt"
    done = run("data", "--out", "run")
    assert done.exit_code == 130
    assert "Transfer helps" in done.stdout
    assert "autotl predict run DATA" in done.stderr


def test_search_interrupted_too_early_exits_130(engine, monkeypatch):
    def interrupted(_source, **_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["autotl.api"], "fit_source", interrupted)
    done = run("data", "--out", "run")
    assert done.exit_code == 130
    assert "before a model was ready" in done.stderr


def test_search_plan_of_digits_names_everything():
    done = run("sklearn:digits", "--labels-per-class", "5", "--plan", "--json")
    plan = json.loads(done.stdout)
    assert done.exit_code == 0
    assert plan["task"]["n_holdout"] == 1747
    assert {"metric", "backbones", "skipped_backbones", "floors", "estimated_seconds"} <= set(plan)


def test_search_plan_is_readable(engine, result, monkeypatch):
    plan = {
        "task": result["task"],
        "metric": "accuracy",
        "backbones": [{"name": "embedded/glyphs", "seconds": 6.5}],
        "skipped_backbones": result["skipped_backbones"],
        "floors": ["majority", "hog"],
        "budget_seconds": 600.0,
        "estimated_seconds": 6.5,
    }
    api = sys.modules["autotl.api"]
    monkeypatch.setattr(api, "plan_source", lambda _data, **_: plan, raising=False)
    done = run("data", "--plan")
    for words in (
        "1,797 samples (image) in 10 classes",
        "80 train, 20 validation (5 folds), 1697 holdout",
        "majority, hog",
        "10 min",
        "Skipped timm/resnet18.a1_in1k: its weights (47 MB)",
        "Nothing was run",
    ):
        assert words in done.stdout


def test_search_of_missing_data_exits_1():
    done = run("no-such-folder", "--out", "run")
    assert done.exit_code == 1
    assert "'no-such-folder'" in done.stderr
    assert done.stdout == ""
