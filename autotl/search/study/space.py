"""The joint search space of backbones, adaptation methods and their parameters."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.errors import SpaceChangedError
from autotl.search.study.candidate import Candidate
from autotl.specs import AdaptationSpec, Choice, Range, matters

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

# These mean the same in every method; all other parameters carry their method's name.
SHARED = frozenset({"freeze_fraction", "lr", "weight_decay", "epochs"})


_GRID = 10  # freeze fractions that stand for a range


def expected_fractions(adaptations: Sequence[AdaptationSpec]) -> list[float]:
    """Return freeze fractions that trials are likely to ask for: ranges, and their defaults."""
    found: list[float] = []
    for spec in adaptations:
        dimension = spec.space.get("freeze_fraction")
        if isinstance(dimension, Range):
            found += np.linspace(dimension.low, dimension.high, _GRID).tolist()
            found += [float(spec.defaults["freeze_fraction"])] * (_GRID // 3)
    return found


class SearchSpace:
    """Conditional space: backbone x adaptation x the adaptation's own space.

    Args:
        backbones: Names of the usable backbones.
        adaptations: The methods admitted.
    """

    def __init__(self, backbones: Sequence[str], adaptations: Sequence[AdaptationSpec]) -> None:
        self.backbones = list(backbones)
        self.adaptations = {a.name: a for a in adaptations}
        self._shared = {name for name in SHARED if self._alike(name)}
        # Asked for at every decision.
        self._defaults: dict[tuple[str, str], Candidate] = {}
        self._deepest: dict[tuple[str, str], Candidate] = {}

    def _alike(self, name: str) -> bool:
        """Say whether a shared parameter is the same kind of dimension in every method."""
        dimensions = [a.space[name] for a in self.adaptations.values() if name in a.space]
        kinds = {
            (type(d), getattr(d, "log", None), getattr(d, "integer", None)) for d in dimensions
        }
        return len(kinds) == 1 and not isinstance(dimensions[0], Choice)

    def key(self, adaptation: str, name: str) -> str:
        """Return what Optuna calls a parameter of a method."""
        return name if name in self._shared else f"{adaptation}.{name}"

    def is_range(self, adaptation: str, key: str) -> bool:
        """Say whether a parameter, as Optuna calls it, is a range of real numbers."""
        space = self.adaptations[adaptation].space
        dimension = {self.key(adaptation, name): d for name, d in space.items()}[key]
        return isinstance(dimension, Range) and not dimension.integer

    def default(self, backbone: str, adaptation: str, **changes: Any) -> Candidate:
        """Return a method's defaults on a backbone, with some values changed."""
        if not changes and (backbone, adaptation) in self._defaults:
            return self._defaults[backbone, adaptation]
        spec = self.adaptations[adaptation]
        params = settled(spec, {**spec.defaults, **changes})
        found = Candidate(backbone=backbone, adaptation=adaptation, params=params)
        if not changes:
            self._defaults[backbone, adaptation] = found
        return found

    def discrete(self, adaptation: str) -> bool:
        """Say whether a method's space has choices only, so that it can be used up."""
        return all(isinstance(d, Choice) for d in self.adaptations[adaptation].space.values())

    def grid(self, backbone: str, adaptation: str) -> list[Candidate]:
        """Return all combinations of a method's choices, its ranges at their defaults."""
        spec = self.adaptations[adaptation]
        choices = {k: d.options for k, d in spec.space.items() if isinstance(d, Choice)}
        found = [
            self.default(backbone, adaptation, **dict(zip(choices, values, strict=True)))
            for values in itertools.product(*choices.values())
        ]
        return list({candidate.key(): candidate for candidate in found}.values())

    def deepest(self, backbone: str, adaptation: str) -> Candidate:
        """Return a method's cheapest candidate: as much frozen and as few epochs as it allows."""
        known = self._deepest.get((backbone, adaptation))
        if known is None:
            known = self._deepest[backbone, adaptation] = self._find_deepest(backbone, adaptation)
        return known

    def _find_deepest(self, backbone: str, adaptation: str) -> Candidate:
        space = self.adaptations[adaptation].space
        changes: dict[str, Any] = {}
        if isinstance(fraction := space.get("freeze_fraction"), Range):
            changes["freeze_fraction"] = fraction.high
        if isinstance(epochs := space.get("epochs"), Range):
            changes["epochs"] = int(epochs.low)
        return self.default(backbone, adaptation, **changes)

    def to_optuna(self, candidate: Candidate) -> dict[str, Any]:
        """Return a candidate as the parameters that Optuna stores: those that matter."""
        space = self.adaptations[candidate.adaptation].space
        named = {
            self.key(candidate.adaptation, name): value
            for name, value in candidate.params.items()
            if matters(space[name], candidate.params)
        }
        return {"backbone": candidate.backbone, "adaptation": candidate.adaptation, **named}

    def from_optuna(self, params: Mapping[str, Any]) -> Candidate | None:
        """Return the candidate of stored parameters; None while they are not complete."""
        adaptation = self.adaptations.get(params.get("adaptation", ""))
        if adaptation is None or params.get("backbone") not in self.backbones:
            return None
        values: dict[str, Any] = {}
        for name, dimension in adaptation.space.items():
            key = self.key(adaptation.name, name)
            if not matters(dimension, values):
                values[name] = adaptation.defaults[name]
            elif key in params:
                values[name] = params[key]
            else:
                return None
        return Candidate(backbone=params["backbone"], adaptation=adaptation.name, params=values)

    def distributions(self, candidate: Candidate | None = None) -> dict[str, "BaseDistribution"]:
        """Return what Optuna draws backbone and method from, and a candidate's parameters."""
        from optuna.distributions import CategoricalDistribution

        # In an order that does not hang on the ranking: a resumed study must find it unchanged.
        found: dict[str, BaseDistribution] = {
            "backbone": CategoricalDistribution(sorted(self.backbones)),
            "adaptation": CategoricalDistribution(sorted(self.adaptations)),
        }
        if candidate is not None:
            for name, dimension in self.adaptations[candidate.adaptation].space.items():
                if matters(dimension, candidate.params):
                    found[self.key(candidate.adaptation, name)] = _distribution(dimension)
        return found

    def suggest(self, trial: "optuna.trial.Trial") -> Candidate:
        """Let a trial choose a candidate."""
        backbone = trial.suggest_categorical("backbone", sorted(self.backbones))
        adaptation = trial.suggest_categorical("adaptation", sorted(self.adaptations))
        params: dict[str, Any] = {}
        spec = self.adaptations[adaptation]
        for name, dimension in spec.space.items():
            key = self.key(adaptation, name)
            if not matters(dimension, params):
                params[name] = spec.defaults[name]
            elif isinstance(dimension, Choice):
                params[name] = trial.suggest_categorical(key, list(dimension.options))
            elif dimension.integer:
                params[name] = trial.suggest_int(
                    key, int(dimension.low), int(dimension.high), log=dimension.log
                )
            else:
                params[name] = trial.suggest_float(
                    key, dimension.low, dimension.high, log=dimension.log
                )
        return Candidate(backbone=backbone, adaptation=adaptation, params=params)

    def described(self) -> dict[str, Any]:
        """Return the space as JSON; a stored study belongs to one space."""
        return {
            "backbones": sorted(self.backbones),
            "adaptations": {
                name: {k: repr(v) for k, v in sorted(spec.space.items())}
                for name, spec in sorted(self.adaptations.items())
            },
        }

    def check(self, stored: Mapping[str, Any]) -> None:
        """Compare with the space of a stored study.

        Raises:
            SpaceChangedError: Backbones, methods or their parameters have changed since.
        """
        here = self.described()
        changes = _changes("backbone", stored["backbones"], here["backbones"])
        changes += _changes("method", stored["adaptations"], here["adaptations"])
        for name in sorted(set(stored["adaptations"]) & set(here["adaptations"])):
            if stored["adaptations"][name] != here["adaptations"][name]:
                changes.append(f"the parameters of {name!r} have changed")
        if changes:
            raise SpaceChangedError(changes)


def settled(spec: AdaptationSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a method with those that do not matter at their defaults."""
    found: dict[str, Any] = {}
    for name, dimension in spec.space.items():
        found[name] = params[name] if matters(dimension, found) else spec.defaults[name]
    return found


def _changes(kind: str, before: Iterable[str], now: Iterable[str]) -> list[str]:
    """Say what was added and what was removed."""
    added, removed = sorted(set(now) - set(before)), sorted(set(before) - set(now))
    return [
        *(f"{kind} {name!r} was added" for name in added),
        *(f"{kind} {name!r} was removed" for name in removed),
    ]


def _distribution(dimension: Range | Choice) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(dimension, Choice):
        return CategoricalDistribution(list(dimension.options))
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
