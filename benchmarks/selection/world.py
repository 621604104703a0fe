"""The world of one simulated search: a clock that passes only when something is paid for.

What a search ships at a time is what is best on validation of the floor, the trials that are
complete and the one that runs; paused and stopped trials ship nothing, ties go to the floor.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oracle import Curve, Oracle

from autotl.registry import get_registry
from autotl.search.budget import Budget, OutOfTime
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.space import SearchSpace
from autotl.specs import AdaptationSpec

NO_FLOOR = float("-inf")
Shipped = tuple[float, float, float]
"""Validation, what breaks ties (greater is better), test accuracy."""


class Clock(Budget):
    """Seconds that pass only when something is paid for.

    Args:
        seconds: Wall-clock limit of the search.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.now = 0.0
        self.charged: Counter[str] = Counter()

    def elapsed(self) -> float:
        """Return the simulated seconds since the start."""
        return self.now

    def spend(self, what: str, seconds: float) -> None:
        """Let seconds pass.

        Raises:
            OutOfTime: The running stage or the search ends before; what is left of it has passed.
        """
        end = min(self._stage_end, self.seconds)
        used = min(seconds, max(0.0, end - self.now))
        # The sum may round to beyond the end.
        self.now = max(self.now, min(self.now + used, end))
        self.charged[what] += used
        if used < seconds:
            raise OutOfTime


class World:
    """One set of the table as one search finds it: nothing embedded, the clock at zero.

    Args:
        oracle: The table.
        name: Of the set.
        seconds: Budget.
    """

    def __init__(self, oracle: Oracle, name: str, seconds: float) -> None:
        self.oracle, self.name, self.clock = oracle, name, Clock(seconds)
        self.backbones, methods = playable(oracle, name)
        catalog = get_registry().adaptations
        self.adaptations: dict[str, AdaptationSpec] = {
            m: _tabulated(catalog.get(m), oracle.curves(name, self.backbones[0], m)[0].params)
            for m in methods
        }
        self.space = SearchSpace(self.backbones, list(self.adaptations.values()))
        self.rows = {b: oracle.curves(name, b, methods[0])[0].row for b in self.backbones}
        row = next(iter(self.rows.values()))
        self.family, self.modality = row["family"], row["modality"]
        self.n_samples, self.n_validation = (
            row["n_train"] + row["n_validation"],
            row["n_validation"],
        )
        self.floor: float | None = None
        self.log: list[dict[str, Any]] = []
        self._embedded: dict[str, int] = defaultdict(int)
        self._paid: set[tuple[Any, ...]] = set()
        # Before anything is known, a guess.
        self._kept: Shipped = (NO_FLOOR, 0.0, 1 / row["n_classes"])
        self._last = self._kept
        self.shipped: list[tuple[float, float, float]] = [(0.0, NO_FLOOR, self._kept[2])]

    def measure_floor(self) -> float | None:
        """Pay for the floor and let it be shipped; returns its validation value, None without."""
        try:
            floor = self.oracle.floor(self.name)
        except KeyError:  # a table that is not complete
            return None
        self.clock.spend("floor", self.oracle.floor_seconds(self.name))
        self.floor = float(floor.validation[0])
        self._kept = (self.floor, float("inf"), float(floor.test[0]))
        self._ship(self._kept)
        return self.floor

    def missing(self, backbone: str) -> int:
        """Return how many samples a backbone has yet to embed."""
        return int(self.n_samples - self._embedded[backbone])

    def embed(self, backbone: str, n_samples: int | None = None) -> None:
        """Pay for the embeddings of the first samples, or of all, that are not there yet."""
        wanted = self.n_samples if n_samples is None else min(n_samples, self.n_samples)
        n_new = max(0, wanted - self._embedded[backbone])
        self.clock.spend("embedding", n_new * self.rows[backbone]["embed_seconds"])
        self._embedded[backbone] += n_new

    def extraction_seconds(self, curve: Curve) -> float:
        """Return what is still to be paid for the activations that a curve reads."""
        paid = self._activations(curve) in self._paid
        return 0.0 if paid else curve.extraction_seconds

    def prepare(self, candidate: Candidate, curve: Curve) -> None:
        """Pay for what a trial reads, once: embeddings, and activations at its cut."""
        if candidate.adaptation != "fine_tune":  # the others begin with a probe
            self.embed(candidate.backbone)
        self.clock.spend("extraction", self.extraction_seconds(curve))
        self._paid.add(self._activations(curve))

    def curve(self, candidate: Candidate, n_steps: int) -> Curve:
        """Return what a candidate shows when its schedule is laid out for so many steps."""
        params = dict(candidate.params)
        if "epochs" in params:
            params["epochs"] = n_steps
        return self.oracle.curve(self.name, candidate.backbone, candidate.adaptation, params)

    def show(self, outcome: Outcome, curve: Curve) -> None:
        """Let what is best now be shipped: of what is kept and of the running trial."""
        self._ship(_better(self._kept, self._of(outcome, curve)))

    def settle(self, outcome: Outcome, curve: Curve, began: float) -> None:
        """Keep a trial that is complete, and forget any other."""
        if outcome.state == "complete" and outcome.value is not None:
            self._kept = _better(self._kept, self._of(outcome, curve))
        self._ship(self._kept)
        self.log.append({
            "trial": outcome.trial, "began": round(began, 2), "ended": round(self.clock.now, 2),
            "backbone": outcome.candidate.backbone, "method": outcome.candidate.adaptation,
            "params": dict(outcome.candidate.params), "steps": len(outcome.history),
            "planned": outcome.planned_steps, "state": outcome.state, "value": outcome.value,
            "why": outcome.why, "reason": outcome.reason, "distance": round(curve.distance, 2),
            "test": None if outcome.value is None else self._of(outcome, curve)[2],
        })  # fmt: skip

    def score_at(self, seconds: float) -> float:
        """Return the test accuracy of what is shipped after so many seconds."""
        return score_at(self.shipped, seconds)

    def _ship(self, best: Shipped) -> None:
        if best != self._last:
            self.shipped.append((self.clock.now, best[0], best[2]))
            self._last = best

    @staticmethod
    def _of(outcome: Outcome, curve: Curve) -> Shipped:
        if outcome.value is None:
            return (NO_FLOOR, 0.0, float("nan"))
        return (outcome.value, -outcome.log_loss, float(curve.test[outcome.steps - 1]))

    def _activations(self, curve: Curve) -> tuple[Any, ...]:
        return (curve.row["backbone"], curve.row["start"], curve.params.get("augment", 0.0) > 0)


