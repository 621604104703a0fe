import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

import autotl
from autotl.api import fit_source, plan_source, predict_source
from autotl.errors import (
    BackboneUnavailableError,
    InvalidDataError,
    ModelFormatError,
    OutputExistsError,
    UnknownNameError,
)
from autotl.testing.fakes import toy_images

FAST = {"backbones": "embedded/glyphs", "adaptations": "linear_probe", "trials": 1}


@pytest.fixture(scope="module")
def images():
    return toy_images(60)


@pytest.fixture(scope="module")
def digits():
    """Few digits, on which the embedded glyphs beat every floor."""
    data = load_digits()
    return data.images[:200].astype(np.uint8), data.target[:200]


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "run"
    X, y = digits
    model = autotl.fit(X, y.tolist(), labels_per_class=8, out=out, progress=False, **FAST)
    assert model.result["shipped"] == "transfer"
    return out, model


def test_fit_gives_a_model_that_predicts(run, digits):
    _, model = run
    X, y = digits

    assert model.predict(X).shape == (200,)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-5)
    assert model.score(X, y) > 0.9
    assert model.best_config["backbone"] == "embedded/glyphs"
    assert len(model.leaderboard()) == 1


@pytest.mark.parametrize("adaptations", ["linear_probe", "lp_ft"])
def test_saved_model_predicts_the_same_in_a_new_process(digits, tmp_path, adaptations):
    X, y = digits
    settings = FAST | {"adaptations": adaptations, "labels_per_class": 8}
    model = autotl.fit(X, y, progress=False, **settings)
    model.save(tmp_path / "m")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np, autotl\n"
        "X = np.load(sys.argv[1] + '/X.npy')\n"
        "np.save(sys.argv[1] + '/P.npy', autotl.load(sys.argv[1] + '/m').predict_proba(X))\n"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)

    assert model.result["shipped"] == "transfer"
    np.testing.assert_array_equal(np.load(tmp_path / "P.npy"), model.predict_proba(X))


def test_save_refuses_a_folder_that_is_not_empty(run, tmp_path):
    (tmp_path / "mine").write_text("mine")

    with pytest.raises(OutputExistsError, match="not empty"):
        run[1].save(tmp_path)


def test_labels_come_back_as_they_were_given(images):
    X, y = images
    labels = [(-1, ("a", 1), "z")[code] for code in y]

    model = autotl.fit(X, labels, progress=False, **FAST)

    assert set(model.predict(X)) <= {-1, ("a", 1), "z"}
    assert {type(label) for label in model.predict(X)} <= {int, tuple, str}


@pytest.mark.parametrize("labels", [[-1, 0, 7], [True, False, 2], ["é", "ß", "日本"]])
def test_labels_survive_saving(images, tmp_path, labels):
    X, y = images
    model = autotl.fit(X, [labels[code] for code in y], progress=False, **FAST)

    loaded = autotl.load(model.save(tmp_path / "m"))

    assert loaded.classes == model.classes
    assert [type(c) for c in loaded.classes] == [type(c) for c in model.classes]


def test_estimator_is_a_scikit_learn_classifier(images):
    X, y = images
    estimator = clone(autotl.TransferClassifier(random_state=4, **FAST))

    estimator.fit(X, y)

    assert estimator.get_params()["random_state"] == 4
    assert list(estimator.classes_) == [0, 1, 2]
    assert estimator.score(X, y) > 0.8
    assert estimator.predict_proba(X).shape == (60, 3)


def test_unknown_backbone_is_suggested(images):
    with pytest.raises(UnknownNameError, match="Did you mean 'embedded/glyphs'"):
        autotl.fit(*images, backbones="embedded/glyfs", progress=False)


def test_lengths_must_agree(images):
    X, y = images

    with pytest.raises(InvalidDataError, match="y has 59 labels but X has 60 samples"):
        autotl.fit(X, y[:-1], progress=False)


def test_failed_call_leaves_no_folder(images, tmp_path):
    X, y = images

    with pytest.raises(InvalidDataError):
        autotl.fit(X, y[:-1], out=tmp_path / "run", progress=False)

    assert not (tmp_path / "run").exists()


