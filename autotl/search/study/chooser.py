"""What to try next: the pair of backbone and method that promises most for its cost."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotl.ranking import Expectation, Screened
from autotl.search.study.belief import Belief, improvements
from autotl.search.study.candidate import Candidate, Outcome, best_alike
from autotl.search.study.extrapolation import Extrapolation
from autotl.search.study.methods import known_methods
from autotl.search.study.planner import Planner
from autotl.search.study.portfolio import Portfolio
from autotl.search.study.posterior import MethodPrior, Pair, Posterior, Scale
from autotl.search.study.space import SearchSpace
from autotl.specs import Range

_OVERHEAD = 0.05  # seconds of every trial beyond its own work, so that nothing costs nothing
_LITTLE_CHANCE = 0.05  # of any pair to beat the floor, below which a search has nothing to gain
_HALF_TIME_CHANCE = 0.3  # the same once half the budget is gone
_FRACTIONS = 5  # freeze fractions that are looked at for one that fits
_MOST_FAILURES = 5  # of a pair without a success
_LEAST_GAIN = 0.01  # of the errors that the best still makes; what promises less is not started,
_LEAST_RATE = 0.02  # unless all the time that is left, spent like this, would remove so many
_NEGLIGIBLE = 2e-4  # of them; what promises less is not even priced where it would be trained
_NO_CHANCE = 0.01  # to beat the best, below which nothing is started where values are no shares
_BROKEN = 3  # failures after which a backbone counts as tried
_LEAST_TRIED = 3  # backbones before a search may give up on all of them


@dataclass(frozen=True, kw_only=True)
class Start:
    """A trial that could be started.

    Args:
        pair: Backbone and method.
        candidate: What to try; None lets the sampler choose the parameters.
        belief: What to expect of it.
        cost: Seconds, or rough units where trials replace the clock.
        gain: Expected improvement on the best so far.
        least_frozen: Share of the layer groups that must stay frozen for a trial to fit the time.
        near: What did best so far, where the sampler chooses: it looks around it.
    """

    pair: Pair
    candidate: Candidate | None
    belief: Belief
    cost: float
    gain: float
    least_frozen: float = 0.0
    near: Candidate | None = None

    @property
    def rate(self) -> float:
        """Expected improvement for each unit of cost."""
        return self.gain / (self.cost + _OVERHEAD)

    @property
    def why(self) -> str:
        """One line of plain words."""
        source = "parameters by the sampler" if self.candidate is None else "from the portfolio"
        return (
            f"{self.belief.mean:.3f} +- {self.belief.sd:.3f} expected for {self.cost:.1f}; "
            f"improves the best by {self.gain:.4f} on average; {source}"
        )


class Chooser:
    """Rank what could be started.

    Args:
        space: All pairs and their parameters.
        screened: Usable backbones by name, with what the ranking expects.
        planner: Knows what trials cost.
        portfolio: What is tried first of each method.
        methods: What is known of methods beforehand, by name.
        scale: What the metric's values are.
    """

    def __init__(
        self,
        space: SearchSpace,
        screened: Mapping[str, Screened],
        planner: Planner,
        portfolio: Portfolio,
        methods: Mapping[str, MethodPrior],
        scale: Scale,
    ) -> None:
        self._space, self._planner = space, planner
        known = {name: s.expectation for name, s in screened.items() if s.expectation}
        self._expected = {name: _own(known[name]) if name in known else None for name in screened}
        # What methods add was measured in log-odds.
        self._methods, self._gains = known_methods(
            space.adaptations, methods, known if scale.share else {}
        )
        self._scale = scale
        self.extrapolation = Extrapolation(share=scale.share)
        if known and scale.level_spread is None:
            self._scale = replace(scale, level_spread=_shared(known.values()))
        self._pairs = [(b, a) for b in screened for a in space.adaptations]
        probes = {a for a, spec in space.adaptations.items() if not spec.trains_backbone}
        self._probes_first = bool(probes)
        self._timeable = set(screened)
        self._probes = probes or set(space.adaptations)
        """Methods that look at a backbone: they cost little, and tell most."""
        self._first = {
            (b, a): [space.default(b, a, **p) for p in portfolio.of(b, space.adaptations[a])]
            for b, a in self._pairs
        }

    def starts(
        self, outcomes: Sequence[Outcome], seen: Mapping[tuple[object, ...], int],
        floor: float | None, left: float,
    ) -> list[Start]:  # fmt: skip
        """Return what could be started in `left` seconds, the most promising for its cost first.

        What promises next to nothing is left out, unless it is trials that are counted.

        Args:
            outcomes: What trials have shown.
            seen: Keys of the candidates that were tried.
            floor: The floor's value; None where nothing could be measured.
            left: Seconds that trials may still take.
        """
        posterior, successes = self._posterior(outcomes), _Successes(outcomes)
        looked_at = {o.candidate.backbone for o in outcomes if o.ran}
        # A probe goes first, and costs less than timing its network.
        self._timeable = looked_at if self._probes_first else set(self._expected)
        beliefs = dict(zip(self._pairs, posterior.beliefs(self._pairs), strict=True))
        # What was reached is believed no more than other pairs are: without the samples' luck.
        bars = [v for v in (floor, posterior.reached()) if v is not None]
        bar = posterior.within(max(bars)) if bars else None
        gains = {pair: belief.mean for pair, belief in beliefs.items()}
        if bar is not None:
            improved = improvements(list(beliefs.values()), bar).tolist()
            gains = dict(zip(beliefs, improved, strict=True))
        found: list[Start] = []
        timed, owed = not math.isinf(left), self._owed(outcomes, bar)
        for pair in self._pairs:
            candidate, open_ = self._next_of(pair, seen)
            if not open_ or successes.given_up(pair):
                continue
            if timed and pair[1] not in owed and self._negligible(pair, gains[pair], bar):
                continue  # to price may mean to time
            candidate, cost = self._priced(pair, candidate, left, seen, successes)
            if cost is None:
                continue
            gain = gains[pair] * successes.chance(pair)
            found.append(
                Start(pair=pair, candidate=candidate, belief=beliefs[pair], cost=cost, gain=gain)
            )
        if bar is not None and timed:
            found = self._worthwhile(found, outcomes, bar, left)
        found.sort(key=lambda s: (-s.rate, successes.failed(s.pair), -s.belief.mean, s.pair))
        found = self._looking_first(found, looked_at)
        if found and found[0].candidate is None:
            frozen, _ = self._least_frozen(found[0].pair, left, successes)
            pair, best = found[0].pair, best_alike(found[0].pair, outcomes)
            near = self._space.default(*pair, **best) if best else self._first[pair][0]
            found[0] = replace(found[0], least_frozen=frozen, near=near)
        return found

    def _priced(
        self, pair: Pair, candidate: Candidate | None, left: float,
        seen: Mapping[tuple[object, ...], int], successes: "_Successes",
    ) -> tuple[Candidate | None, float | None]:  # fmt: skip
        """Return what can be tried of a pair and its cost, None where nothing fits."""
        trains = self._space.adaptations[pair[1]].trains_backbone
        cheapest = self._space.deepest(*pair)
        cost = self._cost(pair, candidate or cheapest, left, successes)
        if cost is None and candidate is not None and trains:
            candidate = cheapest if cheapest.key() not in seen else None
            cost = self._cost(pair, cheapest, left, successes)
        if cost is not None and candidate is None:  # what is drawn is rarely the cheapest
            typical = self._cost(pair, self._space.default(*pair), left, successes)
            cost = typical or self._least_frozen(pair, left, successes)[1] or cost
        return candidate, cost

    def _least_frozen(
        self, pair: Pair, left: float, successes: "_Successes"
    ) -> tuple[float, float | None]:
        """Return the smallest freeze fraction, of a few, with which a trial fits, and its cost."""
        dimension = self._space.adaptations[pair[1]].space.get("freeze_fraction")
        if not isinstance(dimension, Range):
            return 0.0, None
        for fraction in np.linspace(dimension.low, dimension.high, _FRACTIONS):
            candidate = self._space.default(*pair, freeze_fraction=float(fraction))
            cost = self._cost(pair, candidate, left, successes)
            if cost is not None:
                return float(fraction), cost
        return float(dimension.high), None

    def _cost(
        self, pair: Pair, candidate: Candidate, left: float, successes: "_Successes"
    ) -> float | None:
        """Return what a candidate costs, None where it does not fit into the time left.

        Where its backbone fails to tell, it costs nothing, so that a trial is begun and says why;
        once a trial of the pair has failed, the pair is left alone.
        """
        try:
            spec, may_time = self._space.adaptations[pair[1]], pair[0] in self._timeable
            return self._planner.cost(spec, candidate, left, may_time=may_time)
        except Exception:  # noqa: BLE001  # backbones are plugin code
            return None if successes.failed(pair) else 0.0

    def _worthwhile(
        self, starts: Sequence[Start], outcomes: Sequence[Outcome], best: float, left: float
    ) -> list[Start]:
        """Return what may beat the best by enough, and the probes to look at that by."""
        if self.share:
            able = {s.pair for s in starts if self.promises(s.gain, s.cost, best, left)}
        else:
            able = {s.pair for s in starts if s.belief.chance(best) >= _NO_CHANCE}
        owed = self._owed(outcomes, best)
        due = [s for s in starts if s.pair[1] in owed]
        able |= {max(due, key=lambda s: s.rate).pair} if due else set()
        looked_at = {o.candidate.backbone for o in outcomes if o.ran}
        to_look_at = {b for b, _ in able} - looked_at | self._unseen(outcomes, best)
        return [
            s for s in starts
            if s.pair in able or (s.pair[0] in to_look_at and s.pair[1] in self._probes)
        ]  # fmt: skip

    def _negligible(self, pair: Pair, gain: float, best: float | None) -> bool:
        if pair[1] in self._probes or not self.share or best is None:
            return False
        return gain < _NEGLIGIBLE * (1 - best)

    def _owed(self, outcomes: Sequence[Outcome], best: float | None) -> set[str]:
        """Return methods of which one is tried whatever is expected, before a search gives up.

        They train on what the user brought beside labelled samples. Nothing is owed once one of
        them was tried, or anything has beaten the best.
        """
        found = {n for n, s in self._space.adaptations.items() if s.needs and s.trains_backbone}
        tried = any(o.candidate.adaptation in found for o in outcomes)
        leads = any(o.value is not None and best is not None and o.value > best for o in outcomes)
        return set() if tried or leads else found

    def _unseen(self, outcomes: Sequence[Outcome], best: float) -> set[str]:
        """Return backbones to be looked at whatever is expected: few were, and none is good."""
        shown = [o for o in outcomes if o.value is not None and o.state != "failed"]
        looked_at = {o.candidate.backbone for o in shown}
        leads = any(o.value is not None and o.value >= best for o in shown)
        return (
            set() if leads or len(looked_at) >= _LEAST_TRIED else set(self._expected) - looked_at
        )

    def _looking_first(self, starts: list[Start], looked_at: set[str]) -> list[Start]:
        """Put a probe before the first training of its backbone: it is cheap, and tells most."""
        if not starts or starts[0].pair[0] in looked_at or not self._trains(starts[0]):
            return starts
        backbone = starts[0].pair[0]
        probes = [s for s in starts if s.pair[0] == backbone and not self._trains(s)]
        return [*probes[:1], *starts]

    def _trains(self, start: Start) -> bool:
        return self._space.adaptations[start.pair[1]].trains_backbone

    def beliefs(self, outcomes: Sequence[Outcome]) -> dict[Pair, Belief]:
        """Return what to expect of the next trial of each pair."""
        found = self._posterior(outcomes).beliefs(self._pairs)
        return dict(zip(self._pairs, found, strict=True))

    def _posterior(self, outcomes: Sequence[Outcome]) -> Posterior:
        posterior = Posterior(self._expected, self._methods, self._scale, self._gains)
        self.extrapolation.learn(outcomes)
        for outcome in outcomes:
            usable = outcome.state != "failed" and self.knows(outcome.candidate)
            if outcome.value is not None and usable:
                pair = (outcome.candidate.backbone, outcome.candidate.adaptation)
                paused = outcome.state == "paused"
                posterior.tell(
                    pair, self.extrapolation.final(outcome).mean if paused else outcome.value
                )
        return posterior

    @property
    def share(self) -> bool:
        """Whether values lie in [0, 1]."""
        return self._scale.share

    def promises(self, gain: float, cost: float, best: float, left: float) -> bool:
        """Say whether an expected improvement on the best is worth its time.

        It is where it removes a hundredth of the errors that the best still makes, or where time
        that is spent like this would remove a fiftieth of them before it ends.
        """
        if not self.share or gain >= _LEAST_GAIN * (1 - best):
            return True
        at_this_rate = gain * left / max(cost, _OVERHEAD) if math.isfinite(left) else 0.0
        return at_this_rate >= _LEAST_RATE * (1 - best)

    def knows(self, candidate: Candidate) -> bool:
        """Say whether a candidate's backbone can be used today."""
        return candidate.backbone in self._expected

    def hopeless(
        self,
        outcomes: Sequence[Outcome],
        floor: float,
        share_used: float,
        starts: Sequence[Start] | None = None,
        paused: float = 0.0,
    ) -> str:
        """Say why nothing is left that could beat the floor, or "".

        Args:
            outcomes: What trials have shown.
            floor: The floor's validation value.
            share_used: Share of the budget that is gone.
            starts: What could be started; None stands for all pairs.
            paused: Chance of a paused trial to beat it.
        """
        known = [o for o in outcomes if o.ran and self.knows(o.candidate)]
        failures = Counter(o.candidate.backbone for o in known if o.state == "failed")
        shown = [o for o in known if o.value is not None and o.state != "failed"]
        values = [o.value for o in shown if o.value is not None]
        broken = {backbone for backbone, n in failures.items() if n >= _BROKEN}
        n_tried = len({o.candidate.backbone for o in shown} | broken)
        if n_tried < min(_LEAST_TRIED, len(self._expected)) or max(values, default=1.0) > floor:
            return ""
        owed = self._owed(outcomes, floor)
        if any(s.pair[1] in owed for s in starts or ()):
            return ""
        beliefs = self.beliefs(outcomes)
        left = beliefs if starts is None else {s.pair for s in starts}
        chance = max((paused, *(beliefs[pair].chance(floor) for pair in left)))
        bar = _HALF_TIME_CHANCE if share_used >= 0.5 else _LITTLE_CHANCE
        if chance >= bar:
            return ""
        return (
            f"nothing beat the floor on validation in {len(outcomes)} trials, and the best chance "
            f"left to do so is {100 * chance:.1f} %"
        )

    def _next_of(
        self, pair: Pair, seen: Mapping[tuple[object, ...], int]
    ) -> tuple[Candidate | None, bool]:
        """Return the next fixed candidate of a pair, if any, and whether anything is left."""
        backbone, name = pair
        for candidate in self._first[pair]:
            if candidate.key() not in seen:
                return candidate, True
        if not self._space.discrete(name):
            return None, True
        for candidate in self._space.grid(backbone, name):
            if candidate.key() not in seen:
                return candidate, True
        return None, False


