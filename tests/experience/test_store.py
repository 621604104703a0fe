"""The file of experience: what goes in comes out, whatever happens beside it."""

import multiprocessing
import sqlite3
import stat
import subprocess
import sys

import pytest

from autotl.errors import InvalidDataError, ModelFormatError
from autotl.experience import ExperienceStore, experience_file

VALUES = {("timm/a", "linear_probe"): 0.8}


@pytest.fixture
def store(tmp_path):
    return ExperienceStore(tmp_path / "of" / "experience.sqlite3")


def write_many(path, records):
    store = ExperienceStore(path)
    for record in records:
        store.add([record])


def test_records_come_back_newest_first(store, make_run):
    runs = [make_run(VALUES, ended=1e9 + day) for day in (1, 3, 2)]

    assert store.add(runs) == 3

    assert store.runs() == [runs[1], runs[2], runs[0]]
    assert store.runs(newest=2) == [runs[1], runs[2]]
    assert store.runs(ids=[runs[0].id]) == [runs[0]]
    assert store.n_runs() == 3


def test_the_same_record_is_kept_once(store, make_run):
    run = make_run(VALUES)

    assert store.add([run, run]) == 1
    assert store.add([run]) == 0
    assert store.runs() == [run]


def test_fingerprints_are_those_of_a_modality(store, make_run, make_data):
    image = make_run(VALUES)
    text = make_run(VALUES, data=make_data(modality="text"))
    store.add([image, text])

    assert store.fingerprints("text") == [(text.id, text.fingerprint)]


def test_reading_creates_nothing(store):
    assert store.runs() == []
    assert store.fingerprints("image") == []
    assert store.n_runs() == 0
    assert store.forget() == 0
    assert store.size_bytes() == 0
    assert not store.path.parent.exists()


def test_file_is_for_its_owner_alone(store, make_run):
    store.add([make_run(VALUES)])

    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_the_oldest_are_forgotten_beyond_a_number(tmp_path, make_run):
    store = ExperienceStore(tmp_path / "few", most_runs=3)
    runs = [make_run(VALUES, ended=1e9 + day) for day in range(6)]
    for run in runs:
        store.add([run])

    assert store.runs() == runs[:2:-1]


def test_the_oldest_are_forgotten_beyond_a_size(tmp_path, make_run):
    runs = [make_run(VALUES, ended=1e9 + day) for day in range(6)]
    size = len(runs[0].to_json())
    store = ExperienceStore(tmp_path / "small", most_bytes=2 * size + size // 2)
    store.add(runs)

    assert store.runs() == runs[:3:-1]
    tiny = ExperienceStore(tmp_path / "tiny", most_bytes=1)
    tiny.add(runs[:2])
    assert tiny.runs() == [runs[1]]


def test_file_does_not_grow_for_ever(tmp_path, make_run):
    store = ExperienceStore(tmp_path / "few", most_runs=5)
    sizes = []
    for day in range(16):
        store.add([make_run(VALUES, ended=1e9 + day)])
        sizes.append(store.size_bytes())

    assert sizes[-1] == sizes[10]


def test_forgetting_leaves_no_trace_in_the_file(store, make_run):
    marked = make_run({("timm/remarkable-name", "linear_probe"): 0.8})
    kept = make_run(VALUES, ended=2e9)
    store.add([marked, kept])
    assert b"remarkable-name" in store.path.read_bytes()

    assert store.forget(ids=[marked.id]) == 1

    assert store.runs() == [kept]
    assert b"remarkable-name" not in store.path.read_bytes()


def test_forgetting_before_a_time(store, make_run):
    runs = [make_run(VALUES, ended=1e9 + day) for day in range(3)]
    store.add(runs)

    assert store.forget(before=1e9 + 1) == 1
    assert store.runs() == runs[:0:-1]
    assert store.forget() == 2
    assert store.runs() == []
    store.add(runs)
    assert store.n_runs() == 3


def test_processes_write_at_the_same_time(store, make_run):
    groups = [
        [make_run(VALUES, ended=1e9 + 100 * worker + i) for i in range(3)] for worker in range(2)
    ]
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_many, args=(store.path, group)) for group in groups]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {run.id for run in store.runs()} == {run.id for group in groups for run in group}


