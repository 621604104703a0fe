"""The activation cache's limit, and what it promises when disks fill up and processes die."""

import errno
import hashlib
import inspect
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from autotl.errors import AutotlError
from autotl.features import limits
from autotl.features.store import ActivationStore

KEY = {"backbone": "fake/b", "cut": "2/4", "view": 0, "dtype": "float32"}
LIMIT = 10**8


# Values follow from digests, so that any process can verify any row.
def digests_of(numbers):
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]


def rows_of(digests, width):
    heads = np.array([int(d[:8], 16) for d in digests], dtype=np.int64)
    return heads[:, None] + np.arange(width)


SHARED = f"""
import hashlib, random, sys, time
from pathlib import Path
import numpy as np
from autotl.features.store import ActivationStore, MissingActivations

{inspect.getsource(digests_of)}
{inspect.getsource(rows_of)}
"""


def unfinished(root):
    return list((root / "unfinished").iterdir())


@pytest.fixture
def store(tmp_path):
    return ActivationStore(tmp_path / "cache", LIMIT)


@pytest.fixture
def entry(store):
    return store.entry(KEY)


def fill(entry, numbers, width=8):
    digests = digests_of(numbers)
    return entry.add(digests, {"x": rows_of(digests, width)})


def backdate(entry, seconds):
    for file in entry.folder.glob("*/digests.npy"):
        os.utime(file, (time.time() - seconds, time.time() - seconds))


def test_least_recently_used_goes_first(tmp_path):
    limit = 40_000
    for number, age in enumerate([300, 100, 200]):
        entry = ActivationStore(tmp_path, limit).entry({"n": number})
        assert fill(entry, range(10), width=120)
        backdate(entry, age)

    assert fill(ActivationStore(tmp_path, limit).entry({"n": 3}), range(10), width=120)

    store = ActivationStore(tmp_path, limit)
    assert [info.key["n"] for info in store.entries()] == [2, 1, 3]
    assert store.size_bytes() <= limit


def test_reading_renews(tmp_path):
    for number, age in enumerate([300, 200]):
        entry = ActivationStore(tmp_path, LIMIT).entry({"n": number})
        fill(entry, [1])
        backdate(entry, age)

    ActivationStore(tmp_path, LIMIT).entry({"n": 0}).read(digests_of([1]))

    assert [i.key["n"] for i in ActivationStore(tmp_path, LIMIT).entries()] == [1, 0]


def test_what_this_process_uses_goes_last(tmp_path):
    store = ActivationStore(tmp_path, 35_000)
    mine = store.entry({"n": "mine"})
    fill(mine, range(10), width=120)
    backdate(mine, 1000)
    fill(ActivationStore(tmp_path, LIMIT).entry({"n": "idle"}), range(10), width=120)
    backdate(mine, 1000)

    assert fill(store.entry({"n": "new"}), range(20, 30), width=200)

    assert {i.key["n"] for i in store.entries()} == {"mine", "new"}


def test_stale_shards_of_an_entry_make_room_for_its_new_ones(tmp_path):
    fill(ActivationStore(tmp_path, 25_000).entry(KEY), range(20), width=120)

    entry = ActivationStore(tmp_path, 25_000).entry(KEY)

    assert fill(entry, range(20, 40), width=120)
    assert entry.known(digests_of([0, 20])).tolist() == [False, True]


def test_one_entry_never_evicts_itself(tmp_path):
    store = ActivationStore(tmp_path, 25_000)
    entry = store.entry(KEY)
    added = [fill(entry, [i], width=1000) for i in range(6)]

    assert added == [True, True, False, False, False, False]
    assert entry.known(digests_of(range(3))).tolist() == [True, True, False]
    assert store.size_bytes() <= 25_000
    assert not fill(entry, [9], width=10_000)
    assert not unfinished(tmp_path)


def test_room_that_others_made_is_used(tmp_path):
    entry = ActivationStore(tmp_path, 25_000).entry(KEY)
    assert [fill(entry, [i], width=1000) for i in range(3)] == [True, True, False]

    ActivationStore(tmp_path, 25_000).clear()

    assert fill(entry, [3], width=1000)


