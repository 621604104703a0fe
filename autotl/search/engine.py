"""One search from a checked task to a fitted model and a run folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl import defaults
from autotl.data import Task
from autotl.errors import InvalidDataError, OutputExistsError, UnknownNameError
from autotl.features import ActivationStore, BackboneSession, Caching
from autotl.ranking import Ranking, Screened, Screening, rank_backbones
from autotl.registry import get_registry
from autotl.result.device import pick_device
from autotl.result.model import FittedModel
from autotl.result.saved import encode_label, write_json
from autotl.result.wording import count
from autotl.search.budget import Budget
from autotl.search.candidate import Outcome
from autotl.search.finish import Finish, Finisher
from autotl.search.floor import Baseline, FloorMeasurement
from autotl.search.interrupts import deferred
from autotl.search.progress import Progress
from autotl.search.space import expected_fractions
from autotl.search.study import Study
from autotl.search.summary import (
    leaderboard,
    row_of,
    summarise,
    versions,
    why_no_backbone,
    write_leaderboard,
)
from autotl.shelf import Shelf
from autotl.specs import AdaptationSpec

SCREENING_SHARE = 0.35  # of the budget


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a search was asked for.

    Args:
        budget_seconds: Wall-clock limit.
        trials: Limit on trials, in place of the clock.
        adaptations: Names or patterns of methods; None takes all.
        out: Run folder; None writes nothing.
        seed: Of everything random.
        device: Where to compute; None picks a GPU when there is one.
        cache: Whether activations of frozen layers are kept on disk.
        views: Augmented views of each sample that are kept.
        asked: The call's arguments as the user gave them, for `run.json`.
    """

    budget_seconds: float
    trials: int | None = None
    adaptations: Sequence[str] | None = None
    out: Path | None = None
    seed: int = 0
    device: str | None = None
    cache: bool = True
    views: int = defaults.VIEWS
    asked: Mapping[str, Any] = field(default_factory=dict)


def open_run_folder(out: str | Path) -> Path:
    """Create a run folder.

    Raises:
        OutputExistsError: It exists and is not empty.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"The output folder {str(folder)!r} is a file. Choose another.")
    if folder.exists() and any(folder.iterdir()):
        raise OutputExistsError(
            f"The output folder {str(folder)!r} exists and is not empty. "
            "Choose another one, or move it away."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def select_adaptations(patterns: Sequence[str] | None) -> list[AdaptationSpec]:
    """Return the methods that need nothing but labelled data, or those named.

    Raises:
        UnknownNameError: A name or pattern fits no method.
    """
    catalog = get_registry().adaptations
    if patterns is None:
        return [a for a in catalog if not a.needs and "classification" in a.tasks]
    if not patterns:
        raise InvalidDataError("adaptations is empty; give a name or pattern, or None for all.")
    chosen: dict[str, AdaptationSpec] = {}
    for pattern in patterns:
        if pattern in catalog:
            found = [_usable(catalog.get(pattern))]
        else:
            found = [a for a in catalog.match(pattern) if not a.needs]
        if not found:
            raise UnknownNameError("adaptation", pattern, catalog.names())
        chosen |= {a.name: a for a in found}
    return list(chosen.values())


def _usable(spec: AdaptationSpec) -> AdaptationSpec:
    if spec.needs:
        raise InvalidDataError(
            f"Adaptation {spec.name!r} needs {', '.join(sorted(spec.needs))} data, which a search "
            "cannot be given yet. Leave it out."
        )
    return spec


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
        self.adaptations = select_adaptations(settings.adaptations)
        self.device = settings.device or pick_device()
        self.measurement = FloorMeasurement(task, budget, progress)
        self.baselines: list[Baseline] = []
        self.timings: dict[str, float] = {}
        self.stopped_by = "budget"
        self.ranking: Ranking | None = None

    def run(self) -> FittedModel:
        """Measure the floor, screen, search, finish, and write the run folder."""
        self.timings["reading"] = self.budget.elapsed()
        if self.settings.out is not None:
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
        finisher = Finisher(
            self.task,
            self.measurement,
            self.baselines,
            self.budget,
            self.progress,
            self.settings.seed,
        )
        study, rows = self._study(screened, sessions, finisher)
        with deferred(self._interrupt):
            best = study.best
            spec = study.space.adaptations[best.candidate.adaptation] if best else None
            session = sessions[best.candidate.backbone] if best else None
            finish = finisher.run(best, spec, session)
            started = time.perf_counter()
            finisher.score_baselines(finish)
            self.timings["refit"] = finish.refit_seconds
            self.timings["holdout"] = finish.holdout_seconds + time.perf_counter() - started
            return self._model(study, finish, leaderboard(study.outcomes, rows))

    def _interrupt(self) -> None:
        self.stopped_by = "interrupt"
        self.progress.message("Interrupted: finishing with what there is. Ctrl-C again to abort.")

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

        study = Study(
            self.task,
            screened,
            self.adaptations,
            budget=self.budget,
            seed=self.settings.seed,
            reserve=lambda best: finisher.reserve(best, sessions),
            on_outcome=on_outcome,
            journal=self.settings.out / "study.journal" if self.settings.out else None,
        )
        started = time.perf_counter()
        if screened and self.stopped_by != "interrupt":
            self.progress.stage("Search", count(len(screened), "backbone"))
            study.run()
            self.stopped_by = study.stopped_by
        self.timings["search"] = time.perf_counter() - started
        return study, rows

    def _caching(self) -> Caching | None:
        """Say how activations are kept; None when that is not wanted or not possible."""
        if not self.settings.cache:
            return None
        store = ActivationStore.from_environment(self._note)
        if store is None:
            return None
        return Caching(
            store=store,
            digests=self.task.fingerprints,
            y=self.task.y,
            views=self.settings.views,
            seed=self.settings.seed,
            demand=expected_fractions(self.adaptations),
        )

    def _screen(self) -> list[Screened]:
        self.progress.stage("Screening", count(len(self.shelf.usable), "backbone"))
        started = time.perf_counter()
        limit = self.budget.elapsed() + SCREENING_SHARE * self.budget.seconds
        screening = Screening(
            task=self.task,
            device=self.device,
            seed=self.settings.seed,
            caching=self._caching(),
            timed=self.budget.timed,
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
        self.timings["screening"] = time.perf_counter() - started
        return screened

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
        split = self.task.split
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
            "splits": {
                "folds": [
                    {"train": f.train.tolist(), "validation": f.validation.tolist()}
                    for f in split.folds
                ],
                "holdout": split.holdout.tolist(),
            },
        }
        write_json(self.settings.out / "run.json", content)