def test_changed_weights_are_refused(run, tmp_path):
    model = autotl.load(run[0])
    model.save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "model.json").read_text())
    config["predictor"]["backbone_digest"] = "0" * 64
    (tmp_path / "m" / "model.json").write_text(json.dumps(config))

    with pytest.raises(ModelFormatError, match="other weights"):
        autotl.load(tmp_path / "m")


def test_missing_backbone_is_named(run, tmp_path):
    autotl.load(run[0]).save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "model.json").read_text())
    config["predictor"]["backbone"] = "timm/resnet18.a1_in1k"
    (tmp_path / "m" / "model.json").write_text(json.dumps(config))

    with pytest.raises(BackboneUnavailableError, match=r"'timm/resnet18\.a1_in1k'"):
        autotl.load(tmp_path / "m")


@pytest.mark.parametrize("damage", ["truncate", "remove", "json"])
def test_damaged_model_is_named(run, tmp_path, damage):
    folder = autotl.load(run[0]).save(tmp_path / "m")
    tensors = folder / "model.safetensors"
    if damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:100])
    elif damage == "remove":
        tensors.unlink()
    else:
        (folder / "model.json").write_text("{")

    with pytest.raises(ModelFormatError, match="damaged"):
        autotl.load(folder)


@pytest.fixture
def table(tmp_path):
    words = (["good fine great lovely"] * 20) + (["bad poor awful horrid"] * 20)
    path = tmp_path / "reviews.csv"
    rows = [f"{text} {i},{'pos' if 'good' in text else 'neg'}" for i, text in enumerate(words)]
    path.write_text("text,label\n" + "\n".join([*rows, ",pos"]) + "\n")
    return path


def test_texts_from_a_table_to_predictions(table, tmp_path):
    fit_source(table, backbones="embedded/words", trials=1, out=tmp_path / "run", progress=False)
    new = tmp_path / "new.csv"
    new.write_text('text,label\ngreat lovely,pos\n"  ",pos\nawful poor,neg\n')

    predictions = predict_source(tmp_path / "run", new)

    assert predictions.labels == ["pos", None, "neg"]
    assert predictions.ids == ["row 1", "row 2", "row 3"]
    assert predictions.score == 1.0
    assert [s.sample for s in predictions.skipped] == ["row 2"]


def test_plan_says_what_would_be_done(table):
    plan = plan_source(table, backbones="embedded/words")

    assert plan["metric"] == "accuracy"
    assert plan["task"]["n_folds"] == 5
    assert [b["name"] for b in plan["backbones"]] == ["embedded/words"]
    assert plan["skipped_samples"]


def texts(path, labels, column="label", split=None, word="text"):
    names = ["text", column, *(["split"] if split else [])]
    rows = [f"{word} number {i},{label}" for i, label in enumerate(labels)]
    rows = [row + (f",{split[i]}" if split else "") for i, row in enumerate(rows)]
    path.write_text("\n".join([",".join(names), *rows]), encoding="utf-8")
    return path


def plan_of(path, **more):
    return plan_source(path, backbones="embedded/words", **more)


@pytest.fixture
def elsewhere(tmp_path):
    """Labelled texts of another domain."""
    return {"elsewhere": texts(tmp_path / "elsewhere.csv", "ab" * 20, word="other")}


def test_a_source_leaves_the_split_of_the_data_as_it_is(tmp_path, elsewhere):
    split = ["train"] * 30 + ["test"] * 10
    path = texts(tmp_path / "own.csv", "ab" * 20, split=split)

    alone, beside = plan_of(path), plan_of(path, other_sources=elsewhere)

    assert alone["task"] == beside["task"]
    assert beside["task"]["n_holdout"] == 10


