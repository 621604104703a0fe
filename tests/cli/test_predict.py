"""What `autotl predict` writes and refuses; the model itself is tested elsewhere."""

import csv
import io
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from autotl.cli import main


@pytest.fixture
def predictions():
    return SimpleNamespace(
        ids=["a.png", 'b,"c".png'],
        labels=["cat", "dog, wild"],
        probabilities=np.array([[0.75, 0.25], [0.125, 0.875]], dtype=np.float32),
        classes=["cat", "dog, wild"],
        score=0.5,
        metric="balanced_accuracy",
        skipped=[SimpleNamespace(sample="broken.png", reason="it is cut short")],
    )


@pytest.fixture
def calls(monkeypatch, predictions):
    made = []
    api = ModuleType("autotl.api")

    def predict_source(run, source, **arguments):
        made.append((run, source, arguments))
        return predictions

    api.predict_source = predict_source
    monkeypatch.setitem(sys.modules, "autotl.api", api)
    return made


def run(*arguments):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_prints_csv_in_input_order(calls):
    done = run("run", "data")
    first, second, skipped = rows(done.stdout)
    assert done.exit_code == 0
    assert first["id"] == "a.png"
    assert (second["id"], second["label"]) == ('b,"c".png', "dog, wild")
    assert second["prob_dog, wild"] == "0.875"
    assert skipped == {
        "id": "broken.png",
        "label": "",
        "prob_cat": "",
        "prob_dog, wild": "",
        "reason": "it is cut short",
    }


def test_predict_keeps_a_skipped_sample_in_its_place(calls, predictions):
    predictions.ids.insert(1, "broken.png")
    predictions.labels.insert(1, None)
    predictions.probabilities = np.insert(predictions.probabilities, 1, np.nan, axis=0)
    found = rows(run("run", "data").stdout)
    assert [r["id"] for r in found] == ["a.png", "broken.png", 'b,"c".png']
    assert found[1]["prob_cat"] == ""


def test_predict_tells_the_score_on_stderr(calls):
    done = run("run", "data")
    assert "Balanced accuracy on the labels in DATA: 50.0 %" in done.stderr
    assert "Skipped broken.png: it is cut short" in done.stderr


def test_predict_writes_out_and_keeps_stdout_clean(calls, tmp_path):
    out = tmp_path / "new" / "predictions.csv"
    done = run("run", "data", "--out", out)
    assert done.stdout == ""
    assert len(rows(out.read_text(encoding="utf-8"))) == 3
    assert [p.name for p in out.parent.iterdir()] == ["predictions.csv"]


def test_predict_json_has_one_schema(calls):
    content = json.loads(run("run", "data", "--json").stdout)
    assert content["schema"] == 1
    assert content["predictions"][0] == {
        "id": "a.png",
        "label": "cat",
        "probabilities": [0.75, 0.25],
    }
    assert content["skipped"] == [{"sample": "broken.png", "reason": "it is cut short"}]
    assert content["score"] == 0.5


def test_predict_refuses_an_existing_out(calls, tmp_path):
    out = tmp_path / "predictions.csv"
    out.write_text("precious", encoding="utf-8")
    done = run("run", "data", "--out", out)
    assert done.exit_code == 1
    assert "--overwrite" in done.stderr
    assert out.read_text(encoding="utf-8") == "precious"
    assert not calls


def test_predict_overwrites_when_told(calls, tmp_path):
    out = tmp_path / "predictions.csv"
    out.write_text("old", encoding="utf-8")
    assert run("run", "data", "--out", out, "--overwrite").exit_code == 0
    assert out.read_text(encoding="utf-8").startswith("id,label")


def test_predict_never_overwrites_its_input(calls, tmp_path):
    data = tmp_path / "texts.csv"
    data.write_text("text\nhello\n", encoding="utf-8")
    done = run("run", data, "--out", tmp_path / "." / "texts.csv", "--overwrite")
    assert done.exit_code == 1
    assert "DATA itself" in done.stderr
    assert data.read_text(encoding="utf-8") == "text\nhello\n"


def test_predict_refuses_a_folder_as_out(calls, tmp_path):
    done = run("run", "data", "--out", tmp_path)
    assert done.exit_code == 1
    assert "predictions.csv" in done.stderr


def test_predict_passes_columns_on(calls):
    run("run", "data.csv", "--text", "body", "--label", "kind", "--device", "cpu")
    assert calls == [("run", "data.csv", {"text": "body", "label": "kind", "device": "cpu"})]


def test_predict_of_a_missing_run_exits_1(tmp_path):
    done = run(tmp_path / "no-run", "data")
    assert done.exit_code == 1
    assert "no-run" in done.stderr
