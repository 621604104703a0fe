"""What scores, similarity and facts let expect of a backbone: an accuracy with a spread.

The coefficients are data, `prior.json`, written by `benchmarks/selection/fit_prior.py` from the
true accuracies of many backbones on many sets.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from autotl.ranking.evidence import LAYERS, Evidence, known, logit

__all__ = ["INPUTS", "Expectation", "Prior"]

_ANCHOR = "ridge_loo"
_LEAST_SPREAD = 0.002


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What to expect of a backbone.

    Args:
        expected: Accuracy after transfer, in [0, 1].
        spread: One standard deviation of the error of `expected`.
        static: What facts alone would say of the order, at the level that the samples show.
    """

    expected: float
    spread: float
    static: float


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
    """A linear model of the log-odds of accuracy after transfer.

    The level of a task comes from the leave-one-out accuracies of all backbones, the distance of
    a backbone from the others from all inputs, as differences from their mean over the shelf.
    Adding a backbone thus changes no order among others that have the same inputs. An input that
    is missing counts as the mean of the shelf.

    Args:
        coefficients: Of one modality: `level` (intercept, slope, slope of the log share of samples
            seen), `weights` by input, `static` by input, `spread` (variance of the model, share of
            the binomial variance).
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

    def expect(self, evidence: Sequence[Evidence]) -> list[Expectation]:
        """Return what to expect of each backbone of one shelf, all seen on the same samples."""
        if not evidence:
            return []
        level = self._level(evidence)
        logits = level + self._offsets(evidence, self.coefficients["weights"])
        static = level + self._offsets(evidence, self.coefficients["static"])
        model, binomial = self.coefficients["spread"]
        found = []
        for e, here, before in zip(evidence, logits, static, strict=True):
            p = 1 / (1 + np.exp(-here))
            sampling = binomial / (e.n_samples * max(p * (1 - p), 1e-3))
            spread = float(np.sqrt(model + sampling)) * p * (1 - p)
            found.append(
                Expectation(
                    expected=float(p),
                    spread=max(float(spread), _LEAST_SPREAD),
                    static=float(1 / (1 + np.exp(-before))),
                )
            )
        return found

    def _level(self, evidence: Sequence[Evidence]) -> float:
        intercept, slope, growth = self.coefficients["level"]
        anchors = [INPUTS[_ANCHOR](e) for e in evidence]
        anchor = float(np.nanmean(anchors)) if np.isfinite(anchors).any() else 0.0
        seen = np.mean([np.log(e.n_samples / e.target.n_train) for e in evidence])
        return float(intercept + slope * anchor + growth * seen)

    def _offsets(self, evidence: Sequence[Evidence], weights: Mapping[str, float]) -> np.ndarray:
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
