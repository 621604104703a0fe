"""`autotl resume`: what it passes on, and whole runs that were killed (slow)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.errors import SpaceChangedError

RESULT = Path(__file__).parents[1] / "result" / "digits_result.json"


@pytest.fixture
def result():
    return json.loads(RESULT.read_text(encoding="utf-8"))


@pytest.fixture
def engine(monkeypatch, result):
    """Stand in for the engine: records the call, returns a stored result or raises."""
    calls = SimpleNamespace(made=[], error=None)
    api = ModuleType("autotl.api")

    def resume(run, **arguments):
        calls.made.append((run, arguments))
        if calls.error is not None:
            raise calls.error
        return SimpleNamespace(result=result)

    api.resume = resume
    monkeypatch.setitem(sys.modules, "autotl.api", api)
    return calls


def resume(*arguments):
    return CliRunner().invoke(main, ["resume", *arguments])


def test_resume_passes_only_what_was_given(engine):
    assert resume("run").exit_code == 0
    ((run, arguments),) = engine.made
    assert arguments.pop("started") > 0
    assert (run, arguments) == ("run", {"progress": True})


def test_resume_passes_every_option(engine):
    resume(
        "run", "--budget", "5m", "--trials", "7", "--workers", "2", "--device", "cpu",
        "--download", "--accept-changes", "--no-progress",
    )  # fmt: skip
    ((_, arguments),) = engine.made
    assert arguments.pop("started") > 0
    assert arguments == {
        "budget_seconds": 300.0, "trials": 7, "workers": 2, "device": "cpu", "download": True,
        "accept_changes": True, "progress": False,
    }  # fmt: skip


def test_resume_shows_what_search_shows(engine, result):
    assert "holdout" in resume("run").stdout.lower()
    assert json.loads(resume("run", "--json").stdout) == result


def test_resume_says_how_often_the_holdout_was_looked_at(engine, result):
    for looks, said in ((None, False), (1, False), (3, True)):
        result["holdout_looks"] = looks
        assert ("looked at its holdout 3 times" in " ".join(resume("run").stdout.split())) is said


def test_resume_says_what_has_changed_and_what_to_do(engine):
    engine.error = SpaceChangedError(["backbone 'a/b' was added"])

    done = resume("run")

    assert done.exit_code == 1
    assert "backbone 'a/b' was added" in done.stderr
    assert "--accept-changes" in done.stderr


def test_an_interrupt_says_how_to_go_on(engine, result, tmp_path):
    result["stopped_by"] = "interrupt"
    done = resume("my run")
    assert done.exit_code == 130
    assert "autotl resume 'my run'" in done.stderr

    engine.error = KeyboardInterrupt()
    (tmp_path / "study.journal").touch()
    done = resume(str(tmp_path))
    assert done.exit_code == 130
    assert f"autotl resume {tmp_path}" in done.stderr


def test_resume_needs_a_run():
    assert resume().exit_code == 2
    assert resume("run", "--trials", "0").exit_code == 2


# Whole runs


TRIALS = 6


def begin(out, *more):
    """Start a search of so many trials in a process of its own."""
    command = [
        sys.executable, "-m", "autotl", "search", "sklearn:digits", "--labels-per-class", "8",
        "--trials", str(TRIALS), "--backbones", "embedded/shapes", "--out", str(out),
        "--no-progress", *more,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_trials(out, n, process):
    """Wait until so many trials have ended; the next ones are then in flight."""
    while len(ended(out)) < n:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)


def ended(out):
    """Return the values of the trials that have a record."""
    return {
        int(p.stem): json.loads(p.read_text())["value"] for p in out.glob("trials/[0-9]*.json")
        if p.stem.isdigit()
    }  # fmt: skip


def go_on(out, *more):
    done = subprocess.run(
        [sys.executable, "-m", "autotl", "resume", str(out), "--no-progress", "--json", *more],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(result, before, n_lost):
    """Nothing that had ended is lost, and what was in flight was run again."""
    rows = {row["trial"]: row for row in result["leaderboard"]}
    for trial, value in before.items():
        assert rows[trial]["validation"] == value
    lost = [row for row in rows.values() if "run again" in row["reason"]]
    assert len(lost) <= n_lost
    assert len(rows) - len(lost) == TRIALS
    for row in lost:
        same = ("backbone", "adaptation", "params")
        again = [r for r in rows.values() if all(r[k] == row[k] for k in same)]
        assert any(r["validation"] is not None for r in again)
    assert result["stopped_by"] == "trials"


def children(process):
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, parent in pairs if int(parent) == process.pid]


def alive(pid):
    shown = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(shown) and not shown.startswith("Z")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_search_goes_on(tmp_path, workers):
    out = tmp_path / "run"
    process = begin(out, "--workers", str(workers))
    wait_for_trials(out, 3, process)
    orphans = children(process)
    process.kill()
    process.wait()
    process.stderr.close()
    while any(alive(pid) for pid in orphans):  # they end by themselves
        time.sleep(0.1)

    before = ended(out)
    check(go_on(out), before, n_lost=workers)


@pytest.fixture
def listening():
    """Let children hear Ctrl-C, also where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_an_interrupted_search_goes_on(tmp_path, listening):
    out = tmp_path / "run"
    process = begin(out)
    wait_for_trials(out, 3, process)
    os.kill(process.pid, signal.SIGINT)
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 130
    assert "autotl resume" in said
    assert (out / "result.json").exists()

    check(go_on(out), {}, n_lost=1)
