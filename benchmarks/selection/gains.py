"""What LP-FT adds to a tuned probe of the same backbone on the same set, in log-odds.

LP-FT saw at most 1,000 training samples. A probe that saw more is taken back by what the growth of
the prior's level says that the others were worth; that shifts a whole set and no backbone of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.ranking.evidence import logit

PROBE, TUNED = "linear_probe", "lp_ft"
_SLOPES = np.diag([0.0, 1.0, 1.0])  # penalty; sets are few
_SPREAD, _PAIR_SPREAD = 0.3, 0.25  # log-odds; assumed before any set was measured
_ASSUMED = 3  # sets that the assumption counts as: few sets that agree prove little


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What LP-FT added on one set.

    Args:
        family: Of the set.
        backbones: Keys of their records.
        inputs: One, the probe's log-odds, log samples a class: shape (n_backbones, 3).
        gains: Log-odds above the probe's.
    """

    family: str
    backbones: list[str]
    inputs: np.ndarray
    gains: np.ndarray


def read_gains(truth: Iterable[dict[str, Any]], modality: str, growth: float) -> list[Gains]:
    """Return the gains of every set that has both kinds of truth.

    Args:
        truth: Records of `ground_truth.py`.
        modality: Of the sets, "any" for all.
        growth: Of the prior's level.
    """
    pairs: dict[str, dict[tuple[str, int], dict[str, Any]]] = {PROBE: {}, TUNED: {}}
    for r in truth:
        if modality in (r["modality"], "any"):
            pairs[r["method"]][r["set"], r["backbone"], r["input_side"]] = r
    rows: dict[str, list[tuple[str, list[float], float]]] = defaultdict(list)
    families = {}
    for key, tuned in pairs[TUNED].items():
        probe = pairs[PROBE].get(key)
        if probe is None:
            continue
        n, n_classes, side = tuned["n_train"], tuned["n_classes"], tuned["input_side"]
        ahead = growth * np.log(probe["n_train"] / n) * np.sqrt(n_classes / n)
        before = logit(probe["accuracy"], probe["n_test"]) - float(ahead)
        name = f"{tuned['backbone']}@{side}" if side else tuned["backbone"]
        inputs = [1.0, before, float(np.log(n / n_classes))]
        gain = logit(tuned["accuracy"], tuned["n_test"]) - before
        rows[tuned["set"]].append((name, inputs, gain))
        families[tuned["set"]] = tuned["family"]
    return [
        Gains(
            family=families[name],
            backbones=[row[0] for row in found],
            inputs=np.array([row[1] for row in found]),
            gains=np.array([row[2] for row in found]),
        )
        for name, found in rows.items()
    ]


def fit_gains(sets: Sequence[Gains]) -> dict[str, Any]:
    """Return what to expect of a method: of a task, and of each backbone beside that.

    Every set counts alike. How far to believe in what a backbone gained on other sets, and the
    spreads, come from leaving out each family in turn; with one family there is nothing to ship.
    """
    families = sorted({s.family for s in sets})
    if len(families) < 2:
        return {}
    rests, own = [], []
    for family in families:
        kept = [s for s in sets if s.family != family]
        weights = _weights(kept)
        record = _own(kept, weights)
        for s in (s for s in sets if s.family == family):
            rests.append(s.gains - s.inputs @ weights)
            own.append(np.array([record.get(b, 0.0) for b in s.backbones]))
    apart = [r - r.mean() for r in rests]
    scale = sum(float(o @ o) for o in own)
    belief = sum(float(o @ r) for o, r in zip(own, apart, strict=True)) / scale if scale else 0.0
    belief = min(max(belief, 0.0), 1.0)
    errors = [r - belief * o for r, o in zip(apart, own, strict=True)]
    weights = _weights(sets)
    return {
        "gain": weights.tolist(),
        "backbones": {b: belief * gain for b, gain in _own(sets, weights).items()},
        "spread": _pooled([float(r.mean() ** 2) for r in rests], _SPREAD),
        "pair_spread": _pooled([float(np.mean(e**2)) for e in errors], _PAIR_SPREAD),
    }


def _pooled(squares: Sequence[float], assumed: float) -> float:
    """Return a spread from a square for each set, and from what was assumed before."""
    total = sum(squares) + _ASSUMED * assumed**2
    return float(np.sqrt(total / (len(squares) + _ASSUMED)))


def _weights(sets: Sequence[Gains]) -> np.ndarray:
    X = np.concatenate([s.inputs / np.sqrt(len(s.gains)) for s in sets])
    y = np.concatenate([s.gains / np.sqrt(len(s.gains)) for s in sets])
    return np.asarray(np.linalg.solve(X.T @ X + _SLOPES, X.T @ y))


def _own(sets: Sequence[Gains], weights: np.ndarray) -> dict[str, float]:
    """Return by backbone what it gained above the others; families count alike."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for s in sets:
        rest = s.gains - s.inputs @ weights
        for backbone, gain in zip(s.backbones, rest - rest.mean(), strict=True):
            found[backbone][s.family].append(float(gain))
    return {
        backbone: float(np.mean([np.mean(gains) for gains in families.values()]))
        for backbone, families in sorted(found.items())
    }
