import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autotl.data import Samples, build_task, usable_samples
from autotl.errors import InvalidDataError
from autotl.registry import get_registry
from autotl_modalities.image_samples import _Allowance


def noise(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 9, 8, 3), dtype=np.uint8)


def save(folder, n):
    paths = [folder / f"{i}.png" for i in range(n)]
    for path, pixels in zip(paths, noise(n), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture
def images():
    return get_registry().modalities.get("image")


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=4), st.data())
def test_samples_select_and_join_like_lists(parts, data):
    flat = [x for part in parts for x in part]
    rows = data.draw(st.lists(st.integers(0, len(flat) - 1), max_size=8) if flat else st.just([]))

    samples = Samples(parts, [str(x) for x in flat])

    assert list(samples) == flat
    assert list(samples.select(rows)) == [flat[i] for i in rows]
    assert list(samples + samples.select(rows)) == flat + [flat[i] for i in rows]
    assert list(samples[::-2]) == flat[::-2]
    assert [samples[-1], samples[np.int64(0)]] == [flat[-1], flat[0]] if flat else True


def test_a_file_that_is_gone_later_is_named(images, tmp_path, monkeypatch):
    monkeypatch.setattr("autotl_modalities.image_samples.KEPT_BYTES", 0)
    paths = save(tmp_path, 5)
    usable = usable_samples(images, paths)
    first = usable.samples[0].tobytes()
    paths[3].unlink()

    assert usable.samples[0].tobytes() == first
    with pytest.raises(InvalidDataError, match=r"3\.png cannot be read any more"):
        usable.samples[3]


def test_each_file_is_read_once_to_be_checked(images, tmp_path, monkeypatch):
    opened, lock, really_open = [], threading.Lock(), Image.open

    def count(file, *args):
        with lock:
            opened.append(file)
        return really_open(file, *args)

    monkeypatch.setattr(Image, "open", count)
    paths = save(tmp_path, 40)
    steps = []

    task = build_task(paths, [0, 1] * 20, advance=lambda done, n: steps.append((done, n)))

    assert sorted(opened) == sorted(paths)
    assert steps[-1] == (40, 40)
    assert steps == sorted(steps)
    assert [task.samples[i].tobytes() for i in range(40)] == [p.tobytes() for p in noise(40)]
    assert len(opened) == 40


def test_nothing_is_kept_beyond_the_bound(images, tmp_path, monkeypatch):
    monkeypatch.setattr("autotl_modalities.image_samples.KEPT_BYTES", 10 * 9 * 8 * 3)
    # What other tests still hold would count too.
    monkeypatch.setattr("autotl_modalities.image_samples._ALLOWANCE", _Allowance())
    samples = images.as_samples(save(tmp_path, 30))

    once = [s.tobytes() for s in samples]

    assert len(samples._kept) == 10
    assert [s.tobytes() for s in samples] == once == [p.tobytes() for p in noise(30)]


def test_labels_are_checked_before_files_are_read(images, tmp_path, monkeypatch):
    paths = save(tmp_path, 6)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a file was opened"))

    with pytest.raises(InvalidDataError, match="y has 5 labels"):
        build_task(paths, [0] * 5)


def test_unusable_files_are_set_apart_in_order(images, tmp_path):
    paths = save(tmp_path, 50)
    paths[7].write_bytes(b"no image")
    paths[33].unlink()

    usable = usable_samples(images, paths)

    assert usable.kept == [i for i in range(50) if i not in (7, 33)]
    assert [s.sample for s in usable.skipped] == [str(paths[7]), "X[33]"]
    assert len(set(usable.fingerprints)) == len(usable.samples) == 48


def test_a_memory_mapped_array_gives_the_same_task(tmp_path):
    X, y = noise(40), [0, 1] * 20
    np.save(tmp_path / "X.npy", X)

    mapped = build_task(np.load(tmp_path / "X.npy", mmap_mode="r"), y)
    held = build_task(X, y)

    assert mapped.fingerprints == held.fingerprints
    assert np.asarray(mapped.samples[17]).tolist() == X[17].tolist()


def test_images_may_be_given_back_while_others_are_counted():
    allowance = _Allowance()

    class Size(int):
        def __radd__(self, used):
            # As garbage collection does, at any time.
            allowance.give_back({0: ("L", (1, 1), b"x")})
            return int(self) + used

    taker = threading.Thread(target=lambda: allowance.take(Size(2)), daemon=True)
    taker.start()
    taker.join(10)

    assert not taker.is_alive()
