"""What scores, similarity and facts let expect of a backbone: an accuracy with a spread.

The coefficients are data, `prior.json`, written by `benchmarks/selection/fit_prior.py` from the
true accuracies of many backbones on many sets.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from autotl.ranking.evidence import LAYERS, Evidence, known, logit
from autotl.specs import BackboneSpec

__all__ = ["INPUTS", "Expectation", "MethodGain", "Prior"]

_ANCHOR = "ridge_loo"
_LEAST_SPREAD = 0.01  # log-odds


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What to expect of a backbone.

    Args:
        expected: Accuracy after transfer, in [0, 1].
        spread: One standard deviation of the error of `expected`.
        static: What facts alone would say of the order, at the level that the samples show.
        level_spread: The part of `spread` that all backbones of the shelf share.
        methods: What methods add to a tuned probe of it, by name, where that was measured.
    """

    expected: float
    spread: float
    static: float
    level_spread: float = 0.0
    methods: Mapping[str, "MethodGain"] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MethodGain:
    """What a method adds to a tuned probe, in log-odds of accuracy.

    Args:
        gain: On average.
        spread: One standard deviation of that from task to task.
        pair_spread: One standard deviation from backbone to backbone of one task.
    """

    gain: float
    spread: float
    pair_spread: float


def _share(name: str) -> Callable[[Evidence], float]:
    def read(e: Evidence) -> float:
        value = known(e.scores, name)
        return logit(value, e.n_samples) if np.isfinite(value) else value

    return read


def _entropy(e: Evidence) -> float:
    p = e.target.prior[e.target.prior > 0]
    return float(-(p * np.log(p)).sum())


def _evidence_gain(name: str) -> Callable[[Evidence], float]:
    """LogME above that of knowing the class shares only, in nats a sample."""

    def read(e: Evidence) -> float:
        p = e.target.prior[e.target.prior > 0]
        nothing = -0.5 * np.log(2 * np.pi * np.e * p)
        return known(e.scores, name) - float(nothing.mean())

    return read


def _nats(name: str) -> Callable[[Evidence], float]:
    """Log-likelihood above that of the class shares, over their entropy."""
    return lambda e: (known(e.scores, name) + _entropy(e)) / max(_entropy(e), 1e-6)


def _log(value: float | None) -> float:
    return float(np.log(value)) if value is not None and value > 0 else float("nan")


def _with_layers(name: str, make: Callable[[str], Callable[[Evidence], float]]) -> dict[str, Any]:
    return {name: make(name), name + LAYERS: make(name + LAYERS)}


STATIC: Mapping[str, Callable[[Evidence], float]] = {
    "log_params": lambda e: _log(e.spec.n_params),
    "published_accuracy": lambda e: e.spec.published_accuracy or float("nan"),
}
"""Inputs that ask nothing of the data, nor of the clock: the same seed gives the same order."""

INPUTS: Mapping[str, Callable[[Evidence], float]] = {
    **_with_layers("ridge_loo", _share),
    **_with_layers("knn_loo", _share),
    **_with_layers("logme", _evidence_gain),
    **_with_layers(
        "h_score", lambda name: lambda e: known(e.scores, name) / max(1, e.target.n_classes - 1)
    ),
    "leep": _nats("leep"),
    "nce": _nats("nce"),
    "nleep": _nats("nleep"),
    "parc": lambda e: known(e.scores, "parc") / 100,
    "gbc": lambda e: known(e.scores, "gbc") / max(1, e.target.n_classes - 1),
    "batch_norm_kl": lambda e: _log(known(e.own_similarity, "batch_norm_kl")),
    "frechet": lambda e: _log(known(e.own_similarity, "frechet")),
    **STATIC,
}
"""Inputs of the prior by name: numbers that compare between tasks; NaN where missing."""


