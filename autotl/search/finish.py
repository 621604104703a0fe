"""The end of a search: ship on validation, refit, touch the holdout once, give the verdict."""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.adapt.raw import RawModel
from autotl.data import Task
from autotl.features import BackboneSession
from autotl.result.intervals import REPETITIONS, Gap, paired_gap
from autotl.result.model import TransferPredictor
from autotl.result.wording import count
from autotl.search.budget import Budget, OutOfTime
from autotl.search.candidate import Outcome
from autotl.search.evaluate import adaptation_task
from autotl.search.floor import Baseline, FloorMeasurement, class_weights
from autotl.search.progress import Progress
from autotl.specs import AdaptationSpec, SavedState

MARGIN = 0.0  # what the best candidate's validation must exceed the floor's by to be shipped
_REPORT_SECONDS = 1.5
_REFIT_MARGIN = 1.3
_NO_REFIT = (
    "No time was left to refit on train and validation; the shipped model was fitted on the "
    "training part. A larger budget avoids this."
)
_BARE_FLOOR = (
    "The floor is only the majority class: no other baseline could be measured, so beating it "
    "says little. The list of floors says why."
)


@dataclass(kw_only=True)
class Finish:
    """What was shipped and what the holdout said.

    Args:
        shipped: "transfer" or "floor".
        transfer: The best candidate, refitted; None when no trial finished.
        floor: The floor, fitted on train and validation.
        transfer_proba: Its holdout probabilities.
        floor_proba: The floor's holdout probabilities.
        gap: Best candidate minus floor on the holdout.
        refit_seconds: Time of the refit.
        holdout_seconds: Time of predicting the holdout.
        notes: What the user should know.
    """

    shipped: str
    transfer: TransferPredictor | None
    floor: RawModel
    transfer_proba: np.ndarray | None
    floor_proba: np.ndarray
    gap: Gap | None
    refit_seconds: float
    holdout_seconds: float
    notes: list[str]

    @property
    def verdict(self) -> str:
        """The sign of the gap's interval; "inconclusive" where there is none to rely on."""
        if self.gap is None or self.floor.feature is None:
            return "inconclusive"
        return self.gap.verdict

    @property
    def proba(self) -> np.ndarray:
        """Holdout probabilities of the shipped model."""
        if self.shipped == "transfer" and self.transfer_proba is not None:
            return self.transfer_proba
        return self.floor_proba


