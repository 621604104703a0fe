"""Searches that are given samples without labels, or labelled ones of other domains."""

import json

import pytest

import autotl
from autotl.errors import InvalidDataError
from autotl.registry import get_registry
from autotl.search.settings import select_adaptations
from autotl.testing.fakes import toy_images


def domain(n=60, shade=2, seed=4):
    images, y = toy_images(n, seed=seed)
    darker = [image.point(lambda value: value // shade) for image in images]
    return darker, [f"class {code}" for code in y]


def named(result):
    return {row["adaptation"]: row for row in result["leaderboard"]}


def test_methods_that_read_a_source_are_tried_with_one(run_search):
    methods = ["linear_probe", "source_only", "pooled", "coral"]
    result = run_search(trials=6, data={"source": domain()}, adaptations=methods).result

    rows = named(result)
    assert set(methods) <= set(rows)
    assert all(row["state"] == "complete" for row in rows.values())


@pytest.mark.parametrize("method", ["adabn", "pseudo_label"])
def test_methods_that_read_samples_without_labels_are_tried_with_some(run_search, method):
    result = run_search(trials=1, data={"X_unlabeled": domain()[0]}, adaptations=[method]).result

    assert named(result)[method]["state"] == "complete"


def test_without_further_data_such_methods_are_not_in_the_space():
    needy = {"coral", "dann", "fixmatch", "adabn", "multi_task"}

    assert not needy & {spec.name for spec in select_adaptations(None)}
    with pytest.raises(InvalidDataError, match="--source"):
        select_adaptations(["coral"])
    with pytest.raises(InvalidDataError, match="--unlabeled"):
        select_adaptations(["fixmatch"])


def test_several_sources_count_by_their_closeness(run_search):
    sources = {"near": domain(shade=1), "far": domain(shade=8)}
    found = run_search(trials=3, data={"source": sources}, adaptations=["pooled"])

    (text,) = [w for w in found.result["warnings"] if w.startswith("Sources by closeness")]
    assert "near" in text
    assert "far" in text
    near = float(text.split("near at")[1].split("counts ")[1].split(",")[0].rstrip("."))
    assert near > 1.0


def test_a_model_of_such_a_method_is_written(run_search, tmp_path):
    found = run_search(trials=2, data={"source": domain()}, adaptations=["coral"], out=tmp_path)
    fresh, _ = toy_images(9, seed=9)

    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))

    assert result["best"]["adaptation"] == "coral"
    assert found.predict_proba(fresh).shape == (9, 3)


def test_one_domain_alone_is_measured_beside(run_search):
    found = run_search(trials=2, data={"source": domain()}, adaptations=["coral"]).result

    rows = {row["name"]: row for row in found["domains"]["beside"]}
    assert set(rows) == {"source only", "target only"}
    assert all(0 <= row["holdout"] <= 1 for row in rows.values())
    assert found["domains"]["sources"][0]["n_shared"] > 0


def test_without_other_data_nothing_is_said_of_them(run_search):
    assert run_search(trials=1, adaptations=["linear_probe"]).result["domains"] is None


@pytest.fixture
def blind(run_search):
    """A search over samples of which none has a label."""

    def run(**more):
        return run_search(trials=4, data={"y": None, "source": domain()}, **more)

    return run


def test_without_any_label_the_choice_is_a_guess_and_says_so(blind, tmp_path):
    methods = ["linear_probe", "coral", "adabn"]
    found = blind(adaptations=methods, out=tmp_path)
    result = found.result

    assert result["verdict"] == "inconclusive"
    assert result["gap"] is None
    assert result["verdict_text"].startswith("A guess")
    assert "source only" in result["verdict_text"]
    assert set(methods) == {row["adaptation"] for row in result["leaderboard"]}
    complete = [row for row in result["leaderboard"] if row["state"] == "complete"]
    for row in complete:
        assert row["validation"] == pytest.approx(sum(row["guesses"].values()) / 4)
    assert "A guess" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {str(label) for label in found.predict(toy_images(5, seed=1)[0])} <= {
        "class 0", "class 1", "class 2",
    }  # fmt: skip


def test_what_weighs_the_datas_own_labels_is_not_searched_over_without_any(blind):
    result = blind(adaptations=["coral", "reweighting"]).result

    names = [set(row["params"]) for row in result["leaderboard"]]
    assert not any("target_weight" in params for params in names)
    assert "target_weight" in get_registry().adaptations.get("coral").space
    keys = [
        (row["backbone"], row["adaptation"], str(row["params"])) for row in result["leaderboard"]
    ]
    assert len(set(keys)) == len(keys)
    with pytest.raises(InvalidDataError, match="labels of the data"):
        blind(adaptations=["pooled"])


def test_a_run_is_resumed_with_the_sources_and_labels_that_it_had(run_search, tmp_path):
    X, y = toy_images(60)
    labels = [f"class {code}" for code in y]
    images, theirs = domain()
    methods = ["linear_probe", "coral"]
    run_search(trials=2, data={"source": (images, theirs)}, adaptations=methods, out=tmp_path)
    others = ["class 0" if label == "class 1" else label for label in theirs]

    with pytest.raises(InvalidDataError, match="the sources are others, or their labels"):
        autotl.resume(tmp_path, X, labels, source=(images, others), trials=1, progress=False)
    with pytest.raises(InvalidDataError, match="are gone"):
        autotl.resume(tmp_path, X, labels, trials=1, progress=False)


def test_methods_that_need_the_datas_own_labels_are_left_out_without_any(blind):
    with pytest.raises(InvalidDataError, match="labels of the data"):
        blind(adaptations=["tradaboost"])


def test_the_closest_source_that_shares_classes_is_never_left_out(run_search):
    strange, _ = domain(shade=1)
    sources = {"far": domain(shade=16), "near": (strange, ["other", "label"] * 30)}

    found = run_search(trials=2, data={"source": sources}, adaptations=["pooled"]).result

    weights = {s["name"]: s["weight"] for s in found["domains"]["sources"]}
    assert weights["far"] > 0
    assert all(row["state"] == "complete" for row in found["leaderboard"])


def test_what_cannot_be_averaged_costs_no_run(run_search, monkeypatch):
    from autotl.search.finish import refit
    from autotl.search.finish.refit import Refit

    def broken(*_):
        raise MemoryError("too large")

    monkeypatch.setattr(refit, "stir", broken)
    notes, saved = Refit(None, None, None, 0, lambda: False), [object(), object()]

    assert notes._stir("soup", saved) == ("soup", saved[0])
    assert "too large" in notes.notes[0]
