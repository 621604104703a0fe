"""One search from a checked task to a fitted model and a run folder."""

import shutil
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data import Fold, Task
from autotl.experience import remember
from autotl.features import BackboneSession, Caching
from autotl.ranking import (
    Ranking,
    Screened,
    Screening,
    rank_backbones,
    rungs_before_trials,
)
from autotl.result.device import pick_device
from autotl.result.model import FittedModel
from autotl.result.saved import encode_label, write_json
from autotl.result.wording import count
from autotl.search.budget import Budget
from autotl.search.finish.again import contenders
from autotl.search.finish.finalists import ShippingRule
from autotl.search.finish.finish import Finish
from autotl.search.finish.finisher import Finisher
from autotl.search.floor.measurement import Baseline, FloorMeasurement
from autotl.search.interrupts import deferred
from autotl.search.progress import Progress
from autotl.search.remembering import run_record
from autotl.search.resuming import describe_others, describe_split
from autotl.search.settings import Settings, select_adaptations
from autotl.search.sources import weigh_sources
from autotl.search.study.build import build_study, make_caching
from autotl.search.study.candidate import Outcome
from autotl.search.study.portfolio import Remembered
from autotl.search.study.study import Study
from autotl.search.summary import (
    leaderboard,
    row_of,
    summarise,
    versions,
    why_no_backbone,
    write_leaderboard,
)
from autotl.search.workers import Job, WorkerPool, n_cores, share_out
from autotl.shelf import Shelf

SCREENING_SHARE = 0.35  # of the budget
_MOST_REMEMBERED = 5  # configurations that won on similar data and are tried first


