"""Multinomial logistic regression along a path of strengths, solved in the span of the data."""

import functools
import warnings
from typing import Any

import numpy as np

_ABSENT_CLASS_BIAS = -30.0


_MOST_REDUCED = 4_000  # samples; their Gram matrix and its eigenvectors must stay cheap


@functools.cache
def _one_thread() -> Any:
    """Return a limiter of threads: matrices this small lose several times over with two."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class LogisticPath:
    """Solve for one strength after another, each warm-started from the last.

    With fewer samples than features the solution lies in the span of the samples, so solving
    there is exact and cheaper.

    Args:
        X: Shape (n_samples, n_features), dense or CSR.
        y: Class codes of shape (n_samples,).
        n_classes: Number of classes; those absent from `y` are predicted with odds near zero.
        class_weights: Shape (n_classes,), or None.
    """

    def __init__(
        self, X: Any, y: np.ndarray, n_classes: int, class_weights: np.ndarray | None = None
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        self._back: Any = None
        self._reduced = self._reduce(X)
        self.y, self.n_classes, self.n_features = y, n_classes, X.shape[1]
        self.classes = np.unique(y)
        self._sample_weight = None if class_weights is None else np.asarray(class_weights)[y]
        self._model = LogisticRegression(warm_start=True, tol=3e-4, max_iter=300, solver="lbfgs")

    def _reduce(self, X: Any) -> Any:
        """Return coordinates in an orthonormal basis of the rows' span when that is smaller."""
        if X.shape[0] >= X.shape[1] or X.shape[0] > _MOST_REDUCED:
            return X if hasattr(X, "toarray") else np.ascontiguousarray(X, np.float32)
        gram = X @ X.T
        gram = np.asarray(gram.toarray() if hasattr(gram, "toarray") else gram, np.float64)
        values, vectors = np.linalg.eigh(gram)
        keep = values > 1e-8 * max(float(values[-1]), 1e-30)
        singular, vectors = np.sqrt(values[keep]), vectors[:, keep]
        self._back = (X.T @ (vectors / singular)).astype(np.float32)  # (n_features, rank)
        return np.ascontiguousarray(vectors * singular, np.float32)

    def solve(self, inverse_strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Fit for one inverse strength C; returns weight (n_classes, n_features) and bias."""
        weight = np.zeros((self.n_classes, self.n_features), np.float32)
        bias = np.full(self.n_classes, _ABSENT_CLASS_BIAS, np.float32)
        if len(self.classes) == 1:
            bias[self.classes] = 0.0
            return weight, bias
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(), _one_thread().limit(limits=1):
            # A point of the path that stops at max_iter is still a usable candidate and start.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.C = inverse_strength
            self._model.fit(self._reduced, self.y, sample_weight=self._sample_weight)
        coef, intercept = self._model.coef_, self._model.intercept_
        if len(self.classes) == 2:  # scikit-learn keeps one row for two classes
            coef = np.concatenate([-coef / 2, coef / 2])
            intercept = np.concatenate([-intercept / 2, intercept / 2])
        weight[self.classes] = coef if self._back is None else coef @ self._back.T
        bias[self.classes] = intercept
        return weight, bias

    def loss(self) -> float:
        """Return the mean training loss of the last solution, nats."""
        if len(self.classes) == 1:
            return 0.0
        probabilities = self._model.predict_proba(self._reduced)
        own = probabilities[np.arange(len(self.y)), np.searchsorted(self.classes, self.y)]
        return float(-np.log(own.clip(1e-12)).mean())

    def warm_start(self) -> dict[str, np.ndarray]:
        """Return what the next strength starts from."""
        if not hasattr(self._model, "coef_"):
            return {"coef": np.zeros((0, 0), np.float32), "intercept": np.zeros(0, np.float32)}
        return {"coef": self._model.coef_.copy(), "intercept": self._model.intercept_.copy()}

    def resume(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Continue from an earlier `warm_start`."""
        if coef.size:
            self._model.coef_, self._model.intercept_ = coef, intercept
            self._model.classes_ = self.classes
