"""Parameters that did well on many data sets: what is tried first of each method."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from autotl.specs import AdaptationSpec

__all__ = ["Portfolio", "Remembered"]

Remembered = tuple[str, str, Mapping[str, Any]]
"""Backbone, method and parameters of what won on similar data."""


class Portfolio:
    """An ordered list of methods with parameters.

    Args:
        entries: Method and parameters, the best first; parameters that a method does not have, or
            that lie outside its space, drop the entry.
        remembered: Backbone, method and parameters that won on similar data; they go before.
    """

    def __init__(
        self,
        entries: Sequence[tuple[str, Mapping[str, Any]]],
        remembered: Sequence[Remembered] = (),
    ) -> None:
        self.entries, self.remembered = list(entries), list(remembered)

    @classmethod
    def load(cls, modality: str, remembered: Sequence[Remembered] = ()) -> "Portfolio":
        """Return the shipped portfolio of a modality; without one, an empty one."""
        path = files("autotl.search.study").joinpath("portfolio.json")
        shipped = json.loads(path.read_text(encoding="utf-8"))["modalities"]
        entries = [(e["adaptation"], e["params"]) for e in shipped.get(modality, ())]
        return cls(entries, remembered)

    def of(self, backbone: str, spec: AdaptationSpec) -> list[dict[str, Any]]:
        """Return what to try first of a method on a backbone, the method's own defaults last."""
        own = [(name, params) for b, name, params in self.remembered if b == backbone]
        found = [
            {**spec.defaults, **params}
            for name, params in (*own, *self.entries)
            if name == spec.name and _fits(spec, params)
        ]
        found.append(dict(spec.defaults))
        return [p for i, p in enumerate(found) if p not in found[:i]]


def _fits(spec: AdaptationSpec, params: Mapping[str, Any]) -> bool:
    return all(name in spec.space and value in spec.space[name] for name, value in params.items())