class Prior:
    """What to expect of the log-odds of accuracy after transfer: a level, and each one's offset.

    The level of a task comes from the leave-one-out accuracies of all backbones, which rise with
    the samples seen. How far a backbone stands from the others is told twice: by the scores, as a
    weighted sum of their differences from the mean of the shelf, and, for a backbone with a
    record, by how far it stood from the others on other sets. Both are joined by their precision:
    with few samples the record counts more, with many the scores. What a record says of a task is
    known but for a common factor (some tasks keep backbones further apart than others) and
    something of each backbone's own. Records say how those that have one differ among themselves;
    how these stand to others, the scores alone say. An input that is missing counts as the mean of
    the shelf.

    Args:
        coefficients: Of one modality: `level` (how fast accuracy grows), `weights` and `static` by
            input, `record` (by backbone), `doubt` (variances, see `fit_prior.py`), `methods`.
    """

    def __init__(self, coefficients: Mapping[str, Any]) -> None:
        self.coefficients = coefficients

    @classmethod
    def load(cls, modality: str) -> "Prior":
        """Return the shipped prior of a modality, or the general one."""
        path = files("autotl.ranking").joinpath("prior.json")
        shipped = json.loads(path.read_text(encoding="utf-8"))
        return cls(shipped["modalities"].get(modality) or shipped["modalities"]["any"])

    @property
    def needs(self) -> set[str]:
        """Names of the scores and measures that count."""
        return {name.removesuffix(LAYERS) for name in (_ANCHOR, *self.coefficients["weights"])}

    @property
    def reads_layers(self) -> bool:
        """Whether a score of a text encoder's layer average counts."""
        return any(name.endswith(LAYERS) for name in self.coefficients["weights"])

    def method_gain(
        self,
        method: str,
        expected_logit: float,
        n_per_class: float,
        spec: BackboneSpec | None = None,
    ) -> MethodGain | None:
        """Return what a method adds to a tuned probe; None where it was not measured.

        Args:
            method: Name of the adaptation method.
            expected_logit: Log-odds of accuracy to expect of the probe.
            n_per_class: Training samples over classes.
            spec: The backbone: some gain more than others, as measured on other sets.
        """
        found = self.coefficients.get("methods", {}).get(method)
        if found is None:
            return None
        constant, by_logit, by_samples = found["gain"]
        own = _own_gain(found["backbones"], spec) if spec else 0.0
        task = constant + by_logit * expected_logit + by_samples * float(np.log(n_per_class))
        return MethodGain(
            gain=task + own,
            spread=found["spread"],
            pair_spread=found["pair_spread"],
        )

    def expect(self, evidence: Sequence[Evidence]) -> list[Expectation]:
        """Return what to expect of each backbone of one shelf, all seen on the same samples."""
        if not evidence:
            return []
        level = self.level(evidence)
        offsets, variances = self._joined(evidence, level)
        before = level + _weighed(evidence, self.coefficients["static"])
        shares = 1 / (1 + np.exp(-(level + offsets)))
        doubt = self.coefficients["doubt"]
        shared = doubt["level"] + doubt["growth"] * still_to_grow(evidence) ** 2
        slopes = shares * (1 - shares)
        spreads = np.sqrt(variances + shared).clip(_LEAST_SPREAD) * slopes
        return [
            Expectation(
                expected=float(shares[i]),
                spread=float(spreads[i]),
                static=float(1 / (1 + np.exp(-before[i]))),
                level_spread=float(np.sqrt(shared) * slopes[i]),
                methods=self._methods(e, float(level + offsets[i])),
            )
            for i, e in enumerate(evidence)
        ]

    def _methods(self, e: Evidence, expected_logit: float) -> dict[str, MethodGain]:
        n_per_class = e.target.n_train / e.target.n_classes
        gains = {
            name: self.method_gain(name, expected_logit, n_per_class, e.spec)
            for name in self.coefficients.get("methods", {})
        }
        return {name: gain for name, gain in gains.items() if gain is not None}

    def level(self, evidence: Sequence[Evidence]) -> float:
        """Return the mean log-odds to expect of a shelf."""
        anchors = [INPUTS[_ANCHOR](e) for e in evidence]
        anchor = float(np.nanmean(anchors)) if np.isfinite(anchors).any() else 0.0
        return anchor + float(self.coefficients["level"]) * still_to_grow(evidence)

    def says(self, evidence: Sequence[Evidence]) -> np.ndarray:
        """Return how far the scores see each backbone from the shelf's mean, in log-odds."""
        return _weighed(evidence, self.coefficients["weights"])

    def _joined(self, evidence: Sequence[Evidence], level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return offsets of scores and records together, and the variance of their errors."""
        doubt = self.coefficients["doubt"]
        offsets = self.says(evidence)
        noise = doubt["scores"] + doubt["sampling"] * sampling(evidence, level)
        variances = np.full(len(evidence), noise)
        values = [self.coefficients["record"].get(record_key(e.spec)) for e in evidence]
        known = [i for i, value in enumerate(values) if value is not None]
        if len(known) < 2:
            return offsets, variances
        record = centred([values[i] for i in known])
        before = offsets[known].mean() + record
        prior = doubt["record"] * np.eye(len(known)) + doubt["scale"] * np.outer(record, record)
        trust = np.linalg.solve(prior + noise * np.eye(len(known)), prior)
        offsets[known] = before + trust.T @ (offsets[known] - before)
        variances[known] = noise * np.diag(trust)
        return offsets, variances


def record_key(spec: BackboneSpec) -> str:
    """Return what a backbone's record goes by: with other inputs it is another backbone."""
    return f"{spec.name}@{spec.input_size[-1]}" if spec.input_size else spec.name


def _own_gain(gains: Mapping[str, float], spec: BackboneSpec) -> float:
    """Return what a backbone gains above others, as measured with the nearest size of inputs."""
    if not spec.input_size:
        return gains.get(spec.name, 0.0)
    side = spec.input_size[-1]
    names = {key: key.rpartition("@") for key in gains}
    sides = {int(n[2]): gains[key] for key, n in names.items() if n[0] == spec.name}
    return sides[min(sides, key=lambda s: abs(np.log(s / side)))] if sides else 0.0


def still_to_grow(evidence: Sequence[Evidence]) -> float:
    """Return how much a look leaves to learn: e-folds of samples to come, by samples a class."""
    target = evidence[0].target
    seen = float(np.mean([e.n_samples for e in evidence]))
    return float(np.log(max(target.n_train / seen, 1.0)) * np.sqrt(target.n_classes / seen))


def sampling(evidence: Sequence[Evidence], level: float) -> float:
    """Return the binomial variance of log-odds at a level, from the samples seen."""
    p = 1 / (1 + np.exp(-level))
    seen = float(np.mean([e.n_samples for e in evidence]))
    return float(1 / (seen * max(p * (1 - p), 1e-3)))


def _weighed(evidence: Sequence[Evidence], weights: Mapping[str, float]) -> np.ndarray:
    total = np.zeros(len(evidence))
    for name, weight in weights.items():
        total += weight * centred([INPUTS[name](e) for e in evidence])
    return total


def centred(values: Sequence[float]) -> np.ndarray:
    """Return differences from the mean of what is known; 0 where nothing is."""
    column = np.asarray(values, float)
    there = np.isfinite(column)
    if not there.any():
        return np.zeros(len(column))
    return np.where(there, column - column[there].mean(), 0.0)
