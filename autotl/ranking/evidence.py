"""What a look at some samples has shown of one backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from autotl.features import Stopped
from autotl.specs import BackboneSpec

__all__ = ["LAYERS", "Evidence", "Target", "attempt", "guarded", "known", "logit"]

LAYERS = "_layers"  # ends the name of a score of the average over a text encoder's layers
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The labelled samples that a look may fall on.

    Args:
        y: Class codes of all samples of the task.
        n_train: Samples that a model could be fitted on.
        n_classes: Classes of the task.
        prior: Share of each class among them, of shape (n_classes,).
    """

    y: np.ndarray
    n_train: int
    n_classes: int
    prior: np.ndarray


@dataclass(kw_only=True)
class Evidence:
    """What is known of one backbone on one task.

    Args:
        spec: The backbone.
        target: The task.
        n_samples: Samples looked at.
        seconds_per_sample: To preprocess and embed one sample on this machine.
        scores: By name; those of the average over a text encoder's layers end in "_layers".
        similarity: By name of the measure: to the source domain that the user gave, else to the
            backbone's own.
        own_similarity: By name of the measure: to the backbone's own source domain.
        failed: Reason by name of a score or measure that could not be computed.
    """

    spec: BackboneSpec
    target: Target
    n_samples: int
    seconds_per_sample: float
    scores: dict[str, float] = field(default_factory=dict)
    similarity: dict[str, float] = field(default_factory=dict)
    own_similarity: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def guarded(failed: dict[str, str], name: str, compute: Callable[[], _T]) -> _T | None:
    """Return what a plugin computes, or None with the reason kept: it costs no backbone."""
    try:
        found = compute()
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  # scores, measures and backbones are plugin code
        failed[name] = f"{type(error).__name__}: {error}"
        return None
    failed.pop(name, None)
    return found


def attempt(
    evidence: Evidence, name: str, compute: Callable[[], float], into: dict[str, float]
) -> None:
    """Keep one finite value, or the reason why there is none."""
    with threadpool_limits(1, user_api="blas"):  # threads wait for each other on small data
        value = guarded(evidence.failed, name, lambda: float(compute()))
    if value is None:
        return
    if np.isfinite(value):
        into[name] = value
    else:
        evidence.failed[name] = f"its value is {value}"


def logit(share: float, n: int) -> float:
    """Return the log-odds of a share of n samples, half a sample away from 0 and 1."""
    p = min(max(share, 0.5 / n), 1 - 0.5 / n)
    return float(np.log(p / (1 - p)))


def known(values: Mapping[str, float], name: str) -> float:
    """Return a value, or NaN where it is missing."""
    return values.get(name, float("nan"))