class Search:
    """Search a task; every stage leaves what it found on the object.

    Args:
        task: The task.
        shelf: The backbones.
        settings: What was asked for.
        budget: The clock, started when the first sample was read.
        progress: Where to say what is happening.
    """

    def __init__(
        self, task: Task, shelf: Shelf, settings: Settings, budget: Budget, progress: Progress
    ) -> None:
        self.task, self.shelf, self.settings = task, shelf, settings
        self.budget, self.progress = budget, progress
        self.adaptations = select_adaptations(settings.adaptations, task)
        self.listed = [spec.name for spec in shelf.usable]
        self.device = settings.device or pick_device()
        self.measurement = FloorMeasurement(task, budget, progress)
        self.baselines: list[Baseline] = []
        self.timings: dict[str, float] = {}
        self.stopped_by, self.stop_reason = "budget", ""
        self.ranking: Ranking | None = None
        self.screening: Screening | None = None
        self.finisher: Finisher | None = None
        self.guard_summary: dict[str, Any] | None = None
        self.latency_ms: dict[str, float] = {}

    def run(self) -> FittedModel:
        """Measure the floor, screen, search, finish, and write the run folder."""
        self.timings["reading"] = self.budget.elapsed()
        if self.settings.out is not None and not self.settings.resumes:
            self._write_run()
        if not self.shelf.usable:
            self.progress.message(why_no_backbone(self))
        self.progress.stage("Floor", "the best model without transfer")
        started = time.perf_counter()
        self.baselines = self.measurement.run()
        self.timings["floor"] = time.perf_counter() - started
        if self.measurement.interrupted:
            self._interrupt()
        screened = self._screen() if self.stopped_by != "interrupt" else []
        sessions = {s.name: s.session for s in screened}
        self._weigh_sources(screened)
        finisher = Finisher(
            self.task,
            self.measurement,
            self.baselines,
            self.budget,
            self.progress,
            self.settings.seed,
        )
        self.finisher, finisher.latency_ms = finisher, self.latency_ms
        study, rows = self._study(screened, sessions, finisher)
        finisher.predictor_of = study.records.predictor
        finisher.hurried = self.stopped_by == "interrupt"
        finisher.gave_up = self.stopped_by == "floor"
        guarded = self.guard_summary = study.guard.summary(study.outcomes)
        with deferred(self._interrupt):
            best = study.best
            if best is not None:
                study.records.predictor(best)
            spec = study.space.adaptations[best.candidate.adaptation] if best else None
            session = sessions[best.candidate.backbone] if best else None
            finish = finisher.run(
                best,
                spec,
                session,
                contenders=contenders(study.outcomes, study.space.adaptations, sessions),
                rule=ShippingRule(
                    cautious=self.settings.cautious, negative=frozenset(guarded["flags"])
                ),
                ensemble=self.settings.ensemble,
            )
            self.timings["finalists"] = finish.finalists_seconds
            started = time.perf_counter()
            finisher.score_baselines(finish)
            self.timings["refit"] = finish.refit_seconds
            self.timings["holdout"] = finish.holdout_seconds + time.perf_counter() - started
            self._remember(study, finish)
            return self._model(study, finish, leaderboard(study.outcomes, rows))

    def _interrupt(self) -> None:
        self.stopped_by = "interrupt"
        if self.finisher is not None:
            self.finisher.hurried = True
        self.progress.message("Interrupted: finishing with what there is. Ctrl-C again to abort.")

    def _weigh_sources(self, screened: list[Screened]) -> None:
        """Let sources count by their closeness, in the embedding of the best backbone."""
        if not screened or len(self.task.sources) < 2:
            return
        try:
            self.task, words = weigh_sources(self.task, screened[0].session, self.settings.seed)
        except Exception as error:  # noqa: BLE001  # backbones and measures are plugin code
            words = f"Sources count alike: {type(error).__name__}: {error}"
        self._note(words)

    def _note(self, text: str) -> None:
        self.measurement.notes.append(text)
        self.progress.message(text)

    def _study(
        self, screened: list[Screened], sessions: dict[str, BackboneSession], finisher: Finisher
    ) -> tuple[Study, dict[int, dict[str, Any]]]:
        """Run the study; returns it with the leaderboard's rows by trial number."""
        rows: dict[int, dict[str, Any]] = {}

        def on_outcome(outcome: Outcome) -> None:
            row = row_of(outcome, self.task, finisher, self.baselines[0], self.shelf)
            rows[outcome.trial] = row
            self.progress.trial(row)

        study = build_study(
            self.task,
            screened,
            self.adaptations,
            listed=self.listed,
            budget=self.budget,
            seed=self.settings.seed,
            floor=self._bar(),
            floor_proba=self._guarded_proba(),
            reserve=lambda best: finisher.reserve(best, sessions),
            on_outcome=on_outcome,
            folder=self._folder(),
            remembered=self._remembered(),
            accept_changes=self.settings.accept_changes,
        )
        started = time.perf_counter()
        if screened and self.stopped_by != "interrupt":
            self.progress.stage("Search", count(len(screened), "backbone"))
            if self.settings.workers > 1:
                self._run_workers(study, screened, finisher.reserve(None, sessions))
            else:
                study.run()
                self.stopped_by = study.stopped_by
                self.stop_reason = study.stop_reason
        self.timings["search"] = time.perf_counter() - started
        return study, rows

    def _remembered(self) -> list[Remembered]:
        """Return what won on similar data, for backbones that can be used today."""
        advice = self.screening.advice if self.screening is not None else None
        found = advice.configurations(_MOST_REMEMBERED) if advice is not None else []
        return [(c.backbone, c.adaptation, c.params) for c in found]

    def _remember(self, study: Study, finish: Finish) -> None:
        """Leave a record for later runs."""
        screening = self.screening
        if screening is None or screening.fingerprint is None or self.task.unsupervised:
            return
        fingerprint = screening.fingerprint
        remember(
            lambda: run_record(
                self.task,
                fingerprint,
                study.outcomes,
                floor=self.baselines[0].validation,
                finish=finish,
                device=self.device,
            ),
            self._note,
        )

    def _folder(self) -> Path | None:
        """Return where the study is kept; workers share one even where nobody asked for it."""
        if self.settings.out is not None or self.settings.workers == 1:
            return self.settings.out
        folder = Path(tempfile.mkdtemp(prefix="autotl-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _bar(self) -> float | None:
        """Return the validation to beat; an unsupervised task has none that means the same."""
        return None if self.task.unsupervised else self.baselines[0].validation

    def _guarded_proba(self) -> np.ndarray | None:
        """Return the floor's probabilities on the samples that the guard reads."""
        floor = self.baselines[0]
        if self.task.unsupervised:
            return None
        if not len(self.task.split.guard):
            return floor.proba
        try:
            unseen = Fold(self.task.split.folds[0].train, self.task.split.guard)
            return self.measurement.on_split(floor, unseen)
        except Exception as error:  # noqa: BLE001  # raw features are plugin code
            self._note(f"Nothing is held against the floor: {type(error).__name__}: {error}")
            return None

    def _run_workers(self, study: Study, screened: list[Screened], reserve: float) -> None:
        """Let several processes search; what they find is taken in as it comes."""
        left, folder = study.trials_left, study.records.folder.parent
        n_workers = min(self.settings.workers, self.settings.workers if left is None else left)
        jobs = [
            Job(
                name=f"{len(study.outcomes)}-{k}",
                task=self.task,
                backbones=[
                    (s.session.spec, s.expectation, s.session.seconds_per_sample) for s in screened
                ],
                adaptations=self.adaptations,
                listed=self.listed,
                remembered=self._remembered(),
                floor=self._bar(),
                floor_proba=self._guarded_proba(),
                reserve=reserve,
                budget_seconds=self.settings.budget_seconds,
                earlier=self.budget.earlier,
                elapsed=self.budget.elapsed(),
                sent_at=time.time(),
                trials=trials,
                folder=folder,
                seed=self.settings.seed,
                device=self.device,
                cache=self.settings.cache,
                views=self.settings.views,
                n_threads=max(1, n_cores() // n_workers),
                paths=tuple(sys.path),
            )
            for k, trials in enumerate(share_out(left, n_workers))
        ]
        for s in screened:
            s.session.release()
        try:
            pool = WorkerPool(jobs, self.budget.elapsed, study.sync, self._note)
            self.stopped_by, self.stop_reason = pool.run()
        except KeyboardInterrupt:
            self.stopped_by = "interrupt"
        study.sync(paused=True)
        floor, best = self._bar(), study.best
        value = best.value if best is not None else None
        if (
            self.stopped_by == "floor"
            and value is not None
            and floor is not None
            and value > floor
        ):
            self.stopped_by, self.stop_reason = "budget", ""  # one gave up, another found it

    def _caching(self) -> Caching | None:
        """Say how activations are kept; None when that is not wanted or not possible."""
        if not self.settings.cache:
            return None
        return make_caching(
            self.task, self.adaptations, self.settings.seed, self.settings.views, self._note
        )

    def _screen(self) -> list[Screened]:
        self.progress.stage("Screening", count(len(self.shelf.usable), "backbone"))
        started = time.perf_counter()
        limit = self.budget.elapsed() + SCREENING_SHARE * self.budget.seconds
        screening = self.screening = Screening(
            task=self.task,
            device=self.device,
            seed=self.settings.seed,
            caching=self._caching(),
            rungs=rungs_before_trials(len(self.task.split.selection)),
            timed=self.budget.timed,
            experience=self.settings.experience,
            on_problem=self._note,
            check=self.budget.check,
            may_begin=lambda: self.budget.elapsed() <= limit,
            on_backbone=self.progress.advance,
        )
        with self.budget.stage(limit):
            self.ranking, screened = rank_backbones(screening, self.shelf.usable)
        if screening.interrupted:
            self._interrupt()
        for name, reason in screening.failed:
            self.shelf.skip(name, reason)
            self.progress.message(f"{name} was skipped: {reason}")
        screened = [s for s in screened if self._is_allowed(s)]
        self.timings["screening"] = time.perf_counter() - started
        return screened

    def _is_allowed(self, screened: Screened) -> bool:
        """Leave out what exceeds a limit that shows only now that the backbone was loaded."""
        reason = self.settings.limits.obstacle_loaded(screened.session, self.latency_ms)
        if reason is None:
            return True
        self.shelf.skip(screened.name, reason)
        self.progress.message(f"{screened.name} was skipped: {reason}")
        return False

    def _model(self, study: Study, finish: Finish, rows: list[dict[str, Any]]) -> FittedModel:
        """Put the result together and write it."""
        out = self.settings.out
        stages = sum(self.timings.values())
        total = self.budget.elapsed()
        self.timings |= {"total": total, "overhead": total - stages}
        result = summarise(self, study, finish, rows)
        transfer = finish.transfer if finish.shipped == "transfer" else None
        model = FittedModel(
            transfer or finish.floor,
            self.task.modality,
            self.task.classes,
            self.task.metric.name,
            result,
            self.shelf.directories,
            finish.floor,
        )
        if out is not None:
            (out / "model").mkdir(exist_ok=True)
            model.write(out / "model")
            write_leaderboard(out / "leaderboard.csv", rows)
            model.report(out / "report.html")
            # Now that all is written, say how long it took; `result.json` comes last: its
            # presence means that the run is complete.
            result["timings"]["total"] = self.budget.elapsed()
            result["timings"]["overhead"] = result["timings"]["total"] - stages
            write_json(out / "result.json", result)
        return model

    def _write_run(self) -> None:
        """Write `run.json`: inputs, versions, seeds and splits."""
        if self.settings.out is None:
            return
        content = {
            "asked": dict(self.settings.asked),
            "seed": self.settings.seed,
            "device": self.device,
            "versions": versions(),
            "classes": [encode_label(c) for c in self.task.classes],
            "metric": self.task.metric.name,
            "modality": self.task.modality.name,
            "backbones": [b.name for b in self.shelf.usable],
            "directories": self.shelf.directories,
            "adaptations": [a.name for a in self.adaptations],
            "samples": self.task.fingerprints,
            "labels": self.task.y.tolist(),
            "splits": describe_split(self.task.split),
            "others": describe_others(self.task),
        }
        write_json(self.settings.out / "run.json", content)
