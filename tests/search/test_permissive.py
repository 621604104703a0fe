"""What a search for permissive backbones leaves out, and what it still does."""

import dataclasses
import json

import pytest

import autotl
from autotl.errors import BackboneUnavailableError
from autotl.registry import get_registry
from autotl.testing.fakes import fake_backbone, toy_images

FAST = {"adaptations": "linear_probe", "trials": 2, "progress": False}
FREE = fake_backbone("fake/free")
RESTRICTED = dataclasses.replace(
    fake_backbone("fake/restricted", seed=1),
    permissive=False,
    source_terms="trained on scans: research and non-commercial",
)
ONLY_RESTRICTED = [RESTRICTED, dataclasses.replace(RESTRICTED, name="fake/second")]


@pytest.fixture
def listed(monkeypatch):
    """Let the installed plugins list exactly these backbones."""

    def listed(*specs):
        catalog = get_registry().backbones
        monkeypatch.setattr(catalog, "_specs", {s.name: s for s in specs})
        monkeypatch.setattr(catalog, "_aliases", {s.name: s.name for s in specs})
        monkeypatch.setattr(catalog, "_owners", {s.name: "fake 1" for s in specs})

    return listed


@pytest.fixture(scope="module")
def images():
    return toy_images(60)


def tried(model):
    return {row["backbone"] for row in model.result["leaderboard"]}


def test_restricted_backbones_are_left_out_with_their_terms(listed, images, tmp_path):
    listed(FREE, RESTRICTED)

    model = autotl.fit(*images, permissive_only=True, out=tmp_path / "run", **FAST)

    assert tried(model) == {"fake/free"}
    (skipped,) = model.result["skipped_backbones"]
    assert skipped["name"] == "fake/restricted"
    assert "Apache-2.0; trained on scans: research and non-commercial" in skipped["reason"]
    assert model.result["restricted_backbones"] == ["fake/restricted"]
    assert "research and non-commercial" in (tmp_path / "run" / "report.html").read_text()


def test_choice_and_terms_are_recorded(listed, images, tmp_path):
    listed(FREE, RESTRICTED)

    autotl.fit(*images, permissive_only=True, out=tmp_path / "run", **FAST)

    assert json.loads((tmp_path / "run" / "run.json").read_text())["asked"]["permissive_only"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["permissive_only"] is True
    assert result["best"]["permissive"] is True
    header, *rows = (tmp_path / "run" / "leaderboard.csv").read_text().splitlines()
    assert {"license", "source_terms", "permissive"} <= set(header.split(","))
    assert all("Apache-2.0" in row for row in rows)


def test_all_are_tried_where_nothing_was_said(listed, images):
    listed(FREE, RESTRICTED)

    model = autotl.fit(*images, **FAST)

    ranked = {row["name"]: row for row in model.result["ranking"]["backbones"]}
    assert ranked["fake/restricted"]["permissive"] is False
    assert ranked["fake/free"]["permissive"] is True
    assert model.result["permissive_only"] is False
    assert model.result["restricted_backbones"] == []


def test_estimator_leaves_restricted_ones_out(listed, images):
    listed(FREE, RESTRICTED)

    classifier = autotl.TransferClassifier(permissive_only=True, **FAST).fit(*images)

    assert tried(classifier.model_) == {"fake/free"}


def test_floor_is_the_model_where_nothing_is_permissive(listed, images, capsys):
    listed(*ONLY_RESTRICTED)

    model = autotl.fit(*images, permissive_only=True, **FAST | {"progress": True})

    assert model.result["shipped"] == "floor"
    (warning,) = [w for w in model.result["warnings"] if "No permissive backbone" in w]
    assert "fake/restricted" in warning
    assert "leave --permissive-only out" in warning
    assert "No permissive backbone was usable" in capsys.readouterr().err
    assert len(model.predict(toy_images(5)[0])) == 5


def test_naming_only_restricted_ones_is_an_error(listed, images):
    listed(FREE, RESTRICTED)

    with pytest.raises(BackboneUnavailableError, match="or --permissive-only out") as caught:
        autotl.fit(*images, backbones="fake/restricted", permissive_only=True, **FAST)

    assert "trained on scans" in str(caught.value)


def test_naming_a_restricted_one_beside_others_skips_it(listed, images):
    listed(FREE, RESTRICTED)
    names = ["fake/restricted", "fake/free"]

    model = autotl.fit(*images, backbones=names, permissive_only=True, **FAST)

    assert tried(model) == {"fake/free"}
    assert model.result["restricted_backbones"] == ["fake/restricted"]


def test_models_of_restricted_backbones_load_as_before(listed, images, tmp_path):
    listed(RESTRICTED)
    model = autotl.fit(*images, **FAST)
    samples = toy_images(5, seed=3)[0]

    loaded = autotl.load(model.save(tmp_path / "m"))

    assert (loaded.predict(samples) == model.predict(samples)).all()
