"""A scikit-learn estimator over the same engine as `autotl.fit`."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: TID253  # this module is loaded on first use
from sklearn.utils.validation import check_is_fitted  # noqa: TID253  # as above

from autotl import defaults
from autotl.result.model import FittedModel
from autotl.search import search


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Search backbones and adaptation methods as a scikit-learn classifier.

    Parameters mean what they mean in `autotl.fit`; `random_state` is its `seed`, and `experience`
    is off unless asked for, so that a fit depends on its data and parameters only. After fitting,
    `model_` is the `FittedModel`, `classes_` the labels and `best_config_` the best candidate.
    """

    def __init__(  # noqa: PLR0913  # the parameters of autotl.fit
        self,
        *,
        modality: str | None = None,
        metric: str | None = None,
        budget_seconds: float = defaults.BUDGET_SECONDS,
        trials: int | None = None,
        backbones: Sequence[str] | str | None = None,
        adaptations: Sequence[str] | str | None = None,
        weights: str | Path | Sequence[str | Path] | None = None,
        download: bool = False,
        permissive_only: bool = False,
        labels_per_class: int | None = None,
        unlabeled: str | None = None,
        unlabeled_value: Hashable = None,
        out: str | Path | None = None,
        random_state: int | None = defaults.SEED,
        device: str | None = None,
        cache: bool = True,
        views: int = defaults.VIEWS,
        workers: int = 1,
        max_params: int | None = None,
        max_latency_ms: float | None = None,
        license: Sequence[str] | str | None = None,
        ensemble: bool = False,
        cautious: bool = False,
        experience: bool = False,
        progress: bool = False,
    ) -> None:
        self.modality = modality
        self.metric = metric
        self.budget_seconds = budget_seconds
        self.trials = trials
        self.backbones = backbones
        self.adaptations = adaptations
        self.weights = weights
        self.download = download
        self.permissive_only = permissive_only
        self.labels_per_class = labels_per_class
        self.unlabeled = unlabeled
        self.unlabeled_value = unlabeled_value
        self.out = out
        self.random_state = random_state
        self.device = device
        self.cache = cache
        self.views = views
        self.workers = workers
        self.max_params = max_params
        self.max_latency_ms = max_latency_ms
        self.license = license
        self.ensemble = ensemble
        self.cautious = cautious
        self.experience = experience
        self.progress = progress

    def fit(
        self,
        X: Any,
        y: Sequence[Hashable],
        groups: Sequence[Hashable] | None = None,
        X_holdout: Any = None,
        y_holdout: Sequence[Hashable] | None = None,
        X_unlabeled: Any = None,
        source: Any = None,
    ) -> "TransferClassifier":
        """Search on samples and labels; part of them is held out unless a holdout is given."""
        parameters = self.get_params(deep=False)
        # None means "any seed will do" in scikit-learn.
        seed = parameters.pop("random_state")
        parameters["seed"] = defaults.SEED if seed is None else seed
        self.model_: FittedModel = search(
            X,
            y,
            groups=groups,
            X_holdout=X_holdout,
            y_holdout=y_holdout,
            X_unlabeled=X_unlabeled,
            source_data=source,
            **parameters,
        )
        self.classes_ = self.model_.labels_of(np.eye(len(self.model_.classes)))
        self.best_config_ = self.model_.best_config
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each sample, shape (n_samples,)."""
        check_is_fitted(self, "model_")
        return self.model_.predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes), columns in order of `classes_`."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(X)
