"""What is known of methods before a search."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files

import numpy as np

from autotl.ranking import Expectation
from autotl.search.study.posterior import MethodPrior, Pair
from autotl.specs import AdaptationSpec

__all__ = ["TUNED_BASE", "default_methods", "known_methods"]

TUNED_BASE = "lp_ft"  # what methods that train layers are variants of

_PROBE = MethodPrior(gain=0.0, spread=0.05, pair_spread=0.1, params_spread=0.08)
_TUNED = MethodPrior(gain=0.05, spread=0.35, pair_spread=0.25, params_spread=0.2)
_FURTHER_SPREAD = 0.4  # what further samples bring may be much, either way
# Beside a few labels, layers trained on another domain's gained 0.2 to 0.4 in searches; without
# any, 0.3 to 3 (`benchmarks/adaptation/spaces.py` and `domains.py`).
_WITH_SOURCE = MethodPrior(gain=0.5, spread=0.8, pair_spread=0.25, params_spread=0.2)
_ALONE = {"linear_probe": _PROBE, TUNED_BASE: _TUNED, "pooled_fine_tune": _WITH_SOURCE}
"""What to assume of the methods that others are variants of."""


def default_methods(
    adaptations: Sequence[AdaptationSpec], modality: str = ""
) -> dict[str, MethodPrior]:
    """Return what to assume of methods on a backbone that no benchmark has tuned.

    What was measured of a method is what it adds to another one, mean and spread over data sets
    (`benchmarks/adaptation/fit_gains.py`).

    Args:
        adaptations: The methods.
        modality: Of the task.
    """
    path = files("autotl.search.study").joinpath("methods.json")
    measured = json.loads(path.read_text(encoding="utf-8"))["modalities"].get(modality, {})
    found = {}
    for spec in adaptations:
        prior = _TUNED if spec.trains_backbone else _PROBE
        if spec.trains_backbone and "source" in spec.needs:
            prior = _WITH_SOURCE
        elif spec.needs:
            prior = replace(prior, spread=_FURTHER_SPREAD)
        if spec.name in measured:
            prior = replace(prior, **measured[spec.name])
        found[spec.name] = prior
    return found


def known_methods(
    names: Iterable[str],
    assumed: Mapping[str, MethodPrior],
    expectations: Mapping[str, Expectation],
) -> tuple[dict[str, MethodPrior], dict[Pair, float]]:
    """Return what to expect of methods on all backbones, and what each adds on known ones.

    Args:
        names: Of the methods.
        assumed: What to assume of those that were not measured on these backbones.
        expectations: What was measured, by backbone.
    """
    own = {n: _measured(assumed.get(n) or MethodPrior(), n, expectations) for n in names}
    gains = {(b, m): g.gain for b, x in expectations.items() for m, g in x.methods.items()}
    found = {}
    for name, prior in own.items():
        base = own.get(prior.over)
        if prior.over and base is None:  # it stands alone, and so does its spread
            alone = _ALONE[prior.over]
            found[name] = replace(alone, gain=alone.gain + prior.gain)
            continue
        found[name] = prior if base is None else replace(prior, gain=base.gain + prior.gain)
        for backbone in expectations:
            if (backbone, prior.over) in gains:
                gains[backbone, name] = gains[backbone, prior.over] + prior.gain
    return found, gains


def _measured(
    method: MethodPrior, name: str, expectations: Mapping[str, Expectation]
) -> MethodPrior:
    """Return a method's prior with what was measured of it on known backbones."""
    gains = [x.methods[name] for x in expectations.values() if name in x.methods]
    if not gains:
        return method
    return replace(
        method,
        gain=float(np.mean([g.gain for g in gains])),
        spread=gains[0].spread,
        pair_spread=gains[0].pair_spread,
        over="",
    )
