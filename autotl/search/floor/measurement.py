"""The floor: the best model without transfer, chosen by cross-validation inside train."""

import time
import warnings
from typing import Any

import numpy as np

from autotl.adapt.raw import LOGISTIC, MAJORITY, NEIGHBOURS, RBF, RawModel
from autotl.data import Fold, Task
from autotl.result.predictors import TransferPredictor
from autotl.search.budget import Budget, OutOfTime
from autotl.search.floor.baselines import MOST_SAMPLES, Baseline, WatchedRows, capped
from autotl.search.progress import Progress
from autotl.specs import RawFeatureSpec, SavedState

__all__ = [
    "FLOOR_SHARE",
    "NO_TIME",
    "Baseline",
    "FloorMeasurement",
    "class_weights",
    "validation_labels",
    "validation_rows",
]

FLOOR_SHARE = 0.1  # of the budget
_INNER_FOLDS = 3
NO_TIME = "it does not fit into a tenth of the budget"


def class_weights(task: Task) -> np.ndarray | None:
    """Weigh classes inversely to their share when the metric is balanced accuracy."""
    if task.metric.kind != "balanced_accuracy":
        return None
    counts = np.bincount(task.y[task.split.train_validation], minlength=len(task.classes))
    weights: np.ndarray = counts.sum() / (len(counts) * counts.clip(1))
    return weights


