import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from autotl.cli import main

RESULT = Path(__file__).parents[1] / "result" / "digits_result.json"


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    shutil.copy(RESULT, run / "result.json")
    return run


def run(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_report_writes_into_the_run(folder):
    done = run(folder)
    assert done.exit_code == 0
    assert done.stdout.strip() == str(folder / "report.html")
    assert "Transfer helps" in (folder / "report.html").read_text(encoding="utf-8")


def test_report_names_the_folder_where_it_is_now(folder):
    run(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "my run" in page
    assert "digits-run" not in page


def test_report_json_names_the_file(folder, tmp_path):
    done = run(folder, "--out", tmp_path / "r.html", "--json")
    assert json.loads(done.stdout)["report"] == str(tmp_path / "r.html")


def test_report_refuses_an_existing_out(folder, tmp_path):
    out = tmp_path / "notes.html"
    out.write_text("mine", encoding="utf-8")
    assert run(folder, "--out", out).exit_code == 1
    assert out.read_text(encoding="utf-8") == "mine"
    assert run(folder, "--out", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no result.json"), ("{", "damaged"), ('{"schema": 9}', "schema 9"), ("[]", "None")],
)
def test_report_of_a_damaged_run_exits_1(folder, content, words):
    path = folder / "result.json"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    done = run(folder)
    assert done.exit_code == 1
    assert words in done.stderr


def test_report_of_a_missing_run_exits_1(tmp_path):
    done = run(tmp_path / "nothing")
    assert done.exit_code == 1
    assert "nothing" in done.stderr
