"""Measure one learning curve, one floor, or what a backbone costs before anything is fitted."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from oracle import FLOOR, PARTS, SCHEMA, pack

from autotl.data import Task
from autotl.defaults import VIEWS
from autotl.features import BackboneSession, freeze_depth, measure
from autotl.features.activations import PLAIN, View
from autotl.search.budget import Budget
from autotl.search.floor.measurement import FloorMeasurement
from autotl.search.progress import SilentProgress
from autotl.specs import AdaptationSpec, AdaptationTask, Predictor

TIMED_ROWS = 64  # samples that costs a sample are measured on
PROFILE_SECONDS = 2.0


def first_fold(task: Task) -> Task:
    """Return a task whose split has its first fold only; with many samples, there is no other."""
    return replace(task, split=replace(task.split, folds=task.split.folds[:1]))


def guard_rows(task: Task) -> np.ndarray:
    """Return the rows of the guard's own block; none where the split has no such block."""
    rows = getattr(task.split, "guard", None)
    return np.zeros(0, int) if rows is None else np.asarray(rows)


def sizes(task: Task) -> dict[str, int]:
    """Return how many rows each part of a task has."""
    return {
        "n_train": len(task.split.folds[0].train),
        **{f"n_{part}": len(rows) for part, rows in parts(task).items()},
    }


def parts(task: Task) -> dict[str, np.ndarray]:
    """Return the rows of the parts that curves are judged on."""
    split = task.split
    rows = (split.folds[0].validation, split.holdout, guard_rows(task))
    return dict(zip(PARTS, rows, strict=True))


