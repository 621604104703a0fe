"""What the activation cache gives back, also when its files rot."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.errors import InvalidDataError
from autotl.features.store import ActivationStore, MissingActivations

KEY = {"backbone": "fake/b", "cut": "2/4", "view": 0, "dtype": "float32"}
LIMIT = 10**8


# Values follow from digests, so that any row can be verified.
def digests_of(numbers):
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]


def rows_of(digests, width):
    heads = np.array([int(d[:8], 16) for d in digests], dtype=np.int64)
    return heads[:, None] + np.arange(width)


def path_of_only_shard(entry):
    (shard,) = [p for p in entry.folder.iterdir() if p.is_dir()]
    return shard


@pytest.fixture
def store(tmp_path):
    return ActivationStore(tmp_path / "cache", LIMIT)


@pytest.fixture
def entry(store):
    return store.entry(KEY)


def fill(entry, numbers, width=8):
    digests = digests_of(numbers)
    return entry.add(digests, {"x": rows_of(digests, width)})


def test_rows_come_back_in_the_order_asked(entry):
    fill(entry, range(10))
    fill(entry, range(10, 15))
    asked = digests_of([12, 3, 3, 0, 14, 1, 2])

    assert (entry.read(asked)["x"] == rows_of(asked, 8)).all()
    assert (entry.read_at(entry.locate(asked))["x"] == rows_of(asked, 8)).all()


def test_known_tells_each_sample(entry):
    fill(entry, [1, 3])

    assert entry.known(digests_of([0, 1, 2, 3])).tolist() == [False, True, False, True]
    assert entry.known([]).tolist() == []


def test_tensors_of_several_types_and_ranks(entry):
    digests = digests_of(range(5))
    tensors = {
        "hidden": np.random.default_rng(0).random((5, 3, 4)).astype(np.float16),
        "mask": np.arange(15).reshape(5, 3) % 2 == 0,
        "length": np.arange(5),
    }
    assert entry.add(digests, tensors)

    found = entry.read(digests[::-1])

    assert set(found) == set(tensors)
    for name, values in tensors.items():
        assert found[name].dtype == values.dtype
        assert (found[name] == values[::-1]).all()


def test_nothing_asked_gives_rows_of_no_length(entry):
    fill(entry, [1])

    assert all(len(values) == 0 for values in entry.read([]).values())


def test_transposed_arrays_are_kept_as_they_look(entry):
    values = np.arange(12.0).reshape(3, 4).T
    entry.add(digests_of(range(4)), {"x": values})

    assert (entry.read(digests_of(range(4)))["x"] == values).all()


def test_missing_samples_raise(entry):
    fill(entry, [1])

    with pytest.raises(MissingActivations, match=r"^Sample '[0-9a-f]{64}' is not in"):
        entry.read(digests_of([1, 2]))
    assert issubclass(MissingActivations, KeyError)


def test_other_keys_are_other_entries(store, entry):
    fill(entry, [1])

    assert not store.entry({**KEY, "view": 1}).known(digests_of([1])).any()
    assert store.entry(dict(reversed(KEY.items()))).known(digests_of([1])).all()


def test_shards_of_other_processes_are_noticed(store, entry):
    reader = store.entry(KEY)
    assert not reader.known(digests_of([1])).any()

    fill(entry, [1])

    assert reader.known(digests_of([1])).all()
    fill(entry, [2])
    assert (reader.read(digests_of([2]))["x"] == rows_of(digests_of([2]), 8)).all()


def test_short_rows_are_padded_with_zeros(entry):
    first, second = digests_of([0, 1]), digests_of([2, 3])
    entry.add(first, {"h": np.ones((2, 3, 2), np.float32), "mask": np.ones((2, 3), bool)})
    entry.add(second, {"h": np.ones((2, 5, 2), np.float32), "mask": np.ones((2, 5), bool)})

    both = entry.read([second[0], first[1], first[0], second[1]])

    assert both["h"].shape == (4, 5, 2)
    assert both["mask"].sum(axis=1).tolist() == [5, 3, 3, 5]
    assert (both["h"].sum(axis=2) == 2 * both["mask"]).all()
    assert entry.read(first)["h"].shape == (2, 3, 2)


@pytest.mark.parametrize("other", [np.zeros((1, 8), np.float32), np.zeros((1, 8, 2), np.int64)])
def test_shards_that_disagree_are_ignored(store, entry, other):
    fill(entry, [1])
    assert not entry.add(digests_of([2]), {"x": other})
    assert not entry.add(digests_of([2]), {"y": np.zeros((1, 8), np.int64)})

    assert entry.known(digests_of([1, 2])).tolist() == [True, False]


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"../x": np.zeros(2)},
        {"a/b": np.zeros(2)},
        {"": np.zeros(2)},
        {"digests": np.zeros(2)},
        {"a": np.zeros(2), "A": np.zeros(2)},
        {"x": np.zeros(3)},
        {"x": np.float32(1)},
        {"x": np.array([{}, {}], dtype=object)},
    ],
)
def test_tensors_that_no_shard_can_hold_are_refused(entry, tensors):
    with pytest.raises(InvalidDataError):
        entry.add(digests_of([1, 2]), tensors)


@pytest.mark.parametrize("digest", ["", "xyz", "00" * 31, "AB" * 32, " " + "0" * 63])
def test_digests_of_another_kind_are_refused(entry, digest):
    with pytest.raises(InvalidDataError, match="lower-case"):
        entry.add([digest], {"x": np.zeros(1)})


@pytest.mark.parametrize("n_bytes", [0, 50, 130, -1])
@pytest.mark.parametrize("name", ["x.npy", "digests.npy"])
def test_shard_cut_short_is_ignored(store, entry, n_bytes, name):
    fill(entry, range(4))
    file = path_of_only_shard(entry) / name
    os.truncate(file, file.stat().st_size + n_bytes if n_bytes < 0 else n_bytes)

    readers = [store.entry(KEY)] + [entry] * (name == "x.npy")
    for reader in readers:
        with pytest.raises(MissingActivations):
            reader.read(digests_of([1]))
    assert not store.entry(KEY).known(digests_of(range(4))).any()
    assert store.entries()[0].n_samples in (0, 4)
    fill(entry, range(4))
    assert store.entry(KEY).known(digests_of(range(4))).all()


def test_shard_cut_short_while_in_use_raises(entry):
    fill(entry, range(4))
    located = entry.locate(digests_of(range(4)))
    entry.read_at(located)
    file = path_of_only_shard(entry) / "x.npy"
    os.truncate(file, file.stat().st_size - 8)

    with pytest.raises(MissingActivations):
        entry.read_at(located)


def test_pickles_are_never_loaded(store, entry, tmp_path):
    fill(entry, [1])
    bait = tmp_path / "bait"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (bait,)

    np.save(path_of_only_shard(entry) / "x.npy", np.array([Bomb()], dtype=object))

    assert not store.entry(KEY).known(digests_of([1])).any()
    assert not bait.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"key": 3}',
        '{"key": {"backbone": "other"}}',
        "[" * 60_000,
        "\x00\xff",
        '{"key": ' + "1" * 9000 + "}",
    ],
)
def test_hostile_entry_file_hides_the_entry(store, entry, content):
    fill(entry, [1])
    (entry.folder / "entry.json").write_text(content)

    assert store.entries()[0].key == {}
    fresh = store.entry(KEY)
    assert not fresh.known(digests_of([1])).any()
    assert fill(fresh, [2])
    assert store.entry(KEY).known(digests_of([1, 2])).tolist() == [False, True]


def test_stray_files_are_left_alone(store, entry):
    fill(entry, [1])
    (store.root / "notes.txt").write_text("mine")
    (entry.folder / ".DS_Store").write_bytes(b"\0")
    (path_of_only_shard(entry) / "._x.npy").write_bytes(b"\0")
    (store.root / "unfinished" / "letter").mkdir()

    assert store.entry(KEY).known(digests_of([1])).all()
    assert store.clear() > 0

    assert (store.root / "notes.txt").read_text() == "mine"
    assert (store.root / "unfinished" / "letter").exists()


def test_duplicates_survive_the_loss_of_one_shard(store, entry):
    fill(entry, [1, 2])
    first = path_of_only_shard(entry)
    fill(store.entry(KEY), [2, 3])
    asked = digests_of([2, 3])
    assert entry.known(asked).all()

    shutil.rmtree(first)

    assert (entry.read(asked)["x"] == rows_of(asked, 8)).all()
    assert entry.known(digests_of([1, 2, 3])).tolist() == [False, True, True]


def test_few_files_stay_open(entry):
    for i in range(300):
        fill(entry, [i], width=2)
    fds = Path("/dev/fd")

    assert (entry.read(digests_of(range(300)))["x"] == rows_of(digests_of(range(300)), 2)).all()

    assert len(list(fds.iterdir())) < 200


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_sequence_gives_back_what_was_added(data):
    width = data.draw(st.sampled_from([1, 3, 5000, 300_000]), label="width")
    kept = {}
    with tempfile.TemporaryDirectory() as folder:
        store = ActivationStore(Path(folder), 10**9)
        entries = [store.entry(KEY), store.entry(KEY)]
        for _ in range(data.draw(st.integers(1, 6))):
            entry = data.draw(st.sampled_from(entries))
            numbers = data.draw(st.lists(st.integers(0, 12), max_size=8))
            digests = digests_of(numbers)
            if data.draw(st.booleans()):
                length = data.draw(st.integers(0, 3))
                values = np.repeat(np.array(numbers, np.int16), length * width) + 1
                values = values.reshape(len(numbers), length, width)
                if set(numbers) & kept.keys():
                    continue
                assert entry.add(digests, {"x": values})
                kept |= dict.fromkeys(numbers, length)
            elif set(numbers) <= kept.keys() and numbers:
                found = entry.read(digests)["x"]
                assert found.shape[1:] == (max(kept[n] for n in numbers), width)
                for number, row in zip(numbers, found, strict=True):
                    assert (row[: kept[number]] == number + 1).all()
                    assert not row[kept[number] :].any()
            assert entry.known(digests).tolist() == [n in kept for n in numbers]


@pytest.mark.parametrize("offset", [200, -1])
def test_one_flipped_bit_is_found(entry, offset):
    fill(entry, range(8))
    file = path_of_only_shard(entry) / "x.npy"
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)

    later = ActivationStore(entry.folder.parent, 10**9).entry(entry.key)

    assert not later.known(digests_of(range(8))).any()


def test_clear_leaves_folders_of_others(store, entry):
    fill(entry, range(3))
    foreign = store.root / ("ab" * 32)
    (foreign / "data").mkdir(parents=True)

    assert store.clear() > 0

    assert (foreign / "data").exists()
    assert store.entries() == []


def test_folder_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(tmp_path / "file"))
    said = []

    assert ActivationStore.from_environment(said.append) is None
    assert "AUTOTL_CACHE_DIR" in said[0]
