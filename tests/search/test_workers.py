"""Workers: the pool on stand-ins that take no time, and whole searches on real ones (slow)."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from autotl.registry import get_registry
from autotl.search import workers
from autotl.search.progress import SilentProgress
from autotl.search.settings import open_run_folder
from autotl.search.study.candidate import GIVEN_UP, LOST
from autotl.search.workers import Job, WorkerPool, n_cores, share_out
from autotl.specs import Choice
from autotl.testing.fakes import fake_adaptation

STAND_IN = """
import json, os, pathlib, signal, sys, time
mode, folder = sys.argv[1], pathlib.Path(sys.argv[2])
size = int.from_bytes(sys.stdin.buffer.read(8), "little")
assert len(sys.stdin.buffer.read(size)) == size
nth = 0
while True:
    try:
        (folder / str(nth)).open("x").close()
        break
    except FileExistsError:
        nth += 1
def answer(**content):
    print(json.dumps(content), flush=True)
def interrupted(*_):
    answer(stopped_by="interrupt", reason="")
    os._exit(0)
if mode == "die" or (mode == "die once" and nth == 0):
    answer(trial=nth)
    sys.exit(3)
if mode in ("wait", "deaf"):
    signal.signal(signal.SIGINT, interrupted if mode == "wait" else signal.SIG_IGN)
    answer(trial=nth)
    time.sleep(600)
if mode == "noise":
    print("a chatty library", flush=True)