def frozen_costs(session: BackboneSession, task: Task) -> dict[str, Any]:
    """Return CPU seconds a sample of the frozen layers, and a profile of all of them.

    `extract` maps each kept cut to the seconds of reading a sample and running the layers before
    it; the last cut is the embedding.
    """
    rows = task.split.folds[0].train[:TIMED_ROWS]
    batches = np.array_split(rows, max(1, len(rows) // session.batch_size))
    modules = {d: session.part(0, d) for d in session.kept if d < session.n_groups}
    modules[session.n_groups] = session.embedder(len(rows))
    began = time.process_time()
    prepared = [session.prepare(batch) for batch in batches]
    reading = time.process_time() - began
    extract = {}
    for depth, module in modules.items():
        found = []
        for _ in range(2):  # the first also warms up
            began = time.process_time()
            for batch in prepared:
                session.infer(module, session.ready(batch))
            found.append(time.process_time() - began)
        extract[depth] = (reading + min(found)) / len(rows)
    profile = measure(session, batch_size=16, seconds=PROFILE_SECONDS, depths=(0, *session.kept))
    return {
        "params": "{}", "n_groups": session.n_groups, "kept": list(session.kept),
        "embed_seconds": extract[session.n_groups],
        "extract": [[depth, seconds] for depth, seconds in extract.items()],
        "augment_seconds": augment_seconds(session, prepared[0]),
        "profile": [profile.depths, profile.forward, profile.backward],
    }  # fmt: skip


def augment_seconds(session: BackboneSession, batch: Any) -> float:
    """Return the CPU seconds to augment one sample, which the engine does one at a time."""
    import torch

    augment = session.modality.augment
    if augment is None:
        return 0.0
    ready, generator = session.ready(batch), torch.Generator().manual_seed(0)
    began = time.process_time()
    for i in range(len(ready)):
        augment(ready[i : i + 1], generator, 0.3)
    return (time.process_time() - began) / len(ready)


def curve(
    session: BackboneSession,
    task: Task,
    method: AdaptationSpec,
    params: dict[str, Any],
    frozen: dict[str, Any],
) -> dict[str, Any]:
    """Return what one configuration shows after each of its steps."""
    fraction = params.get("freeze_fraction", 1.0)
    depth, planned = freeze_depth(fraction, session.n_groups), method.max_steps(params)
    start = session.start_for(depth)
    extract(session, task, start, params.get("augment", 0.0))
    history = History(task)
    fit = AdaptationTask(
        train=session.inputs(task.split.folds[0].train),
        y=task.y[task.split.folds[0].train],
        n_classes=len(task.classes),
        freeze_depth=depth,
        n_steps=planned,
        params=params,
        seed=frozen["seed"],
    )
    try:
        with closing(method.steps(fit, None)) as steps:
            for _ in range(planned):
                clocks = time.process_time(), time.perf_counter()
                step = next(steps, None)
                if step is None or not history.take(step.predictor, session, clocks):
                    break
    except (ArithmeticError, RuntimeError, ValueError) as error:
        # As the engine would have it: this curve fails, the others go on.
        history.reason = f"{type(error).__name__}: {error}"
    return {
        "freeze_depth": depth, "n_groups": session.n_groups, "start": start,
        "planned_steps": planned,
        "embed_seconds": frozen["embed_seconds"],
        "extract_seconds": dict(map(tuple, frozen["extract"])).get(start, 0.0),
        "augment_seconds": frozen["augment_seconds"],
        **history.record(),
    }  # fmt: skip


def extract(session: BackboneSession, task: Task, start: int, strength: float) -> None:
    """Compute what a fit will read, so that no step pays for it."""
    session.loaded  # noqa: B018  # loads it
    session.part(start, session.n_groups)
    session.embed(np.concatenate([task.split.folds[0].train, *parts(task).values()]))
    seen = [PLAIN]
    if strength > 0 and session.modality.augment is not None:
        seen += [View(i, strength) for i in range(VIEWS)]
    for rows in (task.split.folds[0].train, *parts(task).values()):
        if start == 0:
            for _ in session.inputs(rows).batches(TIMED_ROWS):  # images stay prepared in memory
                pass
        elif session.activations is not None:
            for view in seen if start < session.n_groups else seen[1:]:
                for _ in session.activations.fill(rows, start, view):
                    pass
            seen = [PLAIN]  # only training samples are augmented


class History:
    """What the steps of one fit have shown.

    Args:
        task: Brings the labels.
    """

    def __init__(self, task: Task) -> None:
        self._y, self._rows = task.y, parts(task)
        self._lists: dict[str, list[float]] = defaultdict(list)
        self._correct: dict[str, np.ndarray] = {}
        self._best: tuple[float, float] | None = None
        self.best_step, self.reason = 0, ""

    def take(
        self, predictor: Predictor, session: BackboneSession, clocks: tuple[float, float]
    ) -> bool:
        """Judge a step that began when the clocks showed this; False where it has failed."""
        probas = {"validation": predictor.predict_proba(session.inputs(self._rows["validation"]))}
        seconds, wall = time.process_time() - clocks[0], time.perf_counter() - clocks[1]
        for part in PARTS[1:]:
            if len(self._rows[part]):
                probas[part] = predictor.predict_proba(session.inputs(self._rows[part]))
        if not all(np.isfinite(proba).all() for proba in probas.values()):
            self.reason = "predicted NaN or infinity"
            return False
        self.spend(seconds, wall)
        self.judge(probas)
        return True

    def spend(self, seconds: float, wall: float) -> None:
        """Note what the step took: CPU and wall-clock seconds."""
        self._lists["seconds"].append(seconds)
        self._lists["wall_seconds"].append(wall)

    def judge(self, probas: dict[str, np.ndarray]) -> None:
        """Note what was right.

        Args:
            probas: Of each part that has rows, shape (n_samples, n_classes).
        """
        labels = {part: self._y[rows] for part, rows in self._rows.items()}
        correct = {part: proba.argmax(axis=1) == labels[part] for part, proba in probas.items()}
        for part, hits in correct.items():
            self._lists[part].append(float(hits.mean()))
            self._correct[f"{part}_last"] = hits
        y, proba = labels["validation"], probas["validation"]
        own = proba[np.arange(len(y)), y]
        self._lists["log_loss"].append(float(-np.log(np.clip(own, 1e-12, None)).mean()))
        reached = self._lists["validation"][-1], -self._lists["log_loss"][-1]
        if self._best is None or reached > self._best:
            self._best, self.best_step = reached, len(self._lists["validation"])
            self._correct |= {f"{part}_best": hits for part, hits in correct.items()}

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        lists = (name for name, kind in SCHEMA.items() if kind == "list")
        return {
            "state": "failed" if self.reason else "complete",
            "reason": self.reason,
            "best_step": self.best_step,
            **{name: [float(f"{v:.5g}") for v in self._lists[name]] for name in lists},
            **{name: pack(hits) for name, hits in self._correct.items()},
        }


def floors(task: Task) -> Iterator[dict[str, Any]]:
    """Yield the raw-feature models; like curves, they are judged as fitted on training rows."""
    unlimited = Budget(float("inf"), 1)
    clocks = time.process_time(), time.perf_counter()
    measured = FloorMeasurement(task, unlimited, SilentProgress()).run()
    share = (time.process_time() - clocks[0]) / (time.perf_counter() - clocks[1])
    # Without validation rows, what is final is fitted on the training rows alone.
    fold = task.split.folds[0]
    trained = replace(task.split, folds=(replace(fold, validation=fold.validation[:0]),))
    final = FloorMeasurement(replace(task, split=trained), unlimited, SilentProgress())
    for baseline in measured:
        if baseline.state != "complete" or baseline.proba is None:
            continue
        model = final.final(baseline)
        history = History(task)
        others = {p: rows for p, rows in parts(task).items() if p != "validation" and len(rows)}
        history.judge({
            "validation": baseline.proba,
            **{p: model.predict_proba(task.samples.select(r)) for p, r in others.items()},
        })  # fmt: skip
        history.spend(baseline.seconds * share, baseline.seconds)
        yield {
            "backbone": baseline.name, "method": FLOOR, "params": "{}", "round": FLOOR,
            "choice": baseline.choice, "planned_steps": 1, **history.record(),
        }  # fmt: skip