class FloorMeasurement:
    """Measure the baselines of a task, cheapest first, within a share of the budget.

    Args:
        task: The task.
        budget: The clock.
        progress: Where to say what is happening.
    """

    def __init__(self, task: Task, budget: Budget, progress: Progress) -> None:
        self.task, self.budget, self.progress = task, budget, progress
        self.n_classes = len(task.classes)
        self.weights = class_weights(task)
        self.interrupted = False
        self.notes = self._capping_notes()
        self._matrices: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._final: dict[str, tuple[SavedState | None, Any, Any]] = {}
        self._extract_seconds: dict[str, float] = {}

    def run(self) -> list[Baseline]:
        """Return all baselines, the chosen floor first, those skipped last."""
        baselines = self._list()
        self._warm_up()
        limit = self.budget.elapsed() + FLOOR_SHARE * self.budget.seconds
        for i, baseline in enumerate(baselines):
            try:
                self.progress.advance(baseline.name, i, len(baselines))
                self._measure_within(baseline, baselines[1:i], limit)
            except KeyboardInterrupt:
                self.interrupted = True
                if baseline.feature is None:
                    self._measure(baseline, float("inf"))
            if self.interrupted and baseline.proba is None:
                baseline.state, baseline.reason = "skipped", "interrupted"
        self._matrices.clear()
        order = {"complete": 0, "skipped": 1, "failed": 2}
        return sorted(baselines, key=lambda b: (order[b.state], -b.choice))

    def _warm_up(self) -> None:
        """Load scikit-learn now, so that no baseline pays for it."""
        import sklearn.linear_model
        import sklearn.model_selection  # noqa: F401  # loaded, not used

        codes = np.arange(self.n_classes)
        self.task.metric(codes, np.eye(self.n_classes))

    def _measure_within(self, baseline: Baseline, done: list[Baseline], limit: float) -> None:
        """Measure a baseline unless it would outlast its share of the budget.

        The majority class costs nothing and is always measured; so is, within three shares, the
        cheapest feature with logistic regression: a floor of the majority class alone says little.
        """
        if self.interrupted and baseline.feature is not None:
            return
        if baseline.feature is None:
            limit = float("inf")
        elif baseline.classifier is LOGISTIC and not any(b.classifier is LOGISTIC for b in done):
            limit += 2 * FLOOR_SHARE * self.budget.seconds
        elif self.budget.elapsed() + self._expected_seconds(baseline, done) > limit:
            baseline.state, baseline.reason = "skipped", NO_TIME
            return
        self._measure(baseline, limit)

    def _expected_seconds(self, baseline: Baseline, done: list[Baseline]) -> float:
        """Guess from the same classifier on another feature, else from the slowest so far."""
        same = [b.seconds for b in done if b.classifier is baseline.classifier]
        return max(same or [b.seconds for b in done], default=0.0)

    def _list(self) -> list[Baseline]:
        features = sorted(self.task.modality.raw_features, key=lambda f: f.cost)
        rest = [
            Baseline(feature=f, classifier=c)
            for c in (NEIGHBOURS, LOGISTIC, RBF)
            for f in features
        ]
        return [Baseline(feature=None, classifier=MAJORITY), *rest]

    def _measure(self, baseline: Baseline, limit: float) -> None:
        started = time.perf_counter()
        try:
            self._check_size(baseline)
            if baseline.state == "complete":
                with self.budget.stage(limit):
                    if baseline.network is not None:
                        self._choose_network(baseline)
                    elif baseline.feature is not None:
                        self._choose_setting(baseline)
                    self._validate(baseline)
                # One fit on everything takes no longer than the whole path on one part.
                n_parts = max(_INNER_FOLDS, len(self.task.split.folds))
                baseline.fit_seconds = (time.perf_counter() - started) / n_parts
        except OutOfTime:
            baseline.state, baseline.reason = "skipped", NO_TIME
        except Exception as error:  # noqa: BLE001  # raw features are plugin code
            baseline.state, baseline.reason = "failed", f"{type(error).__name__}: {error}"
        baseline.seconds = time.perf_counter() - started

    def _check_size(self, baseline: Baseline) -> None:
        limit = baseline.classifier.max_samples
        n = len(self.task.split.train_validation)
        if limit is not None and n > limit:
            baseline.state = "skipped"
            baseline.reason = f"{n} training samples; too slow beyond {limit}"
        elif baseline.classifier in (NEIGHBOURS, RBF) and self._sparse(baseline.feature):
            baseline.state, baseline.reason = "skipped", "needs dense features"

    def _train_rows(self, fold: int) -> np.ndarray:
        return capped(self.task.split.folds[fold].train)

    def _final_rows(self) -> np.ndarray:
        return capped(self.task.split.train_validation)

    def _capping_notes(self) -> list[str]:
        n_samples = len(self.task.split.train_validation)
        if n_samples <= MOST_SAMPLES:
            return []
        return [f"The floor was fitted on {MOST_SAMPLES} of {n_samples} samples."]

    def _matrix(self, feature: RawFeatureSpec | None, fold: int) -> tuple[Any, Any]:
        """Return the feature's matrices of a fold's train and validation rows."""
        rows, validation_part = self._train_rows(fold), self.task.split.folds[fold].validation
        if feature is None:
            return self._extract(None, rows, validation_part)[1:]
        key = (feature.name, fold)
        if key not in self._matrices:
            started = time.perf_counter()
            self._matrices[key] = self._extract(feature, rows, validation_part)[1:]
            seconds = time.perf_counter() - started
            self._extract_seconds[feature.name] = seconds / (len(rows) + len(validation_part))
        return self._matrices[key]

    def _extract(
        self, feature: RawFeatureSpec | None, rows: np.ndarray, others: np.ndarray
    ) -> tuple[SavedState | None, Any, Any]:
        """Return what a feature learns from some rows, and its matrices of these and others."""
        if feature is None:
            return None, np.zeros((len(rows), 0)), np.zeros((len(others), 0))
        known = WatchedRows(self.task, rows, self.budget)
        state = feature.fit(known)
        unknown = WatchedRows(self.task, others, self.budget)
        return state, feature.transform(known, state), feature.transform(unknown, state)

    def _sparse(self, feature: RawFeatureSpec | None) -> bool:
        return hasattr(self._matrix(feature, 0)[0], "toarray")

    def _choose_setting(self, baseline: Baseline) -> None:
        """Pick the setting by cross-validation: the task's folds, or folds inside train."""
        parts = self._choice_parts(baseline.feature)
        truth = np.concatenate([y_out for _, _, _, y_out in parts])
        classifier = baseline.classifier
        fits = [
            iter(classifier.fit(X, y, self.n_classes, classifier.settings, self.weights))
            for X, y, _, _ in parts
        ]
        best: np.ndarray | None = None
        for setting in classifier.settings:
            self.budget.check()
            proba = np.concatenate(
                [
                    classifier.predict(X_out, next(fit))
                    for fit, (_, _, X_out, _) in zip(fits, parts, strict=True)
                ]
            )
            score = float(self.task.metric(truth, proba))
            if score < baseline.choice:
                break  # past the best of the path; what follows is slower and worse
            if score > baseline.choice:
                baseline.setting, baseline.choice, best = setting, score, proba
        if len(self.task.split.folds) > 1:  # the choice was made on the validation rows
            baseline.proba, baseline.validation = best, baseline.choice

    def _choice_parts(
        self, feature: RawFeatureSpec | None
    ) -> list[tuple[Any, np.ndarray, Any, np.ndarray]]:
        folds = self.task.split.folds
        if len(folds) > 1:
            parts = []
            for i, fold in enumerate(folds):
                X, X_out = self._matrix(feature, i)
                y_out = self.task.y[fold.validation]
                parts.append((X, self.task.y[self._train_rows(i)], X_out, y_out))
            return parts
        X, y = self._matrix(feature, 0)[0], self.task.y[self._train_rows(0)]
        return [(X[a], y[a], X[b], y[b]) for a, b in self._inner_positions()]

    def _inner_positions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Divide the training rows of the first fold; returns positions among them."""
        from sklearn.model_selection import StratifiedGroupKFold

        rows = self._train_rows(0)
        y, groups = self.task.y[rows], self.task.groups[rows]
        n_splits = min(_INNER_FOLDS, len(np.unique(groups)))
        if n_splits < 2:  # one group: nothing but its samples to divide
            groups, n_splits = np.arange(len(rows)), _INNER_FOLDS
        inner = StratifiedGroupKFold(n_splits=n_splits)
        with warnings.catch_warnings():
            # A class with fewer samples than folds is missing from some: that is all right here.
            warnings.simplefilter("ignore", UserWarning)
            return list(inner.split(np.zeros(len(y)), y, groups))

    def _choose_network(self, baseline: Baseline) -> None:
        """Measure a network by cross-validation, on the rows that settings are chosen on."""
        folds, rows = self.task.split.folds, self._train_rows(0)
        given = len(folds) > 1
        if not given:
            folds = tuple(Fold(rows[a], rows[b]) for a, b in self._inner_positions())
        proba = np.concatenate([self.on_split(baseline, fold) for fold in folds])
        truth = np.concatenate([self.task.y[fold.validation] for fold in folds])
        baseline.choice = float(self.task.metric(truth, proba))
        if given:
            baseline.proba, baseline.validation = proba, baseline.choice

    def _validate(self, baseline: Baseline) -> None:
        if baseline.proba is not None:
            return
        folds = self.task.split.folds
        if baseline.network is not None:
            parts = [self.on_split(baseline, fold) for fold in folds]
        else:
            parts = []
            for i in range(len(folds)):
                X, X_out = self._matrix(baseline.feature, i)
                fitted = self._fit(baseline, X, self._train_rows(i))
                parts.append(baseline.classifier.predict(X_out, fitted))
        baseline.proba = np.concatenate(parts)
        baseline.validation = float(self.task.metric(validation_labels(self.task), baseline.proba))

    def admit(self, baseline: Baseline, baselines: list[Baseline], until: float) -> None:
        """Measure one more baseline, and place it first where cross-validation prefers it.

        Args:
            baseline: Not measured yet.
            baselines: The floor first; the new one becomes a member in any case.
            until: Seconds after the start when measuring must have ended.
        """
        self._measure(baseline, until)
        self._matrices.clear()
        complete = baseline.state == "complete"
        first = complete and baseline.choice > baselines[0].choice
        n_complete = sum(b.state == "complete" for b in baselines)
        baselines.insert(0 if first else n_complete, baseline)

    def on_split(self, baseline: Baseline, fold: Fold) -> np.ndarray:
        """Fit a baseline with its chosen setting on a split and return what it predicts there.

        Args:
            baseline: Measured before.
            fold: Any division of the task's rows.

        Returns:
            Probabilities of shape (n_validation, n_classes).
        """
        if baseline.network is not None:
            predictor = baseline.network.fit(fold.train)
            return baseline.network.predict(predictor, fold.validation)
        rows = capped(fold.train)
        _, X, X_out = self._extract(baseline.feature, rows, fold.validation)
        return baseline.classifier.predict(X_out, self._fit(baseline, X, rows))

    def _fit(self, baseline: Baseline, X: Any, rows: np.ndarray) -> Any:
        fits = baseline.classifier.fit(
            X, self.task.y[rows], self.n_classes, (baseline.setting,), self.weights
        )
        return next(iter(fits))

    def final(self, baseline: Baseline) -> RawModel | TransferPredictor:
        """Fit a baseline with its chosen setting on train and validation together."""
        if baseline.network is not None:
            return baseline.network.final()
        state, matrix, _ = self._final_matrices(baseline.feature)
        fitted = self._fit(baseline, matrix, self._final_rows())
        return RawModel(baseline.feature, state, baseline.classifier, fitted)

    def holdout_proba(self, baseline: Baseline, model: RawModel | TransferPredictor) -> np.ndarray:
        """Return a final model's probabilities of the holdout."""
        if isinstance(model, TransferPredictor):
            return model.predict_proba(self.task.samples.select(self.task.split.holdout))
        return model.classifier.predict(self._final_matrices(baseline.feature)[2], model.arrays)

    def _final_matrices(
        self, feature: RawFeatureSpec | None
    ) -> tuple[SavedState | None, Any, Any]:
        """Return a feature's state and its matrices of train and validation, and of holdout."""
        rows, holdout = self._final_rows(), self.task.split.holdout
        if feature is None:
            return self._extract(None, rows, holdout)
        if feature.name not in self._final:
            self._final[feature.name] = self._extract(feature, rows, holdout)
        return self._final[feature.name]

    def final_seconds(self, baseline: Baseline) -> float:
        """Return about how long `final` and `holdout_proba` will take."""
        if baseline.feature is None or baseline.feature.name in self._final:
            return baseline.fit_seconds
        return self.split_seconds(baseline) + self._seconds_of(
            baseline, len(self.task.split.holdout)
        )

    def split_seconds(self, baseline: Baseline) -> float:
        """Return about how long `on_split` will take."""
        return baseline.fit_seconds + self._seconds_of(baseline, len(self._final_rows()))

    def _seconds_of(self, baseline: Baseline, n_samples: int) -> float:
        if baseline.feature is None:
            return 0.0
        return self._extract_seconds.get(baseline.feature.name, 0.0) * n_samples


def validation_rows(task: Task) -> np.ndarray:
    """Return the validation rows of all folds, in the order that probabilities are kept."""
    return np.concatenate([f.validation for f in task.split.folds])


def validation_labels(task: Task) -> np.ndarray:
    """Return the class codes of `validation_rows`."""
    labels: np.ndarray = task.y[validation_rows(task)]
    return labels
