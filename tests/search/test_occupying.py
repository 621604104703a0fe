"""One search at a time in a run folder."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.errors import AutotlError, OutputExistsError, SearchError
from autotl.search.occupying import LOCK, occupied
from autotl.search.settings import open_run_folder

RESULT = Path(__file__).parents[1] / "result" / "digits_result.json"
HOLD = """
import sys, time
from autotl.search.occupying import occupied
with occupied(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process at work in a run folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_search_is_refused_at_once(other, tmp_path):
    refused = pytest.raises(SearchError, match=r"Another search is at work.*Wait")
    with refused as caught, occupied(tmp_path):
        pytest.fail("two searches in one folder")
    assert str(tmp_path) in str(caught.value)
    assert isinstance(caught.value, AutotlError)


def test_the_lock_of_a_killed_search_is_void(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()

    assert (tmp_path / LOCK).exists()
    with occupied(tmp_path):
        pass


def test_a_search_that_ends_or_fails_makes_room(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), occupied(tmp_path):
            raise error
    with occupied(tmp_path):
        pass


def test_threads_of_one_process_are_told_apart(tmp_path):
    refused = []

    def second():
        try:
            with occupied(tmp_path):
                pass
        except SearchError:
            refused.append(True)

    with occupied(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused == [True]


def test_a_folder_that_knows_no_locks_may_hold_runs(tmp_path, monkeypatch):
    def acquire(self, timeout):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("autotl.search.occupying.FileLock.acquire", acquire)

    with occupied(tmp_path):
        pass


def test_resume_and_search_are_refused_on_the_command_line(other, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"asked": {"reading": {"source": "gone"}}}))

    done = CliRunner().invoke(main, ["resume", str(tmp_path)])

    assert done.exit_code == 1
    assert "Another search is at work" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    (tmp_path / "run.json").unlink()
    done = CliRunner().invoke(main, ["search", "sklearn:digits", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "Another search is at work" in done.stderr


def test_what_a_run_has_left_can_be_read_while_it_goes_on(other, tmp_path):
    (tmp_path / "result.json").write_text(RESULT.read_text(encoding="utf-8"))

    done = CliRunner().invoke(main, ["report", str(tmp_path)])

    assert done.exit_code == 0, done.stderr


def test_a_lock_alone_does_not_fill_a_folder(tmp_path):
    (tmp_path / LOCK).touch()
    assert open_run_folder(tmp_path) == tmp_path

    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputExistsError):
        open_run_folder(tmp_path)
