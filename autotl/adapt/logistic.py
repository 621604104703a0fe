"""Multinomial logistic regression for a panel of regularisation strengths at once."""

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.adapt.newton import SoftmaxRegression, Solution

_ABSENT_CLASS_BIAS = -30.0
_NO_WEIGHT = 1e-6  # of the greatest; such samples are left out, as nothing may be divided by them
_MOST_ROTATED = 4_000  # samples or features; their Gram matrix and eigenvectors must stay cheap
_FEW = 16  # strengths solved directly; more are foreseen from those at nodes
_NODES = (4, 7, 13, 25, 49)  # Chebyshev-Lobatto points: each set contains the one before


@dataclass(frozen=True, kw_only=True)
class LogisticPanel:
    """Linear classifiers, one for each strength.

    Args:
        weights: Shape (n_strengths, n_classes, n_features), float32.
        biases: Shape (n_strengths, n_classes), float32.
        losses: Mean training losses of shape (n_strengths,), nats.
    """

    weights: np.ndarray
    biases: np.ndarray
    losses: np.ndarray


def solve_logistic_panel(
    X: Any,
    y: np.ndarray,
    n_classes: int,
    inverse_strengths: Any,
    *,
    class_weights: np.ndarray | None = None,
    sample_weights: np.ndarray | None = None,
    tol: float = 1e-3,
) -> LogisticPanel:
    """Minimise `C * sum_i w_i * logloss_i + 0.5 * ||W||^2` for every inverse strength C.

    The objective is scikit-learn's; the bias is not penalised. The path of solutions is smooth in
    log C, so a few strengths predict the others. The same call gives the same bits.

    Args:
        X: Shape (n_samples, n_features), dense or CSR.
        y: Class codes of shape (n_samples,).
        n_classes: Number of classes; those absent from `y` are predicted with odds near zero.
        inverse_strengths: Values of C, positive, in any order, repeats allowed.
        class_weights: Shape (n_classes,), or None.
        sample_weights: Shape (n_samples,), or None; in place of `class_weights`.
        tol: Error of the decision values to stop at, relative to the largest, as estimated by
            the next step; the error that remains may be some times larger.

    Raises:
        ValueError: A strength is not positive, or there is none.
    """
    strengths = np.asarray(inverse_strengths, np.float64)
    if strengths.ndim != 1 or not len(strengths) or not (strengths > 0).all():
        raise ValueError(
            f"inverse_strengths are {inverse_strengths!r}; expected at least one, all positive."
        )
    if sample_weights is not None:
        sample_weights = np.asarray(sample_weights, np.float64)
        counting = sample_weights > _NO_WEIGHT * sample_weights.max()
        X, y, sample_weights = X[counting], y[counting], sample_weights[counting]
    classes, codes = np.unique(y, return_inverse=True)
    weights = np.zeros((len(strengths), n_classes, X.shape[1]), np.float32)
    biases = np.full((len(strengths), n_classes), _ABSENT_CLASS_BIAS, np.float32)
    losses = np.zeros(len(strengths))
    if len(classes) == 1:
        biases[:, classes] = 0.0
    else:
        own = sample_weights
        if class_weights is not None:
            own = np.asarray(class_weights, np.float64)[y]
        rotated = min(X.shape) <= _MOST_ROTATED and not (_is_sparse(X) and len(y) > _MOST_ROTATED)
        solve = _solve_rotated if rotated else _solve_in_turn
        distinct, order = np.unique(strengths, return_inverse=True)
        W, b, loss = solve(X, codes, own, distinct, tol)
        weights[:, classes], biases[:, classes] = W[order], b[order]
        losses = loss[order]
    return LogisticPanel(weights=weights, biases=biases, losses=losses)