class Finisher:
    """Finish a search on a task.

    Args:
        task: The task.
        measurement: Fits the floor.
        baselines: The floor first.
        budget: The clock.
        progress: Where to say what is happening.
        seed: Of the refit.
    """

    def __init__(
        self,
        task: Task,
        measurement: FloorMeasurement,
        baselines: list[Baseline],
        budget: Budget,
        progress: Progress,
        seed: int,
    ) -> None:
        self.task, self.measurement, self.baselines = task, measurement, baselines
        self.budget, self.progress, self.seed = budget, progress, seed

    def reserve(self, best: Outcome | None, sessions: dict[str, BackboneSession]) -> float:
        """Return the seconds that finishing will take, given the best outcome so far."""
        floor = self.measurement.final_seconds(self.baselines[0]) * _REFIT_MARGIN
        if best is None:
            return floor + _REPORT_SECONDS
        session = sessions[best.candidate.backbone]
        return (
            floor
            + _REPORT_SECONDS
            + self._refit_seconds(best)
            + self._holdout_seconds(session, tuned=best.tuned)
        )

    def _refit_seconds(self, best: Outcome) -> float:
        folds = self.task.split.folds
        growth = len(self.task.split.train_validation) / sum(len(f.train) for f in folds)
        done = best.steps / max(1, len(best.history))
        return (best.seconds - best.embed_seconds) * growth * done * _REFIT_MARGIN

    def _holdout_seconds(self, session: BackboneSession, *, tuned: bool) -> float:
        holdout = self.task.split.holdout
        n_samples = len(holdout) if tuned else session.missing(holdout)
        return (session.seconds_per_sample or 0.0) * n_samples

    def run(
        self,
        best: Outcome | None,
        spec: AdaptationSpec | None,
        session: BackboneSession | None,
    ) -> Finish:
        """Refit, evaluate on the holdout once, and say what is shipped."""
        started = time.perf_counter()
        notes = self.measurement.notes
        self.progress.stage("Refit", "on train and validation")
        floor = self.measurement.final(self.baselines[0])
        saved = None
        if best is not None and spec is not None and session is not None:
            saved = self._refit(best, spec, session, notes)
        refit_seconds = time.perf_counter() - started
        holdout = self.task.split.holdout
        self.progress.stage("Holdout", f"{count(len(holdout), 'sample')}, touched once")
        floor_proba = self.measurement.holdout_proba(self.baselines[0], floor)
        transfer, transfer_proba, gap = None, None, None
        if saved is not None and session is not None and spec is not None:
            transfer = TransferPredictor(
                backbone=session.spec,
                adaptation=spec.name,
                saved=saved,
                modality=self.task.modality,
                device=session.device,
            )
            transfer_proba = self._predict_holdout(transfer, spec, session, notes)
        if transfer_proba is None:
            transfer = None
        else:
            gap = self.compare(transfer_proba, floor_proba, holdout)
            if self.baselines[0].feature is None:
                notes.append(_BARE_FLOOR)
        return Finish(
            shipped=self._shipped(best if transfer is not None else None),
            transfer=transfer,
            floor=floor,
            transfer_proba=transfer_proba,
            floor_proba=floor_proba,
            gap=gap,
            refit_seconds=refit_seconds,
            holdout_seconds=time.perf_counter() - started - refit_seconds,
            notes=notes,
        )

    def _predict_holdout(
        self,
        transfer: TransferPredictor,
        spec: AdaptationSpec,
        session: BackboneSession,
        notes: list[str],
    ) -> np.ndarray | None:
        """Return holdout probabilities; a failure costs the candidate, never the run."""
        try:
            inputs = session.inputs(self.task.split.holdout)
            proba = spec.restore(transfer.saved).predict_proba(inputs)
        except Exception as error:  # noqa: BLE001  # backbones and methods are plugin code
            notes.append(
                f"{transfer.adaptation!r} on {session.spec.name!r} failed on the holdout "
                f"({type(error).__name__}: {error}), so the floor is the fitted model."
            )
            return None
        if np.isfinite(proba).all():
            return proba
        notes.append(
            f"{transfer.adaptation!r} on {session.spec.name!r} predicted NaN or infinity on the "
            "holdout, so the floor is the fitted model."
        )
        return None

    def compare(
        self,
        candidate: np.ndarray,
        floor: np.ndarray,
        rows: np.ndarray,
        repetitions: int = REPETITIONS,
    ) -> Gap:
        """Return candidate minus floor on some rows with its paired interval."""
        return paired_gap(
            self.task.metric.kind,
            self.task.metric,
            self.task.y[rows],
            candidate,
            floor,
            groups=self.task.groups[rows],
            repetitions=repetitions,
            seed=self.seed,
        )

    def _shipped(self, best: Outcome | None) -> str:
        floor = self.baselines[0].validation
        if best is None or best.value is None:
            return "floor"
        return "transfer" if floor is None or best.value > floor + MARGIN else "floor"

    def _refit(
        self,
        best: Outcome,
        spec: AdaptationSpec,
        session: BackboneSession,
        notes: list[str],
    ) -> SavedState | None:
        """Fit the best candidate on train and validation; fall back on its first fold's fit."""
        rows = self.task.split.train_validation
        until = self.budget.seconds - _REPORT_SECONDS
        until -= self._holdout_seconds(session, tuned=best.tuned)
        if self.budget.elapsed() + 0.5 * self._refit_seconds(best) > until:
            notes.append(_NO_REFIT)
            return best.saved
        task = adaptation_task(
            best.candidate,
            session,
            self.task,
            rows,
            depth=best.freeze_depth,
            n_steps=best.planned_steps,
            weights=class_weights(self.task),
            seed=self.seed * 10_007 + best.trial,
        )
        saved = best.saved
        try:
            with self.budget.stage(until), closing(spec.steps(task, None)) as steps:
                for index, step in enumerate(steps, start=1):
                    self.progress.advance(f"{spec.resource} {index}", index, best.steps)
                    if index >= best.steps:
                        saved = step.predictor.save()
                        break
        except (OutOfTime, KeyboardInterrupt):
            notes.append(_NO_REFIT)
        except Exception as error:  # noqa: BLE001  # a method is plugin code; its trial had worked
            notes.append(
                f"Refitting failed ({type(error).__name__}: {error}); the shipped model is the "
                "one fitted on the training part."
            )
        return saved

    def score_baselines(self, finish: Finish) -> None:
        """Fill in the floor's holdout score, and the other baselines' while time is left."""
        y = self.task.y[self.task.split.holdout]
        self.baselines[0].holdout = float(self.task.metric(y, finish.floor_proba))
        for baseline in self.baselines[1:]:
            need = _REPORT_SECONDS + self.measurement.final_seconds(baseline) * _REFIT_MARGIN
            if baseline.state != "complete" or self.budget.left() < need:
                continue
            try:
                model = self.measurement.final(baseline)
                proba = self.measurement.holdout_proba(baseline, model)
                baseline.holdout = float(self.task.metric(y, proba))
            except Exception as error:  # noqa: BLE001  # raw features are plugin code
                baseline.reason = f"on the holdout: {type(error).__name__}: {error}"


def confusion(y: np.ndarray, proba: np.ndarray, n_classes: int) -> list[list[int]]:
    """Count holdout samples by true class (rows) and predicted class (columns)."""
    table = np.zeros((n_classes, n_classes), int)
    np.add.at(table, (y, proba.argmax(axis=1)), 1)
    counts: list[list[int]] = table.tolist()
    return counts


def per_class(table: list[list[int]], labels: list[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each class from a confusion table."""
    counts = np.array(table)
    rows = []
    for i, label in enumerate(labels):
        hit, support, predicted = counts[i, i], counts[i].sum(), counts[:, i].sum()
        precision = float(hit / predicted) if predicted else 0.0
        recall = float(hit / support) if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hit else 0.0
        rows.append(
            {
                "label": label,
                "precision": precision,
                "recall": recall,
                "f1": f1,
                "support": int(support),
            }
        )
    return rows
