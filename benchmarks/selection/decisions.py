"""How long decisions take beyond Optuna's own ask, report and tell, on the same storage.

Optuna is given the very trials that autotl chose, and draws with TPE what autotl let it draw.

Seconds are of the processor: they compare on a machine that has other work, and leave out what a
disk takes, which both sides share.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna

from autotl.ranking import Expectation
from autotl.registry import get_registry
from autotl.search.budget import Budget
from autotl.search.study.belief import Belief
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.chooser import Chooser, Start
from autotl.search.study.evaluate import StepReport
from autotl.search.study.guarding import FloorGuard
from autotl.search.study.halving import CostHalving
from autotl.search.study.methods import default_methods
from autotl.search.study.portfolio import Portfolio
from autotl.search.study.posterior import Scale
from autotl.search.study.records import TrialRecords
from autotl.search.study.sampler import TransferSampler
from autotl.search.study.space import SearchSpace
from autotl.search.study.study import Study
from autotl.specs import AdaptationSpec, SavedState

N_BACKBONES, N_VALIDATION = 17, 250
BINS = ((0, 100), (100, 200), (200, 300), (300, 400), (400, 500))


class Instant:
    """Runs trials in no time and says how long everything else took.

    Args:
        adaptations: Methods by name.
        seed: Of what trials show.
    """

    def __init__(self, adaptations: dict[str, AdaptationSpec], seed: int) -> None:
        self._adaptations, self._rng = adaptations, np.random.default_rng(seed)
        self.seconds: list[float] = []
        self._since = time.process_time()

    def plan(self, candidate: Candidate, left: float, *, first: bool) -> tuple[int, str]:
        """Return all steps."""
        return self._adaptations[candidate.adaptation].max_steps(candidate.params), ""

    def predict(self, outcome: Outcome, rows: np.ndarray) -> None:
        """Predict nothing."""

    def run(
        self, outcome: Outcome, until: float, report: StepReport, states: Any = None
    ) -> list[SavedState]:
        """Fill in a curve at once; what `report` takes counts as deciding."""
        thinking = time.process_time() - self._since
        spec = self._adaptations[outcome.candidate.adaptation]
        outcome.state, outcome.tuned = "running", spec.trains_backbone
        outcome.reason = "all steps done"
        outcome.proba = np.full((N_VALIDATION, 10), 0.1)
        height, state = 0.6 + 0.2 * self._rng.random(), "complete"
        for step in range(len(outcome.history) + 1, outcome.planned_steps + 1):
            value = height * (1 - 0.7**step) + 0.005 * self._rng.random()
            outcome.history.append(value)
            outcome.costs.append(float(step))
            if outcome.value is None or value > outcome.value:
                outcome.value, outcome.steps, outcome.log_loss = value, step, 1 - value
            began = time.process_time()
            signal = report(1.0)
            thinking += time.process_time() - began
            if signal is not None:
                state, outcome.reason = signal
                break
        outcome.state = state
        self.seconds.append(thinking)
        self._since = time.process_time()
        saved = SavedState(tensors={"x": np.zeros(1)}, config={})
        return [saved] if state == "paused" else []


def methods() -> list[AdaptationSpec]:
    """Return the methods that a search of images chooses among without further data."""
    return [
        spec for spec in get_registry().adaptations
        if not spec.needs and (spec.modalities is None or "image" in spec.modalities)
    ]  # fmt: skip


def autotl_seconds(
    n_trials: int, journal: Path | None, seed: int = 0
) -> tuple[list[float], list[Outcome]]:
    """Return what autotl took for each trial, all but the trial itself, and the trials."""
    import torch  # noqa: F401  # records are written with it: loaded once, and not by a trial

    specs = methods()
    names = [f"backbone-{i}" for i in range(N_BACKBONES)]
    space, rng = SearchSpace(names, specs), np.random.default_rng(seed)
    expected = rng.uniform(0.5, 0.7, N_BACKBONES)
    screened = {
        name: SimpleNamespace(
            name=name, expectation=Expectation(expected=float(p), spread=0.05, static=0.6)
        )
        for name, p in zip(names, expected, strict=True)
    }
    runner = Instant(space.adaptations, seed)
    planner = SimpleNamespace(
        cost=lambda spec, candidate, left, may_time: 5.0 if spec.trains_backbone else 1
    )
    chooser = Chooser(
        space, screened, planner, Portfolio([]), default_methods(specs),  # type: ignore[arg-type]
        Scale(share=True, n_samples=N_VALIDATION),
    )  # fmt: skip
    fold = SimpleNamespace(validation=np.arange(N_VALIDATION))
    task: Any = SimpleNamespace(split=SimpleNamespace(guard=np.zeros(0, int), folds=[fold]))
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            space=space, chooser=chooser, runner=runner, halving=CostHalving(3.0),
            guard=FloorGuard(task, 0.5, None, runner.predict, seed=seed),
            records=TrialRecords(Path(folder)), budget=Budget(600.0, n_trials), seed=seed,
            floor=0.5, reserve=lambda best: 0.0, on_outcome=lambda outcome: None, journal=journal,
        )  # fmt: skip
        study.run()
        return runner.seconds, study.outcomes


def optuna_seconds(trials: Sequence[Outcome], journal: Path | None, seed: int = 0) -> list[float]:
    """Return what Optuna takes for the same trials: ask, TPE for what was drawn, report, tell."""
    from autotl.search.study.storage import _quiet, _storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    specs = methods()
    space = SearchSpace([f"backbone-{i}" for i in range(N_BACKBONES)], specs)
    queue, found = [_start(outcome) for outcome in trials], []
    with _quiet():
        study = optuna.create_study(
            direction="maximize",
            storage=_storage(journal),
            sampler=TransferSampler(lambda: queue.pop(0), space, seed),
            pruner=optuna.pruners.NopPruner(),
        )
    for outcome in trials:
        began = time.process_time()
        trial = study.ask()
        space.suggest(trial)
        for step, value in enumerate(outcome.history if outcome.tuned else (), start=1):
            trial.report(value, step)
        study.tell(trial, outcome.value)
        found.append(time.process_time() - began)
    return found


def _start(outcome: Outcome) -> Start:
    """Return the choice that led to a trial; parameters that were drawn are left to be drawn."""
    candidate = outcome.candidate
    return Start(
        pair=(candidate.backbone, candidate.adaptation),
        candidate=candidate if "portfolio" in outcome.why else None,
        belief=Belief(mean=0.5, sd=0.1),
        cost=1.0,
        gain=1.0,
    )


def measure(n_trials: int) -> dict[str, Any]:
    """Return milliseconds a trial of both, in memory and on a journal, by number of trials."""
    found: dict[str, Any] = {}
    for kind in ("memory", "journal"):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, n) if kind == "journal" else None for n in ("own", "other")]
            own, trials = autotl_seconds(n_trials, paths[0])
            other = optuna_seconds(trials, paths[1])
        found[kind] = {"autotl": summary(own), "optuna": summary(other)}
        n = min(len(own), len(other))
        gaps = 1000 * (np.array(own[:n]) - np.array(other[:n]))
        found[kind]["beyond"] = {"median": float(np.median(gaps)), "max": float(gaps.max())}
    return found


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Return median and maximum in milliseconds, of all and by hundred trials."""
    ms = 1000 * np.array(seconds)
    bins = {f"{a}-{b}": float(np.median(ms[a:b])) for a, b in BINS if len(ms[a:b])}
    return {
        "median": float(np.median(ms)),
        "max": float(ms.max()),
        "by_trials": bins,
        "n": len(ms),
    }


def print_decisions(n_trials: int, out: Path | None) -> None:
    """Print what decisions cost as Markdown, and write it as JSON where that was asked for."""
    found = measure(n_trials)
    print(
        "| storage | side | median | longest | " + " | ".join(f"{a}-{b}" for a, b in BINS) + " |"
    )
    print("|---" * (4 + len(BINS)) + "|")
    for kind, sides in found.items():
        for side in ("autotl", "optuna"):
            s = sides[side]
            bins = " | ".join(f"{v:.1f}" for v in s["by_trials"].values())
            print(f"| {kind} | {side} | {s['median']:.1f} ms | {s['max']:.1f} ms | {bins} |")
        beyond = sides["beyond"]
        print(f"| {kind} | beyond | {beyond['median']:.1f} ms | {beyond['max']:.1f} ms |")
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