def test_a_source_leaves_the_labels_that_are_there(tmp_path, elsewhere):
    path = texts(tmp_path / "own.csv", [*"ab" * 15, *[""] * 10])

    plan = plan_of(path, other_sources=elsewhere, unlabeled="use")

    assert plan["task"]["n_samples"] == 30
    assert (plan["n_unlabeled"], plan["sources"]) == (10, {"elsewhere": 40})
    with pytest.raises(InvalidDataError, match="--use-unlabeled"):
        plan_of(path, other_sources=elsewhere)


def test_columns_of_a_source_may_have_other_names(tmp_path, elsewhere):
    path = texts(tmp_path / "own.csv", "ab" * 20, column="polarity")

    for label in (None, "polarity"):
        plan = plan_of(path, other_sources=elsewhere, label=label)
        assert plan["task"]["classes"] == ["a", "b"]
        assert plan["sources"] == {"elsewhere": 40}


def test_a_loose_file_costs_a_folder_no_labels_beside_a_source(tmp_path):
    folders = {}
    for name, start in (("own", 0), ("other", 50)):
        for i, image in enumerate(toy_images(24, seed=start)[0]):
            place = tmp_path / name / f"class {i % 2}"
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{i}.png")
        folders[name] = tmp_path / name
    toy_images(1, seed=9)[0][0].save(folders["own"] / "cover.png")

    plan = plan_source(folders["own"], other_sources={"other": folders["other"]})

    assert plan["task"]["n_samples"] == 24
    assert plan["n_unlabeled"] == 0


@pytest.mark.parametrize("labels", [None, [""] * 40])
def test_a_table_without_labels_learns_from_those_of_a_source(tmp_path, elsewhere, labels):
    path = tmp_path / "own.csv"
    if labels is None:
        path.write_text("\n".join(["text", *(f"text number {i}" for i in range(40))]))
    else:
        texts(path, labels)

    plan = plan_of(path, other_sources=elsewhere)

    assert plan["n_unlabeled"] == 40
    assert any("None of the 40 samples of the data has a label" in w for w in plan["warnings"])


def test_crash_after_trials_keeps_their_journal(digits, tmp_path, monkeypatch):
    from autotl.search.finish.finisher import Finisher

    def run(self, *arguments, **more):
        raise MemoryError

    monkeypatch.setattr(Finisher, "run", run)
    X, y = digits

    with pytest.raises(MemoryError):
        autotl.fit(X, y, labels_per_class=8, out=tmp_path / "run", progress=False, **FAST)

    assert (tmp_path / "run" / "study.journal").stat().st_size > 0


def test_fit_takes_the_labels_of_a_data_set(digits):
    X, y = digits
    pairs = [(image, int(label)) for image, label in zip(X, y, strict=True)]

    model = autotl.fit(pairs[:160], X_holdout=pairs[160:], progress=False, **FAST)

    assert model.classes == list(range(10))
    assert model.predict(pairs).tolist() == model.predict(X).tolist()
    assert model.result["task"]["n_holdout"] == 40
    with pytest.raises(InvalidDataError, match="y is None"):
        autotl.fit(X, progress=False, **FAST)


def test_holdout_labels_need_their_samples(digits):
    X, y = digits
    pairs = [(image, int(label)) for image, label in zip(X, y, strict=True)]

    with pytest.raises(InvalidDataError, match="y_holdout has 40 labels but X_holdout is None"):
        autotl.fit(pairs[:160], y_holdout=y[160:], progress=False, **FAST)


class Torn:
    """Pairs whose third cannot be read."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        if i == 2:
            raise OSError("torn")
        return self.pairs[i]


def test_groups_follow_the_samples_that_can_be_read(digits, monkeypatch):
    X, y = digits
    pairs = [(image, int(label)) for image, label in zip(X, y, strict=True)]
    given = {}
    monkeypatch.setattr(
        "autotl.api.fitting.search", lambda *_, **arguments: given.update(arguments)
    )

    autotl.fit(Torn(pairs), groups=np.arange(200))

    assert given["groups"] == [0, 1, *range(3, 200)]
    assert len(given["ids"]) == 199
    with pytest.raises(InvalidDataError, match="groups has 199 values but X has 200 samples"):
        autotl.fit(Torn(pairs), groups=np.arange(199))
