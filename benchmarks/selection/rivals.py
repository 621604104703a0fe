"""Other ways to search the same space, played on the same table with the same costs and clock.

All pay for the floor first and may ship it, run trials with the engine's patience, and find kept
what they have embedded and extracted before. Those without a plan of their own run what is drawn.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from gains import PROBE, TUNED
from knowledge import Known
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState
from oracle import Curve
from simulate import TableRunner, expectations, in_cost_order, search, stand_in
from world import World

from autotl.ranking import Expectation
from autotl.search.budget import OutOfTime
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.evaluate import Signal
from autotl.search.study.space import SearchSpace
from autotl.specs import Range

Report = Callable[[float], Signal | None]
Searcher = Callable[[World, Known, int], None]
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


def tpe_hyperband(world: World, known: Known, seed: int) -> None:
    """Search by Optuna's TPE and Hyperband, backbone and method as categories, without a prior."""
    pruner = HyperbandPruner(min_resource=1, max_resource=most_epochs(world), reduction_factor=3)
    ask_and_tell(world, TPESampler(seed=seed), pruner)


def random_search(world: World, known: Known, seed: int) -> None:
    """Draw everything at random, and run it to its end."""
    ask_and_tell(world, RandomSampler(seed=seed), NopPruner())


def asha(world: World, known: Known, seed: int) -> None:
    """Draw everything at random, with asynchronous successive halving by epochs."""
    ask_and_tell(world, RandomSampler(seed=seed), SuccessiveHalvingPruner(reduction_factor=3))


def always_the_same(world: World, known: Known, seed: int) -> None:
    """Tune the backbone that is best on other families by LP-FT: its defaults, then TPE."""
    method = TUNED if TUNED in world.adaptations else PROBE
    gains = above_others(known.rows, method)
    backbone = max(world.backbones, key=lambda b: (gains.get(b, -1.0), b))
    ask_and_tell(
        world, TPESampler(seed=seed), NopPruner(),
        space=SearchSpace([backbone], [world.adaptations[method]]),
        first=first_of(world, known, backbone, method),
    )  # fmt: skip


def rank_then_tune(world: World, known: Known, seed: int) -> None:
    """Look at all samples through all backbones, then probe and tune the most promising."""
    world.measure_floor()
    seen = []
    for name in in_cost_order(world):
        world.embed(name)
        world.clock.spend("scores", known.score_seconds)
        seen.append(stand_in(world, name))
    found = dict(
        zip((s.name for s in seen), expectations(world, known, "quarter", seen), strict=True)
    )
    best = max(seen, key=lambda s: tuned_log_odds(found[s.name])).name
    for number, method in enumerate(m for m in (PROBE, TUNED) if m in world.adaptations):
        run_one(world, number, first_of(world, known, best, method))


def best_probe(world: World, known: Known, seed: int) -> None:
    """Solve a probe on the frozen features of every backbone, cheapest first; the best ships."""
    world.measure_floor()
    for number, name in enumerate(in_cost_order(world)):
        run_one(world, number, world.space.default(name, PROBE))


def autotl(world: World, known: Known, seed: int) -> None:
    """Search as autotl does."""
    search(world, known, seed)


BASELINE = "TPE + Hyperband"
AUTOTL = "autotl"
SEARCHERS: Mapping[str, Searcher] = {
    AUTOTL: autotl,
    BASELINE: tpe_hyperband,
    "random": random_search,
    "ASHA": asha,
    "always the same, LP-FT": always_the_same,
    "ranking, then LP-FT": rank_then_tune,
    "best frozen probe": best_probe,
}


def run(searcher: str, world: World, known: Known, seed: int) -> None:
    """Let a searcher search until it ends or its time does."""
    with suppress(OutOfTime):
        SEARCHERS[searcher](world, known, seed)


def ask_and_tell(
    world: World,
    sampler: BaseSampler,
    pruner: BasePruner,
    *,
    space: SearchSpace | None = None,
    first: Candidate | None = None,
) -> None:
    """Search with Optuna's own loop until the time ends.

    Args:
        world: The set.
        sampler: Proposes.
        pruner: Stops.
        space: What there is to choose from; None takes all.
        first: What is tried first.
    """
    space = space or world.space
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    world.measure_floor()
    study = optuna.create_study(
        study_name="search",  # Hyperband hashes it; one that Optuna draws differs in every run
        direction="maximize", sampler=sampler, pruner=pruner,
    )  # fmt: skip
    if first is not None:
        study.enqueue_trial(space.to_optuna(first))
    while world.clock.left() > 0:
        trial = study.ask()
        outcome = run_one(world, trial.number, space.suggest(trial), trial)
        state = _STATES.get(outcome.state, TrialState.FAIL)
        study.tell(trial, outcome.value if state == TrialState.COMPLETE else None, state)


def run_one(
    world: World, number: int, candidate: Candidate, trial: Trial | None = None
) -> Outcome:
    """Run a candidate to its end, or until the pruner of its trial stops it."""
    runner, outcome = TableRunner(world), Outcome(trial=number, candidate=candidate, state="")
    outcome.planned_steps, _ = runner.plan(candidate, world.clock.left(), first=False)

    def report(seconds: float) -> Signal | None:
        if trial is None or not outcome.tuned:  # a path of strengths is not a learning curve
            return None
        trial.report(outcome.history[-1], len(outcome.history))
        return ("pruned", "by the pruner") if trial.should_prune() else None

    try:
        runner.run(outcome, world.clock.seconds, report)
    except FloatingPointError:
        outcome.state = "failed"
    return outcome


def first_of(world: World, known: Known, backbone: str, method: str) -> Candidate:
    """Return what is tried first of a method: of the portfolio, else its defaults."""
    given = next((params for name, params in known.portfolio if name == method), {})
    return world.space.default(backbone, method, **given)


def above_others(rows: Sequence[Mapping[str, Any]], method: str) -> dict[str, float]:
    """Return how far each backbone's best curve by validation lies above a set's mean in test."""
    best: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in rows:
        if row["method"] == method and row["best_step"]:
            curve = Curve.of(row)
            reached = float(curve.validation.max()), curve.test_after()
            before = best[row["set"]].get(row["backbone"], reached)
            best[row["set"]][row["backbone"]] = max(before, reached)
    gains: dict[str, list[float]] = defaultdict(list)
    for by_backbone in best.values():
        mean = np.mean([test for _, test in by_backbone.values()])
        for backbone, (_, test) in by_backbone.items():
            gains[backbone].append(float(test - mean))
    return {backbone: float(np.mean(found)) for backbone, found in gains.items()}


def tuned_log_odds(expectation: Expectation | None) -> float:
    """Return what to expect of LP-FT, in log-odds."""
    if expectation is None:
        return float("-inf")
    p = min(max(expectation.expected, 1e-3), 1 - 1e-3)
    gain = expectation.methods.get(TUNED)
    return float(np.log(p / (1 - p))) + (gain.gain if gain else 0.0)


def most_epochs(world: World) -> int:
    """Return the most epochs that a method of the space may have."""
    dimensions = [spec.space.get("epochs") for spec in world.adaptations.values()]
    return max([int(d.high) for d in dimensions if isinstance(d, Range)], default=1)