def _tabulated(spec: AdaptationSpec, params: Mapping[str, Any]) -> AdaptationSpec:
    """Return a method with the parameters that the table varies: of others it shows nothing."""
    return replace(
        spec,
        space={name: d for name, d in spec.space.items() if name in params},
        defaults={name: value for name, value in spec.defaults.items() if name in params},
    )


def _better(one: Shipped, other: Shipped) -> Shipped:
    """Return which is better on validation; the first where neither is."""
    return other if other[:2] > one[:2] else one


def score_at(shipped: Sequence[Sequence[float]], seconds: float) -> float:
    """Return the test accuracy shipped after so many seconds, given what was shipped when."""
    return float([test for at, _, test in shipped if at <= seconds][-1])


def playable(oracle: Oracle, name: str) -> tuple[list[str], list[str]]:
    """Return backbones and methods of which all pairs are tabulated, as many pairs as there are.

    A complete table gives all; one that grows has probes first and tuned curves of few backbones.
    """
    has = {b: set(oracle.methods(name, b)) for b in oracle.backbones(name)}
    # Cheapest first, and in an order that the chooser may rely on.
    known = [spec.name for spec in get_registry().adaptations]
    best: tuple[list[str], list[str]] = ([], [])
    for methods in sorted({tuple(m for m in known if m in found) for found in has.values()}):
        backbones = [b for b, found in has.items() if found.issuperset(methods)]
        if len(backbones) * len(methods) >= len(best[0]) * len(best[1]):
            best = (backbones, list(methods))
    return best
