import json
import os
import signal

import pytest

import autotl
from autotl.search.interrupts import deferred, delayed
from autotl.search.progress import SilentProgress
from autotl.search.settings import open_run_folder
from autotl.search.study.records import TrialRecords
from autotl.testing.fakes import toy_images


@pytest.fixture(autouse=True)
def listening():
    """Handle Ctrl-C as Python does, also where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_first_interrupt_is_deferred_the_second_is_not():
    seen = []

    def press_twice():
        with deferred(lambda: seen.append("first")):
            press()
            seen.append("went on")
            press()

    with pytest.raises(KeyboardInterrupt):
        press_twice()

    assert seen == ["first", "went on"]


def test_handler_is_restored():
    before = signal.getsignal(signal.SIGINT)

    with deferred(lambda: None):
        pass

    assert signal.getsignal(signal.SIGINT) is before


def test_a_delayed_interrupt_lets_the_block_end():
    seen = []

    def press_once():
        with delayed():
            press()
            seen.append("ended")
        seen.append("never")

    with pytest.raises(KeyboardInterrupt):
        press_once()

    assert seen == ["ended"]


def test_the_row_of_a_trial_is_not_lost_to_an_interrupt(run_search, monkeypatch):
    write = TrialRecords.write

    def write_and_press(records, outcome):
        write(records, outcome)
        press()

    monkeypatch.setattr(TrialRecords, "write", write_and_press)

    model = run_search(trials=3)

    assert model.result["stopped_by"] == "interrupt"
    assert [row["trial"] for row in model.result["leaderboard"]] == [0]


class PressAt(SilentProgress):
    """Presses Ctrl-C when a stage begins."""

    def __init__(self, stage):
        self.name = stage

    def stage(self, name, detail=""):
        self.current = name
        if name in ("Refit", "Holdout") and name == self.name:
            press()

    def advance(self, text, done=None, total=None):
        if self.current == self.name and self.name in ("Floor", "Screening") and done:
            self.name = ""
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["Floor", "Screening", "Refit", "Holdout"])
def test_interrupt_in_any_stage_leaves_a_complete_run(run_search, tmp_path, stage):
    from autotl.testing.fakes import fake_backbone

    backbones = [fake_backbone("fake/a"), fake_backbone("fake/b", seed=1)]

    model = run_search(
        *backbones, trials=2, progress=PressAt(stage), out=open_run_folder(tmp_path / "run")
    )

    assert model.result["stopped_by"] == "interrupt"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["shipped"]
    images, _ = toy_images(3, seed=2)
    assert len(autotl.load(tmp_path / "run").floor.predict_proba(images)) == 3