answer(trial=nth)
answer(stopped_by="floor" if mode == "floor" and nth == 1 else "trials", reason=mode)
"""


def job(name, **changes):
    content = {
        "name": name, "task": None, "backbones": [], "adaptations": [], "floor": None,
        "floor_proba": None, "reserve": 0.0, "budget_seconds": 60.0, "earlier": 0.0,
        "elapsed": 0.0, "sent_at": 0.0, "trials": 1, "folder": None, "seed": 0, "device": "cpu",
        "cache": False, "views": 1, "n_threads": 1, "paths": (), "remembered": (), "listed": (),
    }  # fmt: skip
    known = Job.__dataclass_fields__
    return Job(**{k: v for k, v in (content | changes).items() if k in known})


@pytest.fixture
def pool(monkeypatch, tmp_path):
    """Return a function that makes a pool of stand-ins; what it says is on its attributes."""
    script, seen = tmp_path / "stand_in.py", tmp_path / "seen"
    script.write_text(textwrap.dedent(STAND_IN))
    seen.mkdir()
    popen, started = subprocess.Popen, []

    def make(mode, n=2, on_trial=None):
        def start(_command, **how):
            started.append(popen([sys.executable, "-S", str(script), mode, str(seen)], **how))
            return started[-1]

        monkeypatch.setattr(workers.subprocess, "Popen", start)
        messages, trials = [], []
        made = WorkerPool(
            [job(f"0-{k}") for k in range(n)], lambda: 1.0,
            on_trial or (lambda: trials.append(1)), messages.append,
        )  # fmt: skip
        made.messages, made.trials = messages, trials
        return made

    make.started = started
    yield make
    for process in started:
        assert process.poll() is not None  # nobody is left behind
        process.kill()


@pytest.mark.parametrize("mode", ["fine", "noise"])
def test_a_pool_waits_for_all_and_passes_their_trials_on(pool, mode):
    found = pool(mode)

    assert found.run() == ("trials", mode)
    assert len(found.trials) == 2
    assert found.messages == []


def test_what_ends_one_worker_for_good_names_the_end(pool):
    assert pool("floor").run() == ("floor", "floor")


def test_a_worker_that_dies_is_replaced(pool):
    found = pool("die once")

    assert found.run()[0] == "trials"
    assert len(pool.started) == 3
    assert len(found.messages) == 1
    assert "ended before its time (exit status 3)" in found.messages[0]


def test_a_worker_that_dies_again_and_again_is_given_up(pool):
    found = pool("die", n=1)

    assert found.run() == ("budget", "")
    assert len(pool.started) == 4
    assert "given up" in found.messages[-1]


def press():
    raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["wait", "deaf"])
def test_an_interrupt_ends_all_workers(pool, monkeypatch, mode):
    monkeypatch.setattr(workers, "_GRACE_SECONDS", 60.0 if mode == "wait" else 0.2)
    pressed = []

    def on_trial():
        if not pressed:
            pressed.append(True)
            press()

    assert pool(mode, on_trial=on_trial).run() == ("interrupt", "")
    assert all(process.poll() is not None for process in pool.started)
    if mode == "deaf":
        ended = {process.poll() for process in pool.started}
        # One may be pressed before it has learnt not to hear.
        assert {-signal.SIGKILL} <= ended <= {-signal.SIGKILL, -signal.SIGINT}


@pytest.mark.parametrize(("trials", "n"), [(6, 2), (7, 3), (1, 1), (2, 5), (0, 2)])
def test_trials_are_shared_out_exactly(trials, n):
    shares = list(share_out(trials, n))

    assert sum(shares) == trials
    assert max(shares) - min(shares) <= 1
    assert list(share_out(None, n)) == [None] * n


def test_there_is_a_core():
    assert 1 <= n_cores() <= (os.cpu_count() or 1)


def test_a_worker_ends_with_its_parent():
    # The pipe of its standard input closes when the parent is gone, however it went.
    code = (
        "import sys, threading, time\n"
        "from autotl.search.work import _end_with_parent\n"
        "threading.Thread(target=_end_with_parent, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert worker.stdout.readline() == b"ready\n"
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait(timeout=300) == 1
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


# Whole searches


def ended(model):
    """Return the rows of trials that were not lost."""
    return [r for r in model.result["leaderboard"] if "run again" not in r["reason"]]


@pytest.fixture
def processes(monkeypatch):
    """Record the workers that are started."""
    started, start = [], WorkerPool._start

    def recording(self, job):
        worker = start(self, job)
        started.append(worker.process)
        return worker

    monkeypatch.setattr(WorkerPool, "_start", recording)
    yield started
    assert all(process.poll() is not None for process in started)


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "n"), [(6, 2), (2, 3)])
def test_two_workers_run_exactly_the_trials_that_were_asked_for(
    run_search, processes, trials, n, capfd
):
    model = run_search(trials=trials, workers=n)

    rows = model.result["leaderboard"]
    assert sorted(row["trial"] for row in rows) == list(range(trials))
    assert model.result["stopped_by"] == "trials"
    assert all(row["why"] for row in rows)
    assert model.result["best"] is not None
    assert not [w for w in model.result["warnings"] if "before its time" in w]
    assert len({str((r["backbone"], r["adaptation"], r["params"])) for r in rows}) == trials
    assert "Fatal" not in capfd.readouterr().err


@pytest.mark.slow
def test_the_trials_of_a_killed_worker_are_run_again(run_search, processes, tmp_path):
    run = open_run_folder(tmp_path / "run")

    def kill():
        while not list(run.glob("trials/0*.json")):
            time.sleep(0.05)
        processes[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    model = run_search(trials=8, workers=2, out=run)
    thread.join()

    assert len(ended(model)) == 8
    assert len(processes) == 3
    assert any("ended before its time" in w for w in model.result["warnings"])
    # What was lost is there again, under another number.
    configurations = [(r["backbone"], r["adaptation"], r["params"]) for r in ended(model)]
    for row in model.result["leaderboard"]:
        if "run again" in row["reason"]:
            assert (row["backbone"], row["adaptation"], row["params"]) in configurations


@pytest.mark.slow
def test_a_trial_that_ends_its_process_is_given_up_and_the_search_goes_on(
    run_search, processes, monkeypatch
):
    def steps(task, state=None):
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    deadly = dataclasses.replace(
        fake_adaptation(), name="deadly", steps=steps, space={"way": Choice(options=("kill",))},
        defaults={"way": "kill"},
    )  # fmt: skip
    catalog = get_registry().adaptations
    monkeypatch.setitem(catalog._specs, "deadly", deadly)
    monkeypatch.setitem(catalog._aliases, "deadly", "deadly")

    model = run_search(trials=8, workers=2, adaptations=["deadly", "linear_probe"])

    reasons = [r["reason"] for r in model.result["leaderboard"] if r["adaptation"] == "deadly"]
    assert sorted(reasons) == [LOST, GIVEN_UP]
    assert len(processes) == 2 + 2
    assert model.result["stopped_by"] in ("trials", "space")
    assert model.result["best"] is not None


class Interrupting(SilentProgress):
    """Presses Ctrl-C after some trials."""

    def __init__(self, after):
        self.after = after

    def trial(self, row):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupt_leaves_a_model(run_search, processes, tmp_path):
    run = open_run_folder(tmp_path / "run")

    model = run_search(trials=60, workers=2, progress=Interrupting(2), out=run)

    assert model.result["stopped_by"] == "interrupt"
    assert 2 <= len(model.result["leaderboard"]) < 60
    assert (run / "result.json").exists()
    assert len(model.predict([s for s, _ in zip(_images(), range(3), strict=False)])) == 3


def _images():
    from autotl.testing.fakes import toy_images

    return toy_images(5, seed=3)[0]
