"""What the engine costs beyond Optuna and beyond the work itself.

    python benchmarks/perf/overhead.py --out overhead.json
    python benchmarks/perf/overhead.py --search 300 --zoo ../shared/zoo --out overhead.json

First: trials whose adaptation method does nothing, through the engine's study, against Optuna's
own ask, report and tell with the same sampler, space and journal, in alternating rounds. Then,
with `--search`: where the wall-clock of a real search goes, by the outermost call that is running.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from machine import describe

from autotl.data import build_task
from autotl.features import ActivationStore, BackboneSession, Caching
from autotl.ranking import Screened
from autotl.search.budget import Budget
from autotl.search.study.study import Study
from autotl.specs import AdaptationSpec, Inputs, Range, SavedState, Step
from autotl.testing.fakes import fake_backbone, toy_images

STEPS = 5


class Constant:
    """Predicts one class whatever it is given."""

    def __init__(self, n_classes: int, step: int) -> None:
        self.proba = np.full(n_classes, 1 / n_classes) + np.eye(n_classes)[0] * 1e-3 * step

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        return np.tile(self.proba / self.proba.sum(), (len(inputs), 1))

    def save(self) -> SavedState:
        return SavedState(tensors={"proba": self.proba}, config={})


def nothing(task: Any, state: Any = None) -> Generator[Step, None, None]:
    """Yield steps that cost nothing."""
    for step in range(STEPS):
        saved = SavedState(tensors={}, config={"step": step})
        yield Step(predictor=Constant(task.n_classes, step), state=lambda saved=saved: saved)


IDLE = AdaptationSpec(
    name="idle",
    steps=nothing,
    restore=lambda saved: Constant(1, 0),
    space={
        "freeze_fraction": Range(low=0.0, high=0.9),
        "lr": Range(low=1e-5, high=1e-2, log=True),
        "weight_decay": Range(low=1e-5, high=1e-1, log=True),
    },
    defaults={"freeze_fraction": 0.5, "lr": 1e-3, "weight_decay": 1e-3},
    max_steps=lambda _: STEPS,
    trains_backbone=True,
)


def open_study(n_trials: int, n_samples: int, journal: Path, caching_root: Path) -> Study:
    """Return a study of the idle method on the fake backbone."""
    images, y = toy_images(n_samples)
    task = build_task(images, y.tolist(), seed=0)
    caching = Caching(
        store=ActivationStore(caching_root, 10**9), digests=task.fingerprints, y=task.y
    )
    session = BackboneSession(fake_backbone(), task.samples, task.modality, caching=caching)
    session.embed(np.arange(len(task.y)))
    task.metric(task.y[:2], np.eye(len(task.classes))[task.y[:2]])  # imports what it needs
    study = Study(
        task,
        [Screened(session=session)],
        [IDLE],
        budget=Budget(0, trials=n_trials),
        seed=0,
        reserve=lambda best: 0.0,
        on_outcome=lambda outcome: None,
        journal=journal,
    )
    study._planner.profile = lambda backbone: None  # type: ignore[method-assign]  # paid once
    return study


def plain_optuna(n_trials: int, n_steps: int, study: Study) -> float:
    """Return the seconds of ask, suggest, report and tell without autotl around them."""
    started = time.perf_counter()
    for _ in range(n_trials):
        trial = study._study.ask()
        study.space.suggest(trial)
        for step in range(n_steps):
            trial.report(0.1, step + 1)
            trial.should_prune()
        study._study.tell(trial, 0.1)
    return time.perf_counter() - started


def per_trial(n_trials: int, n_samples: int, n_rounds: int) -> dict[str, Any]:
    """Return milliseconds a trial of both, and their difference, medians over rounds."""
    engine, optuna = [], []
    for _ in range(n_rounds):
        with tempfile.TemporaryDirectory() as folder:
            study = open_study(n_trials, n_samples, Path(folder, "a"), Path(folder, "cache"))
            started = time.perf_counter()
            study.run()
            engine.append((time.perf_counter() - started) / n_trials * 1e3)
            n_done = sum(o.ran for o in study.outcomes)
            if n_done != n_trials:
                raise SystemExit(f"{n_done} of {n_trials} trials ran")
            bare = open_study(n_trials, n_samples, Path(folder, "b"), Path(folder, "cache"))
            n_steps = len(study.outcomes[0].history)  # patience ends a trial that gains nothing
            optuna.append(plain_optuna(n_trials, n_steps, bare) / n_trials * 1e3)
    beyond = np.median(np.array(engine) - np.array(optuna))
    return {
        "trials": n_trials,
        "samples": n_samples,
        "engine_ms": float(np.median(engine)),
        "optuna_ms": float(np.median(optuna)),
        "beyond_optuna_ms": float(beyond),
    }


class Ledger:
    """Books wall-clock time to the outermost booked call that is running."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def book(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return `work` with its time booked under a name."""

        @functools.wraps(work)
        def booked(*args: Any, **keywords: Any) -> Any:
            if self._inside:
                return work(*args, **keywords)
            self._inside, started = True, time.perf_counter()
            try:
                return work(*args, **keywords)
            finally:
                self._inside = False
                seconds = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + seconds

        return booked

    def book_generator(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes generators whose every step is booked."""

        @functools.wraps(work)
        def booked(*args: Any, **keywords: Any) -> Any:
            steps = work(*args, **keywords)
            advance = self.book(name, lambda: next(steps, None))
            while (step := advance()) is not None:
                yield step

        return booked


def of_search(zoo: Path, name: str, seconds: float, seed: int) -> dict[str, Any]:
    """Run a search and return the share of its time that is not work."""
    from dataclasses import replace

    import autotl.search.engine as engine
    from autotl.adapt.heads import LinearHead
    from autotl.adapt.networks import TunedNetwork
    from autotl.features import cost
    from autotl.registry import get_registry
    from autotl.search.floor.measurement import FloorMeasurement

    ledger = Ledger()
    session, wrapped = BackboneSession, ledger.book
    session.embed = wrapped("forward and data", session.embed)
    load = wrapped("importing libraries and loading networks", session.loaded.fget)
    session.loaded = property(load, session.loaded.fset)
    cost.measure = wrapped("forward and backward", cost.measure)
    session.__dict__["kept"].func = wrapped("forward and data", session.__dict__["kept"].func)
    LinearHead.predict_proba = wrapped("heads", LinearHead.predict_proba)
    TunedNetwork.predict_proba = wrapped("forward and data", TunedNetwork.predict_proba)
    for work in ("run", "final", "holdout_proba"):
        setattr(FloorMeasurement, work, wrapped("floor", getattr(FloorMeasurement, work)))
    names = {True: "forward, backward and data", False: "solving probes"}
    methods = [
        replace(a, steps=ledger.book_generator(names[a.trains_backbone], a.steps))
        for a in engine.select_adaptations(None)
    ]
    engine.select_adaptations = lambda patterns: methods
    _ = get_registry()

    sys.path.insert(0, str(zoo))
    from zoo import load

    import autotl

    images, y, classes = load(zoo / "images" / f"{name}.npz")
    load_all = [image.convert("RGB") for image in images]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model = autotl.fit(
            load_all, [classes[i] for i in y], budget_seconds=seconds, seed=seed,
            weights=str(zoo / "weights"), out=Path(folder, "run"), progress=False,
        )  # fmt: skip
    total = time.perf_counter() - started
    timings = model.result["timings"]
    booked = {**ledger.seconds, "reading data": timings["reading"]}
    return {
        "set": name,
        "seconds": total,
        "booked": booked,
        "outside_seconds": total - sum(booked.values()),
        "outside_share": 1 - sum(booked.values()) / total,
        # Fitting the floor and solving probes is work too, but no forward or backward pass.
        "outside_passes_and_data_share": 1
        - sum(s for name, s in booked.items() if "data" in name or "ward" in name) / total,
        "trials": model.result["n_trials"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--samples", type=int, default=900)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--search", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--set", default="trashnet6")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("overhead.json"))
    args = parser.parse_args()
    content: dict[str, Any] = {"machine": describe(), "seed": args.seed}
    if args.trials:
        content["per_trial"] = per_trial(args.trials, args.samples, args.rounds)
        print(json.dumps(content["per_trial"]), flush=True)
    if args.search:
        content["search"] = of_search(args.zoo, args.set, args.search, args.seed)
        print(json.dumps(content["search"], indent=1))
    args.out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
