"""What a record tells of the data: counts, moments and landmarks, never a sample or a label."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.errors import InvalidDataError
from autotl.experience.checks import assign, count, floats, names_a_place, number, word

if TYPE_CHECKING:
    from autotl.data import Task
    from autotl.specs import BackboneSpec

__all__ = ["MOMENT_SAMPLES", "DataFingerprint", "Moments", "describe", "embedder", "similarity"]

MOMENT_SAMPLES = 512
_LEAST_SAMPLES = 8  # the mean of fewer would nearly be a sample
_MOST_EMBEDDERS, _MOST_DIMENSIONS, _MOST_SCORES = 8, 4096, 1000
_DIGITS = 5
_FAR = 1e30
_LEAST_COMMON = 3  # landmarks, without which their agreement says nothing
_UNKNOWN = 0.2  # similarity at most where neither moments nor landmarks compare
_OTHER_METRIC = 0.8
# Distances at which similarity falls to 1/e, chosen on the logistic probes of the development
# zoo for the least error of predicted gains, with the set, or its whole family, left out.
_MOMENTS, _LANDMARKS, _CLASSES, _PER_CLASS = 0.5, 0.15, 2.0, 4.0


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and variance of embeddings, by dimension.

    Args:
        n: Samples behind them.
        mean: Of length embed_dim.
        variance: Of length embed_dim.
    """

    n: int
    mean: tuple[float, ...]
    variance: tuple[float, ...]

    def __post_init__(self) -> None:
        assign(self, n=count(self.n, "The number of samples behind moments"))
        for name in ("mean", "variance"):
            assign(self, **{name: tuple(floats(getattr(self, name), f"The {name}").tolist())})
        if not (0 < len(self.mean) == len(self.variance) <= _MOST_DIMENSIONS):
            raise InvalidDataError(
                f"Moments have {len(self.mean)} means and {len(self.variance)} variances; "
                f"expected as many of both, from 1 to {_MOST_DIMENSIONS}."
            )
        least = np.array(self.variance).min()  # NaN where one is missing
        if not (least >= 0 and self.n > 0 and np.isfinite(self.mean + self.variance).all()):
            raise InvalidDataError(
                f"Moments of {self.n} samples have a smallest variance of {least:g}; expected "
                "finite numbers of at least one sample and no negative variance."
            )

    @classmethod
    def of(cls, features: np.ndarray) -> "Moments":
        """Return the moments of embeddings of shape (n_samples, embed_dim)."""
        features = np.asarray(features, np.float64)
        mean, variance = features.mean(axis=0), features.var(axis=0)
        return cls(n=len(features), mean=_rounded(mean), variance=_rounded(variance))

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of shape (embed_dim,), no variance quite 0, none near overflow."""
        mean, variance = (np.clip(v, -_FAR, _FAR) for v in (self.mean, self.variance))
        return mean, variance + 1e-6 * max(float(variance.mean()), 1e-12)


@dataclass(frozen=True, kw_only=True)
class DataFingerprint:
    """What tells one data set from another.

    Args:
        modality: Name of the modality.
        metric: Name of what was optimised.
        n_train: Samples to train and validate on.
        n_classes: Classes.
        class_entropy: Of the class shares, in nats.
        moments: Of embeddings, by `embedder`.
        scores: Leave-one-out accuracies in [0, 1] by name of the backbone: landmarks.
        n_scored: Samples behind each of them.
    """

    modality: str
    metric: str
    n_train: int
    n_classes: int
    class_entropy: float
    moments: Mapping[str, Moments] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    n_scored: int = 0

    def __post_init__(self) -> None:
        for name in ("modality", "metric"):
            assign(self, **{name: word(getattr(self, name), f"The {name}")})
        for name in ("n_train", "n_classes", "n_scored"):
            assign(self, **{name: count(getattr(self, name), name)})
        assign(self, class_entropy=number(self.class_entropy, "The class entropy"))
        if len(self.moments) > _MOST_EMBEDDERS or len(self.scores) > _MOST_SCORES:
            raise InvalidDataError(
                f"A fingerprint has moments of {len(self.moments)} embedders and "
                f"{len(self.scores)} scores; expected at most {_MOST_EMBEDDERS} and "
                f"{_MOST_SCORES}."
            )
        moments = {word(k, "An embedder"): v for k, v in self.moments.items()}
        scores = {
            word(k, "A backbone"): min(max(number(v, f"The score of {k!r}"), 0.0), 1.0)
            for k, v in self.scores.items()
        }
        assign(self, moments={k: v for k, v in moments.items() if not names_a_place(k)})
        assign(self, scores={k: v for k, v in scores.items() if not names_a_place(k)})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "DataFingerprint":
        """Return the fingerprint with the fields that JSON held.

        Raises:
            InvalidDataError: A value is not what it should be.
            TypeError: There is a field too many or too few.
        """
        moments = {name: Moments(**m) for name, m in content["moments"].items()}
        return cls(**{**content, "moments": moments})

    @property
    def effective_classes(self) -> float:
        """Classes of equal size that would have this entropy."""
        return math.exp(min(max(self.class_entropy, 0.0), 50.0))


def embedder(spec: "BackboneSpec") -> str:
    """Return the name of a backbone and of its weights, so that moments of others do not mix."""
    digest = (spec.weights_digest() if spec.weights_digest else "") or ""
    return f"{spec.name}#{digest[:12]}" if digest else spec.name


def describe(
    task: "Task", features: Mapping[str, np.ndarray], scores: Mapping[str, float], n_scored: int
) -> DataFingerprint:
    """Return the fingerprint of a task.

    Args:
        task: The task; its holdout takes no part.
        features: By `embedder`, embeddings of shape (n_samples, embed_dim) of samples to train
            and validate on; the first 512 rows count.
        scores: Leave-one-out accuracies by name of the backbone, all on as many samples; the
            first rung of a screening has them for the whole shelf.
        n_scored: Samples behind each of them.
    """
    shares = np.bincount(task.y[task.split.train_validation], minlength=len(task.classes))
    p = shares[shares > 0] / shares.sum()
    return DataFingerprint(
        modality=task.modality.name,
        metric=task.metric.name,
        n_train=len(task.split.train_validation),
        n_classes=len(task.classes),
        class_entropy=float(-(p * np.log(p)).sum()),
        moments={
            name: Moments.of(rows[:MOMENT_SAMPLES])
            for name, rows in features.items()
            if len(rows) >= _LEAST_SAMPLES
        },
        scores={name: value for name, value in scores.items() if math.isfinite(value)},
        n_scored=n_scored,
    )


def similarity(a: DataFingerprint, b: DataFingerprint) -> float:
    """Return how much what worked on one data set says of another, in [0, 1].

    1 for the same data, also where it was sampled anew; 0 across modalities. Each distance beyond
    what sampling alone would give takes its share: between the moments of embeddings, between
    the backbones' leave-one-out accuracies, and between the numbers of classes and of samples a
    class.
    """
    if a.modality != b.modality:
        return 0.0
    apart = abs(math.log(a.effective_classes / b.effective_classes)) / _CLASSES
    per_class = [max(d.n_train, 1) / d.effective_classes for d in (a, b)]
    apart += abs(math.log(per_class[0] / per_class[1])) / _PER_CLASS
    between, agreement = _moment_distance(a, b), _landmark_distance(a, b)
    apart += (between or 0.0) / _MOMENTS + (agreement or 0.0) / _LANDMARKS
    ceiling = _UNKNOWN if between is None and agreement is None else 1.0
    if a.metric != b.metric:
        ceiling *= _OTHER_METRIC
    return ceiling * math.exp(-apart)


def _moment_distance(a: DataFingerprint, b: DataFingerprint) -> float | None:
    """Return the least distance over common embedders, None where there is none.

    The root of the Bhattacharyya distance of two Gaussians with diagonal covariance, a mean over
    dimensions, less what two samples of one Gaussian would show: (1 / n_a + 1 / n_b) / 4, half
    of it by the means and half by the variances.
    """
    found = []
    for name in a.moments.keys() & b.moments.keys():
        one, two = a.moments[name], b.moments[name]
        (mean_a, var_a), (mean_b, var_b) = one.arrays, two.arrays
        if len(mean_a) != len(mean_b):
            continue
        total = var_a + var_b
        by_mean = (mean_a - mean_b) ** 2 / total / 4
        by_variance = np.log(total / (2 * np.sqrt(var_a * var_b))) / 2
        distance = float((by_mean + by_variance).mean()) - (1 / one.n + 1 / two.n) / 4
        found.append(math.sqrt(max(distance, 0.0)))
    return sum(found) / len(found) if found else None


def _landmark_distance(a: DataFingerprint, b: DataFingerprint) -> float | None:
    """Return the mean square of differences of log-odds, levels taken out, None without enough.

    Less the binomial variance, which is more than sampling gives: backbones share samples.
    """
    common = sorted(a.scores.keys() & b.scores.keys())
    if len(common) < _LEAST_COMMON or not a.n_scored or not b.n_scored:
        return None
    odds, noise = [], 0.0
    for data in (a, b):
        least = 0.5 / data.n_scored
        p = np.array([data.scores[name] for name in common]).clip(least, 1 - least)
        odds.append(np.log(p / (1 - p)))
        noise += float((1 / (data.n_scored * p * (1 - p))).mean())
    difference = odds[0] - odds[1]
    return max(float(difference.var()) - noise, 0.0)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{v:.{_DIGITS}g}") for v in values)
