"""`autotl experience`: what it shows, exports, imports and forgets."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.experience import DataFingerprint, ExperienceStore, RunRecord, TrialRecord

DAY = 86400


@pytest.fixture
def path(monkeypatch, tmp_path):
    path = tmp_path / "experience.sqlite3"
    monkeypatch.setenv("AUTOTL_EXPERIENCE", str(path))
    return path


def record(day, backbone="timm/small"):
    data = DataFingerprint(
        modality="image", metric="accuracy", n_train=640, n_classes=7, class_entropy=1.9
    )
    trials = tuple(
        TrialRecord(backbone=name, adaptation=method, params={"lr": 0.01}, value=value)
        for name, method, value in ((backbone, "lp_ft", 0.9), ("timm/other", "linear_probe", 0.8))
    )
    return RunRecord(
        finished_at=1.7e9 + day * DAY,
        version="0.2.0",
        device="cpu",
        fingerprint=data,
        trials=trials,
        floor=0.6,
        gap=0.25,
        verdict="positive",
    )


@pytest.fixture
def filled(path):
    ExperienceStore(path).add([record(0), record(1, "timm/\x1b[31mred")])
    return path


def run(*arguments, code=0, text=None):
    done = CliRunner().invoke(main, ["experience", *arguments], input=text)
    assert done.exit_code == code, done.output
    return done


def test_experience_shows_a_row_for_each_run(filled):
    lines = run().stdout.splitlines()

    facts = dict(line.split(maxsplit=1) for line in lines[:3])
    assert facts["File"] == str(filled)
    assert facts["Runs"] == "2"
    assert facts["Size"].endswith("kB")
    row = lines[-1].split()
    assert row[0] == record(0).id
    assert row[3:] == ["image", "640", "7", "timm/small", "lp_ft", "+0.250", "positive"]


def test_experience_lets_no_escape_sequence_out(filled):
    assert "\x1b" not in run().stdout


def test_experience_shows_the_newest_only(path):
    ExperienceStore(path).add([record(day) for day in range(25)])

    done = run()

    assert len([line for line in done.stdout.splitlines() if "timm/small" in line]) == 20
    assert record(24).id in done.stdout
    assert "(--json also shows 5 older ones.)" in done.stderr
    assert len(json.loads(run("--json").stdout)["runs"]) == 25


def test_experience_json_is_pure_and_stable(filled):
    content = json.loads(run("--json").stdout)

    assert content["schema"] == 1
    assert content["path"] == str(filled)
    assert content["enabled"] is True
    assert content["damaged"] == []
    assert content["size_bytes"] == filled.stat().st_size
    assert content["runs"][1] == {
        "id": record(0).id,
        "ended_at": "2023-11-14T22:13:20Z",
        "version": "0.2.0",
        "device": "cpu",
        "modality": "image",
        "metric": "accuracy",
        "n_samples": 640,
        "n_classes": 7,
        "n_trials": 2,
        "backbone": "timm/small",
        "adaptation": "lp_ft",
        "params": {"lr": 0.01},
        "validation": 0.9,
        "floor": 0.6,
        "gap": 0.25,
        "verdict": "positive",
    }


def test_experience_empty_creates_nothing(path):
    assert run().stdout.split()[2:4] == ["Runs", "0"]
    assert not path.exists()


def test_experience_switched_off_says_so(filled, monkeypatch):
    monkeypatch.setenv("AUTOTL_EXPERIENCE", "off")

    assert "off: AUTOTL_EXPERIENCE says so" in run().stdout
    content = json.loads(run("--json").stdout)
    assert (content["enabled"], content["path"], content["runs"]) == (False, None, [])
    done = run("forget", "--all", "--yes", code=1)
    assert "there is no experience to work on" in done.stderr


def test_experience_damaged_file_is_an_error_of_one_line(path):
    path.write_bytes(b"not a database" * 100)

    done = run(code=1)

    assert done.stderr.startswith(f"Error: The experience in {str(path)!r} is damaged")
    assert len(done.stderr.splitlines()) == 1


def test_exported_file_can_be_imported_elsewhere(filled, monkeypatch, tmp_path):
    file = tmp_path / "moved.json"
    assert "Wrote 2 runs" in run("export", str(file)).stderr
    before = ExperienceStore(filled).runs()

    other = tmp_path / "other.sqlite3"
    monkeypatch.setenv("AUTOTL_EXPERIENCE", str(other))

    assert "Added 2 runs of 2." in run("import", str(file)).stderr
    assert "Added 0 runs of 2." in run("import", str(file)).stderr
    assert ExperienceStore(other).runs() == before


def test_export_overwrites_only_when_told(filled, tmp_path):
    file = tmp_path / "kept.json"
    file.write_text("mine")

    done = run("export", str(file), code=1)

    assert "exists; expected a new file" in done.stderr
    assert file.read_text() == "mine"
    run("export", "--force", str(file))
    assert json.loads(file.read_text())["schema"] == 1
    assert list(tmp_path.glob(".kept*")) == []


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema": 2, "runs": []}', '{"schema": 1, "runs": [{}]}']
)
def test_import_of_something_else_changes_nothing(filled, tmp_path, content):
    file = tmp_path / "other.json"
    file.write_text(content)

    done = run("import", str(file), code=1)

    assert done.stderr.startswith("Error: ")
    assert ExperienceStore(filled).n_runs() == 2


def test_forget_one_run(filled):
    assert "Forgot 1 run." in run("forget", "--run", record(0).id).stderr

    assert [r["id"] for r in json.loads(run("--json").stdout)["runs"]] != [record(0).id]
    done = run("forget", "--run", record(0).id, code=1)
    assert f"Unknown run {record(0).id!r}" in done.stderr


def test_forget_before_a_date(filled):
    ExperienceStore(filled).add([record(10)])

    done = run("forget", "--before", "2023-11-20", "--json")

    assert json.loads(done.stdout) == {"schema": 1, "forgotten": 2}
    assert ExperienceStore(filled).runs() == [record(10)]


def test_forget_all_asks_first(filled):
    done = run("forget", "--all", text="n\n")
    assert "Nothing was forgotten." in done.stderr
    assert ExperienceStore(filled).n_runs() == 2

    assert "Forgot 2 runs." in run("forget", "--all", text="y\n").stderr
    assert "Forgot 0 runs." in run("forget", "--all", "--yes").stderr


@pytest.mark.parametrize("arguments", [(), ("--all", "--run", "x"), ("--before", "yesterday")])
def test_forget_needs_exactly_one_choice(filled, arguments):
    assert run("forget", *arguments, code=2).stderr.startswith("Usage: ")
    assert ExperienceStore(filled).n_runs() == 2


def test_damaged_records_are_named_and_can_be_forgotten(filled):
    import sqlite3

    with sqlite3.connect(filled) as db:
        db.execute("UPDATE runs SET record = '{' WHERE id = ?", (record(0).id,))
    db.close()

    assert f"damaged and not used: {record(0).id}." in run().stderr
    assert json.loads(run("--json").stdout)["damaged"] == [record(0).id]
    run("forget", "--run", record(0).id)
    assert json.loads(run("--json").stdout)["damaged"] == []


def test_experience_loads_no_engine(filled):
    code = (
        "import sys\nfrom autotl.cli import main\n"
        "main(['experience', '--json'], standalone_mode=False)\n"
        "assert not {'torch', 'sklearn', 'optuna', 'pandas', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_of_experience_loads_nothing_heavy():
    code = (
        "import sys\nfrom autotl.cli import main\n"
        "try:\n    main(['experience', '--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'numpy', 'sqlite3', 'rich'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
