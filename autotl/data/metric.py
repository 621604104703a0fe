"""The metric of a task: any scikit-learn classification scorer, over probabilities."""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from autotl.errors import InvalidDataError, UnknownNameError

__all__ = ["Metric", "choose_metric", "metric_names"]

IMBALANCE = 0.2
"""Below this ratio of the rarest to the commonest class the default is balanced accuracy."""

_CLUSTERING = frozenset(
    {
        "adjusted_mutual_info_score",
        "adjusted_rand_score",
        "completeness_score",
        "fowlkes_mallows_score",
        "homogeneity_score",
        "mutual_info_score",
        "normalized_mutual_info_score",
        "rand_score",
        "v_measure_score",
    }
)


@dataclass(frozen=True)
class Metric:
    """A scikit-learn scorer that takes probabilities; greater is better.

    Args:
        name: The scorer's name.
        reason: Why it was chosen, and which class is the positive one.
    """

    name: str
    reason: str = ""

    @property
    def kind(self) -> Literal["accuracy", "balanced_accuracy", "other"]:
        """How paired differences of this metric are analysed."""
        if self.name == "accuracy":
            return "accuracy"
        return "balanced_accuracy" if self.name == "balanced_accuracy" else "other"

    def __call__(self, y: "np.ndarray[Any, Any]", proba: "np.ndarray[Any, Any]") -> float:
        """Score class codes of shape (n_samples,) against probabilities (n_samples, n_classes).

        A metric that is undefined where a class has no sample is taken over the classes that have
        some, with the other columns left out.
        """
        y, proba = np.asarray(y), _normalised(proba)
        if self.kind != "other":  # asked after every epoch: scikit-learn's checks cost more
            return _share_of_hits(y, proba.argmax(axis=1), balanced=self.kind != "accuracy")
        with warnings.catch_warnings():
            # Small splits lack classes and never predict some: expected, not news.
            warnings.simplefilter("ignore")
            try:
                return _score(self.name, y, proba)
            except ValueError:
                present = np.unique(y)
                if len(present) in (1, proba.shape[1]):
                    raise
                codes = np.searchsorted(present, y)
                return _score(self.name, codes, _normalised(proba[:, present]))


def metric_names() -> list[str]:
    """List the names of scikit-learn's classification scorers."""
    from sklearn.metrics import get_scorer_names

    return [name for name in get_scorer_names() if _classifies(name)]


def choose_metric(
    name: str | None, y: "np.ndarray[Any, Any]", classes: Sequence[Hashable]
) -> Metric:
    """Check the named metric on this task, or choose one by how balanced the classes are.

    Args:
        name: A scikit-learn scorer, or None.
        y: Class codes of shape (n_samples,).
        classes: The labels behind the codes.

    Raises:
        UnknownNameError: scikit-learn has no scorer of this name.
        InvalidDataError: The scorer is not for classification, or not for this many classes.
    """
    counts = np.bincount(y, minlength=len(classes))
    if name is None:
        return _default(counts, classes)
    _check_name(name)
    metric = Metric(name, f"{name}, as asked.{_positive(name, classes)}")
    if name == "top_k_accuracy" and len(classes) <= 2:
        raise InvalidDataError(
            f"Metric {name!r} counts the two most probable classes, and this task has only "
            f"{len(classes)}: it would always be 1. Choose 'accuracy'."
        )
    codes = np.arange(len(classes)).repeat(4)
    guess = np.where(np.arange(len(codes)) % 2, codes, 0)
    proba = np.full((len(codes), len(classes)), 0.4 / len(classes))
    proba[np.arange(len(codes)), guess] += 0.6
    try:
        metric(codes, proba)
    except ValueError as error:
        raise InvalidDataError(_misfit(name, len(classes), error)) from error
    return metric