@pytest.mark.parametrize("total", [None, b"", b"x" * 20, b"9" * 20, b"\xb2" * 20])
def test_a_wrong_total_is_corrected_by_looking(store, entry, total):
    fill(entry, [1])
    file = store.root / "total"
    file.unlink() if total is None else file.write_bytes(total)

    assert fill(entry, [2])
    assert entry.known(digests_of([1, 2])).all()


@pytest.mark.parametrize("where", ["save", "mkdir", "replace", "total"])
def test_full_disk_keeps_what_was_there(store, entry, monkeypatch, where):
    fill(entry, [1])

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    def half(path, array, **_):
        Path(path).write_bytes(array.tobytes()[:10])
        full()

    with monkeypatch.context() as patch:
        if where == "save":
            patch.setattr(np, "save", half)
        elif where == "total":
            patch.setattr(os, "pwrite", full)
        else:
            patch.setattr(Path, where, full)
        assert not fill(entry, [2])

    assert entry.known(digests_of([1, 2])).tolist() == [True, False]
    assert fill(entry, [2])
    assert not [p for p in unfinished(store.root) if p.suffix != ".lock"]


def test_folder_that_cannot_be_written_only_reads(store, entry):
    fill(entry, [1])
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folders = [store.root, *(p for p in store.root.rglob("*") if p.is_dir())]
    try:
        for folder in folders:
            folder.chmod(0o500)
        reader = store.entry(KEY)
        assert reader.known(digests_of([1])).all()
        assert not fill(reader, [2])
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_place_that_is_no_folder_keeps_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    store = ActivationStore(tmp_path / "file" / "cache", LIMIT)

    assert not fill(store.entry(KEY), [1])
    assert store.entries() == []
    assert store.clear() == 0


def test_clear_chooses_by_key(store):
    for name in ("a", "b"):
        fill(store.entry({"backbone": name}), [1])
    size = store.size_bytes()

    freed = store.clear(lambda key: key["backbone"] == "a")

    assert 0 < freed < size
    assert [i.key for i in store.entries()] == [{"backbone": "b"}]
    assert store.clear() == size - freed
    assert store.size_bytes() == 0


def test_entries_count_samples_once(store, entry):
    fill(entry, [1, 2])
    fill(store.entry(KEY), [2, 3])

    (info,) = store.entries()

    assert info.n_samples == 3
    assert info.key == KEY
    assert info.size_bytes == store.size_bytes() > 0
    assert abs(info.used_at - time.time()) < 60


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("5GB", 5 * 10**9), ("500 mb", 5 * 10**8), ("1.5k", 1500), ("2GiB", 2**31), ("1234", 1234)],
)
def test_limit_reads_usual_spellings(monkeypatch, tmp_path, text, n_bytes):
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path / "c"))
    monkeypatch.setenv("AUTOTL_CACHE_BYTES", text)

    assert ActivationStore.from_environment().limit_bytes == n_bytes


@pytest.mark.parametrize("text", ["many", "-1", "5 XB", "1e9", "nan", "5iB", "GB"])
def test_limit_refusal_names_the_variable(monkeypatch, tmp_path, text):
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("AUTOTL_CACHE_BYTES", text)

    with pytest.raises(AutotlError, match=f"AUTOTL_CACHE_BYTES is '{text}'.*5GB"):
        ActivationStore.from_environment()


def test_no_cache_where_it_is_off_or_not_writable(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path / "c"))
    monkeypatch.setenv("AUTOTL_CACHE_BYTES", "0")
    assert ActivationStore.from_environment() is None
    assert not (tmp_path / "c").exists()

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path / "file" / "c"))
    monkeypatch.delenv("AUTOTL_CACHE_BYTES")
    assert ActivationStore.from_environment() is None


def test_default_limit_counts_the_cache_as_free(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path / "far" / "away"))
    monkeypatch.delenv("AUTOTL_CACHE_BYTES", raising=False)
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda _: usage)
    store = ActivationStore.from_environment()
    assert store.limit_bytes == 1_000_000

    fill(store.entry(KEY), range(100), width=1000)

    assert ActivationStore.from_environment().limit_bytes > 1_000_000 + store.size_bytes() // 11


