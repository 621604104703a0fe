"""What a worker does: the same study as in one process, on its own sessions."""

import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from autotl.features import BackboneSession
from autotl.ranking import Screened
from autotl.search.budget import Budget
from autotl.search.finish.again import fit_seconds, holdout_seconds
from autotl.search.study.build import build_study, make_caching
from autotl.search.study.candidate import Outcome
from autotl.search.workers import Job


def work(job: Job, on_trial: Callable[[int], None]) -> tuple[str, str]:
    """Try candidates until the study is over; returns why, as a word and in words."""
    import torch

    torch.set_num_threads(job.n_threads)
    elapsed = job.elapsed + time.time() - job.sent_at
    started = time.monotonic() - elapsed
    budget = Budget(job.budget_seconds, job.trials, started, job.earlier)
    screened = _sessions(job, budget)
    sessions = {s.name: s.session for s in screened}

    def reserve(best: Outcome | None) -> float:
        if best is None:
            return job.reserve
        session = sessions[best.candidate.backbone]
        refit = fit_seconds(best, job.task, len(job.task.split.train_validation))
        return job.reserve + refit + holdout_seconds(best.tuned, session, job.task)

    study = build_study(
        job.task,
        screened,
        job.adaptations,
        listed=job.listed,
        budget=budget,
        seed=job.seed,
        floor=job.floor,
        floor_proba=job.floor_proba,
        reserve=reserve,
        on_outcome=lambda outcome: on_trial(outcome.trial),
        folder=job.folder,
        remembered=job.remembered,
        worker=job.name,
    )
    study.run()
    return study.stopped_by, study.stop_reason


def _sessions(job: Job, budget: Budget) -> list[Screened]:
    caching = make_caching(job.task, job.adaptations, job.seed, job.views) if job.cache else None
    found = []
    for spec, expectation, seconds_per_sample in job.backbones:
        session = BackboneSession(
            spec,
            job.task.samples,
            job.task.modality,
            device=job.device,
            check=budget.check,
            caching=caching,
            timed=budget.timed,
        )
        if seconds_per_sample is not None:
            session.seconds_per_sample = seconds_per_sample
        found.append(Screened(session=session, expectation=expectation))
    return found


def main() -> None:
    """Do the job that standard input brings."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    size = int.from_bytes(sys.stdin.buffer.read(8), "little")
    job: Job = pickle.loads(sys.stdin.buffer.read(size))  # from our own parent
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def answer(content: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):
            answers.write(json.dumps(content) + "\n")
            answers.flush()

    stopped_by, reason = work(job, lambda number: answer({"trial": number}))
    answer({"stopped_by": stopped_by, "reason": reason})


def _end_with_parent() -> None:
    """End at once when the parent is gone: nobody is left to take the results."""
    os.read(sys.stdin.fileno(), 1)  # past Python's buffer, whose lock would outlive this thread
    os._exit(1)


if __name__ == "__main__":
    main()