def test_reader_waits_for_a_writer(store, make_run):
    store.add([make_run(VALUES)])
    code = (
        "import sqlite3, sys, time\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "time.sleep(0.5)\n"
        "db.execute('COMMIT')\n"
    )
    command = [sys.executable, "-c", code, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        assert store.n_runs() == 1


def test_killed_writer_leaves_the_former_state(store, make_run):
    store.add([make_run(VALUES)])
    code = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA cache_size = 1')\n"
        "db.execute('BEGIN IMMEDIATE')\n"
        "db.execute('DELETE FROM runs')\n"
        "db.execute('CREATE TABLE filler AS SELECT randomblob(1000000) AS x')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], check=False)

    assert done.returncode == -9
    assert store.n_runs() == 1


@pytest.mark.parametrize(
    "content", [b"no database at all " * 100, b"SQLite format 3\0" + b"x" * 99]
)
def test_damaged_file_is_named_and_left_alone(store, make_run, content):
    store.path.parent.mkdir()
    store.path.write_bytes(content)

    for use in (store.runs, store.forget, lambda: store.add([make_run(VALUES)])):
        with pytest.raises(ModelFormatError, match=r"experience\.sqlite3' is damaged .*Move"):
            use()
    assert store.path.read_bytes() == content


def test_damage_inside_the_file_is_an_error(store, make_run):
    store.add([make_run(VALUES, ended=1e9 + day) for day in range(10)])
    content = bytearray(store.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    store.path.write_bytes(content)

    with pytest.raises(ModelFormatError, match="is damaged"):
        store.runs()


def test_damaged_record_costs_itself_only(store, make_run):
    runs = [make_run(VALUES, ended=1e9 + day) for day in range(4)]
    store.add(runs)
    with sqlite3.connect(store.path) as db:
        for run, text in zip(runs, ["{", b"\xff\xfe", '{"trials": []}'], strict=False):
            db.execute(
                "UPDATE runs SET record = ?, fingerprint = ? WHERE id = ?", (text, text, run.id)
            )
    db.close()

    damaged = []
    assert store.runs(on_damaged=damaged.append) == runs[3:]
    assert sorted(damaged) == sorted(run.id for run in runs[:3])
    assert store.fingerprints("image") == [(runs[3].id, runs[3].fingerprint)]
    assert store.forget(ids=damaged) == 3


def test_database_of_another_program_is_left_alone(store, make_run):
    store.path.parent.mkdir()
    with sqlite3.connect(store.path) as db:
        db.execute("CREATE TABLE runs (id TEXT, finished_at REAL)")
    db.close()
    before = store.path.read_bytes()

    for use in (store.runs, store.forget, lambda: store.add([make_run(VALUES)])):
        with pytest.raises(ModelFormatError, match="a database of another program"):
            use()
    assert store.path.read_bytes() == before


def test_newer_schema_is_left_alone(store, make_run):
    store.add([make_run(VALUES)])
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()

    for use in (store.runs, store.forget, lambda: store.add([make_run(VALUES)])):
        with pytest.raises(ModelFormatError, match=r"newer autotl \(schema 2; .*Update autotl"):
            use()


def test_folder_instead_of_a_file_is_an_error(tmp_path, make_run):
    store = ExperienceStore(tmp_path)

    for use in (store.runs, lambda: store.add([make_run(VALUES)])):
        with pytest.raises(OSError, match=r"cannot be used .*AUTOTL_EXPERIENCE"):
            use()


def test_environment_says_where(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOTL_EXPERIENCE", str(tmp_path / "mine"))
    assert ExperienceStore.from_environment().path == tmp_path / "mine"
    monkeypatch.setenv("AUTOTL_EXPERIENCE", "~/mine")
    assert experience_file().name == "mine"
    assert experience_file().is_absolute()
    monkeypatch.setenv("AUTOTL_EXPERIENCE", " OFF ")
    assert ExperienceStore.from_environment() is None
    monkeypatch.delenv("AUTOTL_EXPERIENCE")
    assert experience_file().name == "experience.sqlite3"
    monkeypatch.setenv("AUTOTL_EXPERIENCE", "~nobody-of-that-name/x")
    with pytest.raises(InvalidDataError, match="no such home folder; expected the path"):
        experience_file()