def started(code, *arguments):
    text = SHARED + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_killed_writers_leave_nothing_broken(tmp_path):
    """What a writer has said to be kept is there, all else is whole or absent."""
    rng = random.Random(0)
    for attempt in range(4):
        writer = started(
            """
            entry = ActivationStore(Path(sys.argv[1]), 10**9).entry({"n": 1})
            start = int(sys.argv[2])
            for i in range(start, start + 1000):
                digests = digests_of(range(8 * i, 8 * i + 8))
                assert entry.add(digests, {"x": rows_of(digests, 50_000)})
                print(i, flush=True)
            """,
            tmp_path,
            attempt * 1000,
        )
        promised = [int(writer.stdout.readline())]
        time.sleep(rng.uniform(0.0, 0.1))
        writer.send_signal(signal.SIGKILL)
        promised += [int(line) for line in writer.stdout.read().splitlines() if line]
        writer.wait()
        writer.stdout.close()

        entry = ActivationStore(tmp_path, 10**9).entry({"n": 1})
        assert entry.known(digests_of(8 * i + j for i in promised for j in range(8))).all()
        everything = digests_of(range(8 * (promised[-1] + 2)))
        whole = [d for d, there in zip(everything, entry.known(everything), strict=True) if there]
        for start in range(0, len(whole), 64):
            part = whole[start : start + 64]
            assert (entry.read(part)["x"] == rows_of(part, 50_000)).all()
    store = ActivationStore(tmp_path, 10**9)
    store.clear()
    assert not unfinished(tmp_path)
    assert store.size_bytes() == 0


def test_writer_in_progress_is_not_swept(store, entry):
    reservation = store.ledger.reserve(1000)
    reservation.folder.mkdir()

    ActivationStore(store.root, LIMIT).clear()

    assert reservation.folder.exists()
    assert int((store.root / "total").read_text()) == 1000
    store.ledger.cancel(reservation)
    assert not unfinished(store.root)
    assert int((store.root / "total").read_text()) == 0


def test_processes_write_read_and_evict_together(tmp_path):
    limit = 3_000_000  # about a third of what is written
    writer = """
        rng, end = random.Random(int(sys.argv[2])), time.monotonic() + 2.5
        store = ActivationStore(Path(sys.argv[1]), int(sys.argv[3]))
        n = 0
        while time.monotonic() < end:
            entry = store.entry({"n": rng.randrange(4)})
            first = rng.randrange(100)
            digests = digests_of(range(first, first + 20))
            n += entry.add(digests, {"x": rows_of(digests, 1000)})
        print(n)
        """
    reader = """
        rng, end = random.Random(5), time.monotonic() + 2.5
        store = ActivationStore(Path(sys.argv[1]), int(sys.argv[3]))
        entries, n = [store.entry({"n": i}) for i in range(4)], 0
        while time.monotonic() < end:
            entry = rng.choice(entries)
            digests = digests_of(rng.sample(range(120), 40))
            digests = [d for d, there in zip(digests, entry.known(digests)) if there]
            try:
                if digests:
                    assert (entry.read(digests)["x"] == rows_of(digests, 1000)).all()
                    n += 1
            except MissingActivations:
                pass
        print(n)
        """
    clearer = """
        rng, end = random.Random(9), time.monotonic() + 2.5
        store = ActivationStore(Path(sys.argv[1]), int(sys.argv[3]))
        n = 0
        while time.monotonic() < end:
            number = rng.randrange(4)
            n += store.clear(lambda key: key["n"] == number) > 0
            assert store.size_bytes() <= store.limit_bytes
            time.sleep(0.1)
        print(n)
        """
    workers = [
        started(code, tmp_path, seed, limit)
        for seed, code in enumerate([writer, writer, reader, clearer])
    ]

    counts = [int(worker.communicate(timeout=60)[0] or 0) for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert min(counts) > 0
    store = ActivationStore(tmp_path, limit)
    assert store.size_bytes() <= int((tmp_path / "total").read_text()) <= limit
    assert not unfinished(tmp_path)