def _default(counts: "np.ndarray[Any, Any]", classes: Sequence[Hashable]) -> Metric:
    low, high = int(counts.argmin()), int(counts.argmax())
    few, many = f"{classes[low]!r} ({counts[low]})", f"{classes[high]!r} ({counts[high]})"
    if counts[low] < IMBALANCE * counts[high]:
        reason = f"the rarest class {few} has under a fifth of the commonest one's samples {many}"
        return Metric("balanced_accuracy", f"balanced_accuracy, because {reason}.")
    if counts[low] == counts[high]:
        return Metric("accuracy", f"accuracy, because all classes have {counts[low]} samples.")
    reason = f"the rarest class {few} has at least a fifth of the commonest one's samples {many}"
    return Metric("accuracy", f"accuracy, because {reason}.")


def _check_name(name: str) -> None:
    from sklearn.metrics import get_scorer_names

    if not isinstance(name, str):
        raise InvalidDataError(
            f"metric is {name!r} ({type(name).__name__}). Expected the name of a scikit-learn "
            "scorer, such as 'accuracy', 'f1_macro' or 'roc_auc'."
        )
    if name not in get_scorer_names():
        raise UnknownNameError(
            "metric",
            name,
            metric_names(),
            "Any classification scorer of scikit-learn works, such as 'accuracy' or 'f1_macro'.",
        )
    if not _classifies(name):
        kind = "clustering" if name in _CLUSTERING else "regression"
        raise InvalidDataError(
            f"Metric {name!r} is for {kind}, and autotl classifies. "
            "Choose 'accuracy', 'balanced_accuracy', 'f1_macro' or another classification scorer."
        )


def _classifies(name: str) -> bool:
    regression = "error" in name or "deviance" in name or name in ("r2", "explained_variance")
    return not regression and name not in _CLUSTERING


def _positive(name: str, classes: Sequence[Hashable]) -> str:
    averaged = name.endswith(("_macro", "_micro", "_weighted", "_samples", "_ovr", "_ovo"))
    symmetric = name.endswith(("accuracy", "corrcoef", "log_loss", "brier_score", "loss_score"))
    if len(classes) != 2 or averaged or symmetric:
        return ""
    return f" The positive class is {classes[-1]!r}, the last of the two."


def _misfit(name: str, n_classes: int, error: ValueError) -> str:
    names = metric_names()
    near = [n for n in (f"{name}_macro", f"{name}_ovr") if n in names]
    if near:
        return (
            f"Metric {name!r} is for two classes, and this task has {n_classes}. "
            f"Choose {near[0]!r}."
        )
    reason = str(error).splitlines()[0].rstrip(".")
    return (
        f"Metric {name!r} does not work with {n_classes} classes: {reason}. "
        "Choose 'accuracy', 'balanced_accuracy', 'f1_macro' or 'roc_auc_ovr'."
    )


def _normalised(proba: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    proba = np.asarray(proba, dtype=np.float64)
    total = proba.sum(axis=1, keepdims=True)
    # A row without any mass on these columns says nothing: all alike.
    even = np.full_like(proba, 1.0 / proba.shape[1])
    result: np.ndarray[Any, Any] = np.divide(proba, total, out=even, where=total > 0)
    return result


def _share_of_hits(
    y: "np.ndarray[Any, Any]", predicted: "np.ndarray[Any, Any]", *, balanced: bool
) -> float:
    """Return accuracy, or its mean over the classes that occur in `y`."""
    hits = predicted == y
    if not balanced:
        return float(hits.mean())
    n = np.bincount(y)
    present = n > 0
    return float((np.bincount(y, weights=hits)[present] / n[present]).mean())


def _score(name: str, y: "np.ndarray[Any, Any]", proba: "np.ndarray[Any, Any]") -> float:
    from sklearn.metrics import get_scorer

    return float(get_scorer(name)(_as_estimator(proba.shape[1]), proba, y))


@cache
def _as_estimator(n_classes: int) -> Any:
    """Build what a scorer takes for a fitted classifier; its `X` are the probabilities."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Probabilities(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
        classes_ = np.arange(n_classes)

        def predict(self, X: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
            codes: np.ndarray[Any, Any] = X.argmax(axis=1)
            return codes

        def predict_proba(self, X: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
            return X

    return Probabilities()
