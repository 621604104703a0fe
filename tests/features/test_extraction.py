import gc
import threading
import time
import traceback

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autotl.features.extraction import choose_batch_size, infer, run_batches
from autotl.shelf.images import StagedPreprocess
from autotl_embedded.preprocessing import Preprocess

SLOW = 0.002  # seconds, more than a trivial preparation takes


def double(batch):
    return batch * 2


def slowly(rows):
    time.sleep(SLOW)
    return rows.copy()


def nothing():
    pass


def run(rows, prepare=slowly, compute=double, **keywords):
    return run_batches(rows, prepare, compute, **{"batch_size": 4, "check": nothing, **keywords})


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("autotl-extraction")]


@pytest.fixture(params=[False, True], ids=["prefetch", "concurrent"])
def concurrent(request):
    return request.param


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 40),
    batch_size=st.integers(1, 9),
    n_workers=st.integers(0, 3),
    concurrent=st.booleans(),
)
def test_every_batch_comes_once_and_in_order(n, batch_size, n_workers, concurrent):
    rows = np.random.default_rng(n).permutation(100)[:n]

    found = list(
        run(
            rows,
            np.copy,
            batch_size=batch_size,
            n_workers=n_workers,
            concurrent=concurrent,
        )
    )

    assert [len(chunk) for chunk, _ in found[:-1]] == [batch_size] * (len(found) - 1)
    np.testing.assert_array_equal(np.concatenate([rows[:0], *(c for c, _ in found)]), rows)
    for chunk, result in found:
        np.testing.assert_array_equal(result, chunk * 2)


def test_slow_first_batches_do_not_change_the_order(concurrent):
    def prepare(rows):
        time.sleep(0.02 if rows[0] == 0 else 0.001)
        return rows.copy()

    found = list(run(np.arange(20), prepare, n_workers=3, concurrent=concurrent))

    assert [chunk[0] for chunk, _ in found] == [0, 4, 8, 12, 16]


