"""One pass of a network over samples: batches in order, every core busy, memory flat."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np

__all__ = ["Stopped", "choose_batch_size", "infer", "run_batches"]

_MOST_WORKERS = 8
_TRIVIAL_SECONDS = 1e-4  # to prepare one sample; moving a batch between threads costs about that
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")

Work = Callable[[np.ndarray], Any]
Due = Generator[Callable[[], Any], None, None]
"""For each chunk in turn, what waits for its result."""


class Stopped(Exception):  # noqa: N818  # a signal, not an error
    """Raised by a `check` between batches to end the work that is running."""


def run_batches(
    rows: np.ndarray,
    prepare: Work,
    compute: Callable[[Any], Any],
    *,
    batch_size: int,
    check: Callable[[], None],
    n_workers: int | None = None,
    concurrent: bool = False,
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield (rows of a batch, `compute(prepare(those rows))`) in order.

    At most `n_workers` batches are under way beyond the one that is due, so memory does not grow
    with `rows`. When memory runs out, batches are halved from there on, down to one row. What
    `prepare` or `compute` raises appears where its batch is due. The threads end with the
    generator, also one that is closed early.

    Args:
        rows: Indices of samples.
        prepare: Turns rows into a batch; called in threads unless it takes next to no time.
        compute: Turns a batch into a result; called in the caller's thread.
        batch_size: Rows a batch.
        check: Called before each batch is yielded; may raise to stop.
        n_workers: Number of threads; None for one a core, 0 for none.
        concurrent: Call `compute` in the threads too, each with its share of torch's threads. On
            a CPU no core then waits for another between layers, which costs much where layers
            are small or the machine is busy. `compute` must not change what it shares, and enters
            contexts such as `torch.inference_mode` by itself, since every thread has its own.
    """
    rows, size = np.asarray(rows), batch_size
    n_streams = _n_streams(n_workers) if concurrent else 1
    while len(rows):
        chunks = [rows[at : at + size] for at in range(0, len(rows), size)]
        if min(n_streams, len(chunks)) > 1:
            due = _streams(chunks, lambda chunk: compute(prepare(chunk)), n_streams)
        else:
            due = _prefetched(chunks, prepare, compute, _n_preparing(prepare, rows, n_workers))
        with closing(due):
            for chunk, finish in zip(chunks, due, strict=True):
                check()
                try:
                    result = finish()
                except (MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error) or len(chunk) == 1:
                        raise
                    size = len(chunk) // 2
                    break
                yield chunk, result
                rows = rows[len(chunk) :]


def _streams(chunks: Sequence[np.ndarray], work: Work, n_streams: int) -> Due:
    """Do all the work in threads that share torch's threads among them."""
    import torch

    n_threads = torch.get_num_threads()
    try:
        share = max(1, n_threads // n_streams)
        yield from _ahead(chunks, work, n_streams, lambda: torch.set_num_threads(share))
    finally:
        # The setting is partly the thread's own and partly the whole process's.
        torch.set_num_threads(n_threads)


def _prefetched(
    chunks: Sequence[np.ndarray], prepare: Work, compute: Callable[[Any], Any], n_workers: int
) -> Due:
    """Prepare in threads, compute in the caller's."""
    if n_workers == 0:
        for chunk in chunks:
            yield lambda chunk=chunk: compute(prepare(chunk))  # type: ignore[misc]
        return
    with closing(_ahead(chunks, prepare, n_workers)) as batches:
        for batch in batches:
            yield lambda batch=batch: compute(batch())  # type: ignore[misc]


def _ahead(
    chunks: Sequence[np.ndarray],
    work: Work,
    n_workers: int,
    initializer: Callable[[], None] | None = None,
) -> Due:
    """Work in threads on at most `n_workers` chunks beyond the one that is due."""
    pool = ThreadPoolExecutor(n_workers, "autotl-extraction", initializer)
    try:
        pending = deque(pool.submit(work, chunk) for chunk in chunks[:n_workers])
        for at in range(len(chunks)):
            if at + n_workers < len(chunks):
                pending.append(pool.submit(work, chunks[at + n_workers]))
            yield pending.popleft().result
    finally:
        pool.shutdown(cancel_futures=True)


def _n_preparing(prepare: Work, rows: np.ndarray, n_workers: int | None) -> int:
    """Return the number of threads worth having to prepare batches."""
    if n_workers == 0 or len(rows) <= 2:
        return 0
    ends = rows[[0, -1]]
    started = time.perf_counter()
    prepare(ends)
    if time.perf_counter() - started < _TRIVIAL_SECONDS * len(ends):
        return 0
    return n_workers or _n_cores()


def _n_streams(n_workers: int | None) -> int:
    """Return the number of concurrent forward passes: no more than torch may use threads."""
    import torch

    n_threads = min(torch.get_num_threads(), _n_cores())
    return n_threads if n_workers is None else n_workers


def _n_cores() -> int:
    """Return the number of cores that this process may use, within reason."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
    return min(_MOST_WORKERS, os.cpu_count() or 1)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; torch says so in words only."""
    if isinstance(error, MemoryError):
        return True
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def choose_batch_size(
    compute: Callable[[Any], Any],
    make_batch: Callable[[int], Any],
    candidates: Sequence[int],
) -> int:
    """Return the batch size with the most samples a second.

    It depends on the moment, so it is for searches with a time budget only: elsewhere results
    shall not change from run to run. Sizes that do not fit into memory end the search.

    Args:
        compute: Turns a batch into a result.
        make_batch: Makes a batch of a given size.
        candidates: Sizes to try, ascending; the first one must fit.
    """
    best, most = candidates[0], 0.0
    for size in candidates:
        batch = make_batch(size)
        try:
            speed = size / min(_seconds(compute, batch) for _ in range(3))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or size == candidates[0]:
                raise
            break
        # A little more speed is not worth the memory.
        if speed > 1.05 * most:
            best, most = size, speed
    return best


def _seconds(compute: Callable[[Any], Any], batch: Any) -> float:
    started = time.perf_counter()
    compute(batch)
    return time.perf_counter() - started


def infer(module: Callable[[Any], Any], batch: Any, *, half: bool = False) -> Any:
    """Run frozen layers; floating-point results are float32.

    Half precision suits GPUs: with float16 probes agreed on 99.5 % of the predictions or more. It
    recomputes in float32 what overflows. With bfloat16 they agreed on as little as 94 %, so that
    CPUs, which are fast in that type only, stay with float32.

    Args:
        module: Layers in eval mode, or a function of them.
        batch: A tensor, or a dict of tensors, on the device of the module.
        half: Whether convolutions and matrix products are computed in float16.
    """
    import torch

    with torch.inference_mode():
        if half:
            first = next(iter(batch.values())) if isinstance(batch, dict) else batch
            with torch.autocast(first.device.type, torch.float16):
                result = _in_float32(module(batch))
            values = result.values() if isinstance(result, dict) else (result,)
            if all(bool(value.isfinite().all()) for value in values):
                return result
        return _in_float32(module(batch))


def _in_float32(result: Any) -> Any:
    if isinstance(result, dict):
        return {name: _in_float32(value) for name, value in result.items()}
    return result.float() if result.is_floating_point() else result