class _Successes:
    """How often trials of a pair, of its method and of its backbone ended without an error."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        failed = [o for o in outcomes if o.state == "failed"]
        self._failed = Counter(_keys(failed))
        self._ran = Counter(_keys(o for o in outcomes if o.ran)) if failed else Counter()

    def failed(self, pair: Pair) -> bool:
        return self._failed[pair] > 0

    def given_up(self, pair: Pair) -> bool:
        """Say whether a pair has only ever failed, and often enough."""
        return self._failed[pair] >= _MOST_FAILURES and self._failed[pair] == self._ran[pair]

    def chance(self, pair: Pair) -> float:
        keys = (pair, ("backbone", pair[0]), ("method", pair[1]))
        return min(1 - self._failed[k] / (1 + self._ran[k]) for k in keys)


def _keys(outcomes: Iterable[Outcome]) -> Iterator[object]:
    """Yield what failures are counted by."""
    for o in outcomes:
        pair = name, method = o.candidate.backbone, o.candidate.adaptation
        yield from (pair, ("backbone", name), ("method", method))


def _own(x: Expectation) -> tuple[float, float]:
    """Return what is expected of a backbone, and the spread that is its own alone."""
    return x.expected, math.sqrt(max(x.spread**2 - x.level_spread**2, 0.0))


def _shared(expectations: Iterable[Expectation]) -> float:
    """Return the spread that all backbones of a shelf share, in log-odds."""
    return float(
        np.mean([x.level_spread / max(x.expected * (1 - x.expected), 1e-6) for x in expectations])
    )