def test_an_error_of_prepare_comes_after_the_batches_before_it(concurrent):
    def prepare(rows):
        time.sleep(SLOW)
        if len(rows) == 4 and 9 in rows:
            raise OSError("damaged")
        return rows.copy()

    batches = run(np.arange(20), prepare, n_workers=2, concurrent=concurrent)

    assert next(batches)[0].tolist() == [0, 1, 2, 3]
    assert next(batches)[0].tolist() == [4, 5, 6, 7]
    with pytest.raises(OSError, match="damaged") as caught:
        next(batches)
    assert "prepare" in [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert not threads()


def test_closing_early_leaves_no_threads(concurrent):
    prepared = []

    def prepare(rows):
        prepared.append(rows)
        return slowly(rows)

    batches = run(np.arange(4000), prepare, n_workers=2, concurrent=concurrent)
    next(batches)
    assert threads()

    batches.close()

    assert not threads()
    assert len(prepared) < 10


def test_a_forgotten_generator_leaves_no_threads():
    next(run(np.arange(400), n_workers=2))
    gc.collect()

    assert not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_check_stops_the_work_and_its_threads(error, concurrent):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise error

    batches = run(np.arange(400), check=check, n_workers=2, concurrent=concurrent)
    next(batches)
    next(batches)

    with pytest.raises(error):
        next(batches)
    assert not threads()


def test_only_a_few_batches_are_prepared_ahead(concurrent):
    n_workers, begun, most = 2, [], 0

    def prepare(rows):
        if len(rows) == 4:  # not the trial of how long it takes
            begun.append(rows)
        return slowly(rows)

    batches = run(np.arange(200), prepare, n_workers=n_workers, concurrent=concurrent)
    for done, _ in enumerate(batches, start=1):
        time.sleep(2 * SLOW)
        most = max(most, len(begun) - done)

    assert 1 <= most <= n_workers


def test_the_next_batch_is_prepared_while_one_is_computed():
    begun = [threading.Event() for _ in range(5)]

    def prepare(rows):
        begun[rows[0] // 4].set()
        return slowly(rows)

    def compute(batch):
        following = begun[min(batch[0] // 4 + 1, 4)]
        assert following.wait(timeout=10)

    assert len(list(run(np.arange(20), prepare, compute, n_workers=1))) == 5


def test_a_trivial_preparation_stays_in_the_callers_thread():
    callers = set()

    def prepare(rows):
        callers.add(threading.current_thread())
        return rows

    list(run(np.arange(80), prepare, n_workers=2))

    assert callers == {threading.current_thread()}


def test_compute_stays_in_the_callers_thread():
    callers = set()

    def compute(batch):
        callers.add(threading.current_thread())

    list(run(np.arange(80), compute=compute, n_workers=2))

    assert callers == {threading.current_thread()}


def test_concurrent_passes_share_the_threads_of_torch():
    before, seen = torch.get_num_threads(), set()
    torch.set_num_threads(4)
    try:
        list(
            run(
                np.arange(80),
                compute=lambda _: seen.add(torch.get_num_threads()),
                n_workers=2,
                concurrent=True,
            )
        )
        assert seen == {2}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory"), MemoryError()], ids=["torch", "python"]
)
def test_out_of_memory_halves_the_batches_that_follow(error, concurrent):
    def compute(batch):
        if len(batch) > 5:
            raise error
        return batch * 2

    found = list(
        run(
            np.arange(50),
            compute=compute,
            batch_size=16,
            n_workers=2,
            concurrent=concurrent,
        )
    )

    assert [len(chunk) for chunk, _ in found] == [4] * 12 + [2]
    np.testing.assert_array_equal(np.concatenate([r for _, r in found]), np.arange(50) * 2)
    assert not threads()


def test_a_sample_too_large_for_memory_is_an_error(concurrent):
    def compute(batch):
        raise MemoryError

    with pytest.raises(MemoryError):
        list(run(np.arange(8), compute=compute, n_workers=2, concurrent=concurrent))


def test_other_errors_of_compute_are_not_swallowed(concurrent):
    sizes = []

    def compute(batch):
        sizes.append(len(batch))
        raise RuntimeError("unsupported memory format")

    with pytest.raises(RuntimeError, match="memory format"):
        list(run(np.arange(8), compute=compute, n_workers=2, concurrent=concurrent))
    assert set(sizes) == {4}


def test_choose_batch_size_takes_the_fastest():
    seconds = {1: 0.02, 2: 0.024, 4: 0.03, 8: 0.12}

    size = choose_batch_size(lambda n: time.sleep(seconds[n]), lambda n: n, [1, 2, 4, 8])

    assert size == 4


def test_choose_batch_size_ends_where_memory_does():
    def compute(n):
        if n > 2:
            raise RuntimeError("out of memory")
        time.sleep(0.02)

    assert choose_batch_size(compute, lambda n: n, [1, 2, 4]) == 2


@pytest.mark.parametrize("n_channels", [1, 3])
def test_embedded_backbones_preprocess_in_two_stages(n_channels):
    preprocess = Preprocess(n_channels=n_channels, n_pixels=16)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)) for _ in range(3)]

    pixels = preprocess.pixels(images)

    assert isinstance(preprocess, StagedPreprocess)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 3, 16, 16)
    assert torch.equal(preprocess.standardise(pixels), preprocess(images))
    assert repr(preprocess) == f"Preprocess(n_channels={n_channels}, n_pixels=16)"


class Scaled(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.factor = factor

    def forward(self, batch):
        return {"out": self.linear(batch["x"] * self.factor), "mask": batch["mask"]}


@pytest.mark.parametrize("factor", [1.0, 1e5])
def test_infer_in_half_precision_is_close_also_where_it_overflows(factor):
    module = Scaled(factor).eval()
    batch = {"x": torch.ones(3, 4), "mask": torch.ones(3, 4, dtype=torch.int64)}

    exact, half = infer(module, batch), infer(module, batch, half=True)

    assert exact["out"].dtype == half["out"].dtype == torch.float32
    assert half["mask"].dtype == torch.int64
    assert not half["out"].requires_grad
    assert torch.equal(exact["out"], half["out"]) == (factor > 1)
    torch.testing.assert_close(half["out"], exact["out"], rtol=1e-2, atol=1e-2)