class LogisticPath:
    """Solve for one strength at a time: a panel of one.

    Args:
        X: Shape (n_samples, n_features), dense or CSR.
        y: Class codes of shape (n_samples,).
        n_classes: Number of classes.
        class_weights: Shape (n_classes,), or None.
    """

    def __init__(
        self, X: Any, y: np.ndarray, n_classes: int, class_weights: np.ndarray | None = None
    ) -> None:
        self._problem = X, y, n_classes
        self._class_weights = class_weights

    def solve(self, inverse_strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weight (n_classes, n_features) and bias (n_classes,)."""
        panel = solve_logistic_panel(
            *self._problem, [inverse_strength], class_weights=self._class_weights
        )
        return panel.weights[0], panel.biases[0]


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def _solve_rotated(
    X: Any, y: np.ndarray, sample_weights: np.ndarray | None, strengths: np.ndarray, tol: float
) -> _Arrays:
    Z, back, mean = _rotate(X, sample_weights)
    # With two classes scikit-learn penalises the difference of their rows, not both rows.
    n_classes = int(y.max()) + 1
    scaled = strengths / 2 if n_classes == 2 else strengths
    solved = _follow(SoftmaxRegression(Z, y, sample_weights, tol), scaled)
    rank = Z.shape[1]
    W, b = solved.W.numpy()[:, :, :rank], solved.W.numpy()[:, :, rank]
    weights = (W.reshape(-1, rank) @ back.T).reshape(*W.shape[:2], -1)
    return weights, b - weights @ mean, solved.losses


def _rotate(X: Any, sample_weights: np.ndarray | None) -> _Arrays:
    """Return centred inputs in their principal basis, the basis (n_features, rank) and the mean.

    With fewer samples than features the solution lies in the span of the samples: solving there
    is exact and cheaper.
    """
    n, n_features = X.shape
    share = np.full(n, 1 / n) if sample_weights is None else sample_weights / sample_weights.sum()
    mean = np.asarray(share @ X, np.float64).ravel().astype(np.float32)
    if n_features < n:
        dense = np.asarray(X.toarray() if _is_sparse(X) else X, np.float32) - mean
        scaled = dense if sample_weights is None else dense * np.sqrt(share * n)[:, None]
        _, basis = _eigh((scaled.T @ scaled).astype(np.float32))
        return dense @ basis, basis, mean
    gram = X @ X.T
    gram = np.asarray(gram.toarray() if _is_sparse(gram) else gram, np.float64)
    along = gram @ share
    gram = gram - along[:, None] - along[None, :] + share @ along
    values, vectors = _eigh(gram)
    keep = values > 1e-8 * max(float(values[-1]), 1e-30)
    singular, vectors = np.sqrt(values[keep]), vectors[:, keep]
    unit = vectors / singular
    basis = (X.T @ unit - np.outer(mean, unit.sum(axis=0))).astype(np.float32)
    return (vectors * singular).astype(np.float32), basis, mean


def _follow(problem: SoftmaxRegression, strengths: np.ndarray) -> Solution:
    """Solve for ascending strengths, from coarse to fine."""
    wanted = np.log(strengths)
    levels = _levels(wanted)
    solved = _chain(problem, np.exp(levels[0]))
    for level in levels[1:]:
        start = _interpolate(solved, level)
        found = problem.solve(np.exp(level), start.W)
        # Doubling the nodes would square the error of interpolation were the path analytic far
        # around; errors measured on 4 to 49 nodes fall by this power or a higher one.
        foreseen = problem.distance(start.W, found.W) ** 1.5 <= problem.tol
        solved = solved.join(found)
        if foreseen and len(strengths) > _FEW:
            return _interpolate(solved, wanted)
    if len(strengths) > _FEW:
        return problem.solve(strengths, _interpolate(solved, wanted).W)
    order = np.argsort(solved.strengths, kind="stable")
    return Solution(solved.strengths[order], solved.W[order], solved.losses[order])


def _chain(problem: SoftmaxRegression, strengths: np.ndarray) -> Solution:
    """Solve from strong to weak regularisation, each from the one before.

    From zero, the first directions of many classes overshoot far where regularisation is weak.
    """
    found = [problem.solve(strengths[:1])]
    for i in range(1, len(strengths)):
        found.append(problem.solve(strengths[i : i + 1], found[-1].W))
    return functools.reduce(Solution.join, found)


def _levels(log_strengths: np.ndarray) -> list[np.ndarray]:
    """Return log strengths to solve for, coarse to fine; many are foreseen from nodes."""
    n, low, high = len(log_strengths), log_strengths[0], log_strengths[-1]
    if n <= 3:
        return [log_strengths]
    if n <= _FEW:
        first = [0, n // 2, n - 1]
        return [log_strengths[first], np.delete(log_strengths, first)]
    levels = []
    for i, size in enumerate(_NODES):
        nodes = (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * np.arange(size) / (size - 1))
        levels.append(nodes[1::2] if i else nodes)
    return levels


def _interpolate(solved: Solution, wanted: np.ndarray) -> Solution:
    """Return solutions at log strengths from the polynomial through the solved ones.

    Direction and log norm are interpolated apart, so that small and large weights count alike.
    """
    import torch

    known = np.log(solved.strengths)
    gaps = (known[:, None] - known[None, :]) * (4 / np.ptp(known))
    np.fill_diagonal(gaps, 1.0)
    away = wanted[:, None] - known[None, :]
    hit = np.abs(away) < 1e-9
    ratios = (1 / gaps.prod(axis=1)) / np.where(hit, 1.0, away)
    exact = hit.any(axis=1)
    ratios[exact] = hit[exact]
    share = torch.from_numpy(ratios / ratios.sum(axis=1, keepdims=True)).float()
    norms = solved.W.flatten(1).norm(dim=1).clamp(min=1e-30)
    mixed = share @ (solved.W.flatten(1) / norms[:, None])
    scaled: torch.Tensor = mixed * torch.exp(share @ norms.log())[:, None]
    losses = np.exp(share.double().numpy() @ np.log(solved.losses.clip(1e-300)))
    return Solution(np.exp(wanted), scaled.view(-1, *solved.W.shape[1:]), losses)


def _solve_in_turn(
    X: Any, y: np.ndarray, sample_weights: np.ndarray | None, strengths: np.ndarray, _tol: float
) -> _Arrays:
    """Solve one strength after another: too large or sparse to rotate."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    model = LogisticRegression(warm_start=True, tol=3e-4, max_iter=300, solver="lbfgs")
    weights, biases, losses = [], [], []
    for strength in strengths:
        with warnings.catch_warnings(), one_thread().limit(limits=1):
            # A point of the path that stops at max_iter is still a usable candidate and start.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.C = strength
            model.fit(X, y, sample_weight=sample_weights)
        weight, bias = model.coef_, model.intercept_
        if len(bias) == 1:  # scikit-learn keeps one row for two classes
            weight = np.concatenate([-weight / 2, weight / 2])
            bias = np.concatenate([-bias / 2, bias / 2])
        weights.append(weight.astype(np.float32))
        biases.append(bias.astype(np.float32))
        losses.append(float(log_loss(y, model.predict_proba(X))))
    return np.stack(weights), np.stack(biases), np.array(losses)


@functools.cache
def one_thread() -> Any:
    """Return a limiter of threads: eigenproblems of this size lose several times over with two."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _eigh(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh

    with one_thread().limit(limits=1):
        values, vectors = eigh(gram, driver="evd", check_finite=False, overwrite_a=True)
    return values, np.ascontiguousarray(vectors)


def _is_sparse(X: Any) -> bool:
    return hasattr(X, "toarray")
