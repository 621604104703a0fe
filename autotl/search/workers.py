"""Local workers: processes that try candidates of one study, each with its share of threads.

A worker is a fresh interpreter, as a forked one may neither use a GPU nor the threads of its
parent. It is told what to do through its standard input, by a pickle that never touches a disk,
and answers with a line of JSON for each trial. What trials have shown lies in the run's folder,
so a worker that dies costs the trial that it was in, and its successor runs that again, once.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from autotl.data import Task
from autotl.ranking import Expectation
from autotl.search.study.portfolio import Remembered
from autotl.specs import AdaptationSpec, BackboneSpec

_MOST_RESTARTS = 3  # of one worker; a crash that comes back is not bad luck
_ENDED, _LOST = "ended", "lost"
_GRACE_SECONDS = 20.0  # for the step that runs when a search is interrupted


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one worker needs to know.

    Args:
        name: Of the worker.
        task: The task.
        backbones: Usable ones with what to expect of each, most promising first.
        adaptations: Admitted methods.
        listed: Names of all backbones that the search began with.
        remembered: What won on similar data.
        floor: The floor's validation value.
        floor_proba: Its probabilities, as the guard reads them.
        reserve: Seconds to keep for the floor and the report.
        budget_seconds: Of the whole search.
        earlier: Seconds that earlier runs of the same search took.
        elapsed: Seconds of the budget that were gone at `sent_at`.
        sent_at: Seconds since the epoch.
        trials: How many this worker may begin; None where the clock decides.
        folder: Of the run.
        seed: Of the search.
        device: Where to compute.
        cache: Whether activations are kept.
        views: Augmented views that are kept.
        n_threads: Threads that this worker may use.
        paths: Where modules are looked for.
    """

    name: str
    task: Task
    backbones: Sequence[tuple[BackboneSpec, Expectation | None, float | None]]
    adaptations: Sequence[AdaptationSpec]
    listed: Sequence[str]
    remembered: Sequence[Remembered]
    floor: float | None
    floor_proba: Any
    reserve: float
    budget_seconds: float
    earlier: float
    elapsed: float
    sent_at: float
    trials: int | None
    folder: Path
    seed: int
    device: str
    cache: bool
    views: int
    n_threads: int
    paths: Sequence[str]


@dataclass(kw_only=True)
class _Process:
    """A worker that runs."""

    job: Job
    process: "subprocess.Popen[bytes]"
    n_restarts: int = 0
    stopped_by: str = ""
    reason: str = ""


class WorkerPool:
    """Run workers until all have ended.

    Args:
        jobs: One for each worker.
        elapsed: Returns the seconds of the search that are gone.
        on_trial: Called when any trial has ended.
        on_message: Called with what the user should know.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        elapsed: Callable[[], float],
        on_trial: Callable[[], None],
        on_message: Callable[[str], None],
    ) -> None:
        self._elapsed, self._on_trial, self._on_message = elapsed, on_trial, on_message
        self._answers: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()
        self._workers = {job.name: self._start(job) for job in jobs}

    def run(self) -> tuple[str, str]:
        """Wait for all workers; returns why they stopped, as a word and in words."""
        try:
            self._wait()
        except KeyboardInterrupt:
            self._interrupt()
            return "interrupt", ""
        finally:
            self._kill()
        ended = [w for w in self._workers.values() if w.stopped_by]
        for word in ("floor", "space", "trials", "interrupt"):
            found = [w for w in ended if w.stopped_by == word]
            if found:
                return word, found[0].reason
        return "budget", ""

    def _wait(self) -> None:
        running = set(self._workers)
        while running:
            name, answer = self._answers.get()
            worker = self._workers[name]
            if answer is None:
                running -= self._after_end(worker)
            elif "trial" in answer:
                self._on_trial()
            else:
                worker.stopped_by, worker.reason = answer["stopped_by"], answer["reason"]

    def _after_end(self, worker: _Process) -> set[str]:
        """Replace a worker that has died; returns the names of those that are done."""
        code = worker.process.wait()
        _close_pipes(worker.process)
        if worker.stopped_by:
            return {worker.job.name}
        if worker.n_restarts >= _MOST_RESTARTS:
            self._on_message(
                f"Worker {worker.job.name} ended {_MOST_RESTARTS + 1} times before its time "
                f"(exit status {code}) and was given up."
            )
            return {worker.job.name}
        self._on_message(
            f"Worker {worker.job.name} ended before its time (exit status {code}); its trial is "
            "run again, once at most."
        )
        successor = self._start(worker.job)
        successor.n_restarts = worker.n_restarts + 1
        self._workers[worker.job.name] = successor
        return set()

    def _start(self, job: Job) -> _Process:
        import cloudpickle

        threads = {f"{k}_NUM_THREADS": str(job.n_threads) for k in ("OMP", "MKL", "OPENBLAS")}
        process = subprocess.Popen(
            [sys.executable, "-m", "autotl.search.work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on, once
            env=os.environ | threads | {"PYTHONPATH": os.pathsep.join(filter(None, job.paths))},
        )
        worker = _Process(job=job, process=process)
        sent = replace(job, elapsed=self._elapsed(), sent_at=time.time())
        content = cloudpickle.dumps(sent)
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # a worker that has died is seen by its answers' end
                process.stdin.write(len(content).to_bytes(8, "little") + content)
                process.stdin.flush()
        threading.Thread(target=self._listen, args=(job.name, process.stdout), daemon=True).start()
        return worker

    def _listen(self, name: str, answers: IO[bytes] | None) -> None:
        for line in answers or ():
            with suppress(ValueError):
                self._answers.put((name, json.loads(line)))
        self._answers.put((name, None))

    def _interrupt(self) -> None:
        """Let workers end the step that they are in."""
        for worker in self._workers.values():
            with suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _GRACE_SECONDS
        with suppress(KeyboardInterrupt):
            for worker in self._workers.values():
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
        self._on_trial()

    def _kill(self) -> None:
        for worker in self._workers.values():
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            _close_pipes(worker.process)


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def share_out(trials: int | None, n_workers: int) -> Iterator[int | None]:
    """Yield how many trials each worker may begin."""
    for k in range(n_workers):
        yield None if trials is None else trials // n_workers + (k < trials % n_workers)


def n_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
