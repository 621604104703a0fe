"""A search in simulated time: curves are played from the table, and cost what they cost there.

    world = World(oracle, "trec6", seconds=900)
    study = search(world, known, seed=0)
    world.score_at(60)

The study, chooser, sampler, halving, pausing and guard are autotl's own, and so is the planner's
reasoning; what is simulated is the clock, the runner of trials and what they cost.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from knowledge import Known
from oracle import VIEWS, Curve
from world import Clock, World

from autotl.ranking import Expectation
from autotl.ranking.screening import RUNGS, _promoted, rungs_before_trials
from autotl.search.budget import OutOfTime
from autotl.search.engine import SCREENING_SHARE
from autotl.search.study.build import _FIRST_RUNG_SHARE
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.chooser import Chooser
from autotl.search.study.evaluate import _LEAST_PATIENCE, Signal, StepReport
from autotl.search.study.guarding import FloorGuard
from autotl.search.study.halving import CostHalving
from autotl.search.study.methods import default_methods
from autotl.search.study.planner import Planner
from autotl.search.study.portfolio import Portfolio
from autotl.search.study.posterior import Scale
from autotl.search.study.study import Study
from autotl.specs import AdaptationSpec

TRIAL_SECONDS = 0.05  # of every trial beyond its own work: proposing, reading, writing
_GUESS_MARGIN, _BACKWARD = 1.3, 2.0  # what the engine assumes before a backbone is timed
_PROBE_SECONDS = 1.0  # likewise, of a probe


class TableRunner:
    """Plays trials from the table.

    Args:
        world: Pays for them.
        planner: Knows what fits, and learns what trials took; None plans what is asked for.
    """

    def __init__(self, world: World, planner: Planner | None = None) -> None:
        self.world, self._planner = world, planner

    def plan(self, candidate: Candidate, left: float, *, first: bool) -> tuple[int, str]:
        """Return the steps to lay a schedule out for, or 0 and why."""
        spec = self.world.adaptations[candidate.adaptation]
        if self._planner is None:
            return spec.max_steps(candidate.params), ""
        return self._planner.plan(spec, candidate, left, first=first)

    def run(
        self, outcome: Outcome, until: float, report: StepReport, states: Any = None
    ) -> list[Any]:
        """Play a candidate until its plan, patience, `report` or the time ends it.

        Raises:
            FloatingPointError: The table says that it failed.
        """
        world, candidate = self.world, outcome.candidate
        spec, began = world.adaptations[candidate.adaptation], world.clock.now
        curve = world.curve(candidate, outcome.planned_steps)
        outcome.state, outcome.tuned = "running", spec.trains_backbone
        outcome.freeze_fraction = candidate.freeze_fraction(spec)
        try:
            with world.clock.stage(until):
                world.clock.spend("overhead", TRIAL_SECONDS)
                world.prepare(candidate, curve)
                outcome.embed_seconds += world.clock.now - began
                outcome.state, outcome.reason = self._advance(outcome, curve, spec, report)
        except OutOfTime:
            outcome.state = "complete" if outcome.value is not None else "pruned"
            outcome.reason, outcome.unselected = "the budget ended", False
        finally:
            outcome.seconds += world.clock.now - began
            world.settle(outcome, curve, began)
        if self._planner is not None and not spec.trains_backbone:
            self._planner.learn_probe(candidate, outcome.seconds - outcome.embed_seconds)
        return [None] if outcome.state == "paused" else []

    def predict(self, outcome: Outcome, rows: np.ndarray) -> None:
        """Predict nothing: the table knows the guard's samples of whole trials only."""

    def _advance(
        self, outcome: Outcome, curve: Curve, spec: AdaptationSpec, report: StepReport
    ) -> Signal:
        patience = max(_LEAST_PATIENCE, outcome.planned_steps // 4)
        for i in range(len(outcome.history), len(curve)):
            seconds = float(curve.seconds[i])
            self.world.clock.spend("training" if outcome.tuned else "solving", seconds)
            _record(outcome, float(curve.validation[i]), float(curve.log_loss[i]), seconds)
            self.world.show(outcome, curve)
            if self._planner is not None and outcome.tuned:
                self._planner.learn_epoch(spec, outcome.candidate, seconds)
            signal = report(seconds)
            if signal is not None:
                return signal
            if i + 1 - outcome.steps >= patience:
                return "complete", f"no gain in {i + 1 - outcome.steps} steps"
        if curve.failed:
            raise FloatingPointError(curve.row["reason"])
        return "complete", f"all {len(curve)} steps done"


def _record(outcome: Outcome, value: float, log_loss: float, seconds: float) -> None:
    outcome.history.append(value)
    outcome.costs.append((outcome.costs[-1] if outcome.costs else 0.0) + seconds)
    if outcome.value is None or (value, -log_loss) > (outcome.value, -outcome.log_loss):
        outcome.value, outcome.log_loss, outcome.steps = value, log_loss, len(outcome.history)


class TableCosts:
    """What a user's machine would tell of one backbone's costs.

    Before it is timed: what the engine guesses from the speed of embedding. After, which takes the
    seconds of a profile: what the table says, as if the profile were exact.

    Args:
        world: The set.
        backbone: Its name.
    """

    def __init__(self, world: World, backbone: str) -> None:
        self._world, self._backbone = world, backbone
        self._timed = False
        tuned = [m for m, spec in world.adaptations.items() if spec.trains_backbone]
        self._curves = [c for m in tuned for c in world.oracle.curves(world.name, backbone, m)]
        self._nearest = cache(self._find)

    @property
    def profile(self) -> "TableCosts | None":
        """What was timed; None before."""
        return self if self._timed else None

    def measure(self, *, batch_size: int, seconds: float) -> None:
        """Time the backbone, once."""
        if not self._timed:
            self._world.clock.spend("profile", seconds)
            self._timed = True

    def epoch(self, freeze_depth: int, n_train: int, n_validation: int) -> float:
        """Return the seconds of one epoch with validation."""
        if self._timed:
            return float(np.mean(self._nearest(freeze_depth, 0.0).seconds))
        row = self._world.rows[self._backbone]
        tuned = 1.0 - freeze_depth / max(1, row["n_groups"])
        run = 1.0 - self._kept(freeze_depth)
        passes = n_train * (run + _BACKWARD * tuned) + n_validation * run
        return float(_GUESS_MARGIN * row["embed_seconds"] * passes)

    def _kept(self, freeze_depth: int) -> float:
        """Return the share of the layer groups whose outputs are read from the cache."""
        row = self._nearest(freeze_depth, 0.0).row
        return float(row["start"] / max(1, row["n_groups"]))

    def extraction(self, freeze_depth: int, rows: np.ndarray, strength: float) -> float:
        """Return the seconds to compute the activations that a trial will read."""
        curve = self._nearest(freeze_depth, strength)
        if self._timed:
            return self._world.extraction_seconds(curve)
        world, views = self._world, VIEWS if strength else 1
        n_train = world.n_samples - world.n_validation
        once = self._kept(freeze_depth) * world.rows[self._backbone]["embed_seconds"]
        return float(once * (views * n_train + world.n_validation))

    def probe(self, n_missing: int, solving: float | None = None) -> float:
        """Return the seconds of a probe when so many samples have yet to be embedded."""
        once = float(n_missing * self._world.rows[self._backbone]["embed_seconds"])
        return once + (_PROBE_SECONDS if solving is None else solving)

    def observe(self, freeze_depth: int, seconds: float, n_train: int, n_validation: int) -> None:
        """Learn nothing: after the profile, costs are exact."""

    def _find(self, freeze_depth: int, strength: float) -> Curve:
        def distance(curve: Curve) -> tuple[int, bool]:
            augmented = curve.params.get("augment", 0.0) > 0
            return abs(curve.row["freeze_depth"] - freeze_depth), augmented != (strength > 0)

        return min((c for c in self._curves if len(c)), key=distance)


class TablePlanner(Planner):
    """The engine's planner on costs of the table.

    Args:
        world: The set.
        screened: Stand-ins of the backbones, by name.
    """

    def __init__(self, world: World, screened: dict[str, Any]) -> None:
        n_train = world.n_samples - world.n_validation
        fold = SimpleNamespace(train=np.arange(n_train), validation=np.arange(world.n_validation))
        # Nothing is kept for the holdout: what validation chooses is shipped without a refit.
        split = SimpleNamespace(
            folds=[fold], train_validation=np.arange(world.n_samples), holdout=np.zeros(0, int)
        )
        super().__init__(SimpleNamespace(split=split), screened, world.clock)  # type: ignore[arg-type]
        self._costs = {name: TableCosts(world, name) for name in screened}  # type: ignore[misc]


def stand_in(world: World, backbone: str) -> Any:
    """Return what planner and chooser need of a screened backbone."""
    row = world.rows[backbone]
    session = SimpleNamespace(
        spec=SimpleNamespace(name=backbone, n_params=row["n_params"]),
        n_groups=row["n_groups"],
        seconds_per_sample=row["embed_seconds"],
        missing=lambda rows: world.missing(backbone) if len(rows) else 0,
        release=lambda: None,
    )
    return SimpleNamespace(name=backbone, session=session, evidence=None, expectation=None)


def in_cost_order(world: World) -> list[str]:
    """Return the backbones by rough cost: parameters times input pixels."""
    cost = {b: row["n_params"] * (row["input_side"] or 1) ** 2 for b, row in world.rows.items()}
    return sorted(world.backbones, key=lambda b: (cost[b], b))


def screen(world: World, known: Known) -> list[Any]:
    """Look at backbones in rungs, as the engine does, and pay for it; the most promising first.

    Evidence was measured on 128 samples and on a quarter of all; rungs of more samples are paid
    for, but show no more than a quarter.
    """
    begun = [stand_in(world, name) for name in in_cost_order(world)]
    contenders, limit = begun, world.clock.now + SCREENING_SHARE * world.clock.seconds
    reached: dict[str, int] = {}
    rungs = rungs_before_trials(world.n_samples)
    for n_samples in sorted({min(n, world.n_samples) for n in rungs}):
        seen = []
        with _stopped(world.clock, limit):
            for s in contenders:
                world.embed(s.name, n_samples)
                world.clock.spend("scores", known.score_seconds)
                seen.append(s)
        look = "first" if n_samples == RUNGS[0] else "quarter"
        for s, expectation in zip(seen, expectations(world, known, look, seen), strict=True):
            s.expectation, reached[s.name] = expectation, n_samples
        contenders = _promoted(sorted(seen, key=_expected, reverse=True))
    usable = [s for s in begun if s.name in reached]
    return sorted(usable, key=lambda s: (reached[s.name], _expected(s)), reverse=True)


def expectations(
    world: World, known: Known, look: str, seen: Sequence[Any]
) -> list[Expectation | None]:
    """Return what to expect of backbones that were looked at on the same samples."""
    evidence = known.looks.get((world.name, look), {})
    there = [evidence[s.name] for s in seen if s.name in evidence]
    found = dict(
        zip((e.spec.name for e in there), known.prior.expect(there) if there else [], strict=True)
    )
    return [found.get(s.name) for s in seen]


def _expected(screened: Any) -> float:
    return screened.expectation.expected if screened.expectation else 0.0


@contextmanager
def _stopped(clock: Clock, until: float) -> Iterator[None]:
    """Let what is inside run until then; what it has done by then stands."""
    try:
        with clock.stage(until):
            yield
    except OutOfTime:
        pass


class NoRecords:
    """Keeps nothing: the table has no predictors, and one process needs no files."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given: None


def search(world: World, known: Known, seed: int) -> Study | None:
    """Search as autotl does: floor, screening, study; None where no backbone was screened."""
    with _stopped(world.clock, world.clock.seconds):
        floor = world.measure_floor()
        screened = {s.name: s for s in screen(world, known)}
        if not screened:
            return None
        study = make_study(world, known, screened, floor, seed)
        study.run()
        return study
    return None


def make_study(
    world: World, known: Known, screened: dict[str, Any], floor: float | None, seed: int
) -> Study:
    """Return autotl's study on the table."""
    planner = TablePlanner(world, screened)
    runner = TableRunner(world, planner)
    return Study(
        space=world.space,
        chooser=Chooser(
            world.space,
            screened,
            planner,
            Portfolio(known.portfolio),
            default_methods(list(world.adaptations.values())),
            Scale(share=True, n_samples=world.n_validation),
        ),
        runner=runner,
        halving=CostHalving(_FIRST_RUNG_SHARE * world.clock.seconds),
        guard=FloorGuard(_task_of_guard(world), floor, None, runner.predict, seed=seed),
        records=NoRecords(),  # type: ignore[arg-type]
        budget=world.clock,
        seed=seed,
        floor=floor,
        reserve=lambda best: 0.0,
        on_outcome=lambda outcome: None,
    )


def _task_of_guard(world: World) -> Any:
    """Return a task without a guard block: what is left is the early stop of trials that run."""
    fold = SimpleNamespace(validation=np.arange(world.n_validation))
    return SimpleNamespace(split=SimpleNamespace(guard=np.zeros(0, int), folds=[fold]))
