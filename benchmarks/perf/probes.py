"""Time a panel of 64 logistic probes against 64 fits by scikit-learn.

    python benchmarks/perf/probes.py --seed 0 --out probes.json

Each solver gets the better of one and two threads, each time the best of `--repeats`, alternating.
scikit-learn fits float32 features at its default tolerance, in three ways: "warm" from strong to
weak, each fit warm-started from the last; "cold", each fit from zero (every eighth, times eight);
and with `--accurate` warm in float64 at tolerance 1e-6, which is about as accurate as the panel.
Decision values are compared with two references, at `--references` strengths that always include
the weakest regularisation: "tolerance 1e-8", scikit-learn in float64, lbfgs, then newton-cg; and
"converged", Newton's method in float64 from there until a step no longer moves a value by 1e-8 of
the largest. scikit-learn's tolerance bounds the gradient, and where regularisation is weak that
leaves it further from the converged solution than the bar of 1e-4 ("tolerance 1e-8" is listed as a
solver too). The mean over classes is taken off each sample's values, as softmax ignores it.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from autotl.adapt.logistic import solve_logistic_panel

N_STRENGTHS, TOL = 64, 3e-5
MANY_CLASSES = 50  # two references only from here on
RANGES = {"product": (-3, 1), "wide": (-4, 2)}  # log10 of the inverse strengths


def embeddings(n: int, d: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw overlapping Gaussian clusters with a decaying spectrum, standardised."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    spectrum = (1.0 + np.arange(d)) ** -0.5
    y = rng.permutation(np.arange(n) % n_classes)
    centres = 0.35 * rng.normal(size=(n_classes, d))
    X = ((centres[y] + rng.normal(size=(n, d))) * spectrum) @ basis.T
    return ((X - X.mean(0)) / X.std(0)).astype(np.float32), y


def fit_panel(X: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, ...]:
    """Solve the panel; returns weights and biases."""
    panel = solve_logistic_panel(X, y, int(y.max()) + 1, strengths, tol=TOL)
    return panel.weights, panel.biases


def fit_one_by_one(X: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, ...]:
    """Fit strengths in turn with scikit-learn; returns weights and biases."""
    model, found = LogisticRegression(warm_start=True, max_iter=1000), []
    for strength in strengths:
        found.append(model.set_params(C=strength).fit(X, y))
        found[-1] = (model.coef_.copy(), model.intercept_.copy())
    return np.stack([w for w, _ in found]), np.stack([b for _, b in found])


def fit_cold(X: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> float:
    """Return the seconds of all fits from zero, extrapolated from every eighth."""
    start = time.perf_counter()
    for strength in strengths[::8]:
        LogisticRegression(C=strength, max_iter=1000).fit(X, y)
    return (time.perf_counter() - start) * len(strengths) / len(strengths[::8])


def fit_accurately(X: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> float:
    """Return the seconds of warm-started fits in float64 at tolerance 1e-6."""
    exact, start = X.astype(np.float64), time.perf_counter()
    model = LogisticRegression(warm_start=True, max_iter=10_000, tol=1e-6)
    for strength in strengths:
        model.set_params(C=strength).fit(exact, y)
    return time.perf_counter() - start


def reference(X: np.ndarray, y: np.ndarray, strength: float) -> dict[str, np.ndarray]:
    """Return decision values of scikit-learn at tolerance 1e-8, and of the converged solution."""
    model = LogisticRegression(C=strength, warm_start=True, max_iter=20_000, tol=1e-8)
    exact = X.astype(np.float64)
    model.fit(exact, y)
    model.set_params(solver="newton-cg").fit(exact, y)
    values = model.decision_function(exact)
    values = values - values.mean(axis=1, keepdims=True)
    return {"tolerance 1e-8": values, "converged": converge(exact, y, strength, model)}


def converge(X: np.ndarray, y: np.ndarray, strength: float, model: Any) -> np.ndarray:
    """Return decision values of the minimum, by Newton's method from a fitted model."""
    Z, W = rotate(X, model)
    truth = np.eye(len(W))[y]

    def objective(W: np.ndarray) -> float:
        own = log_softmax(Z @ W.T, axis=1)[np.arange(len(y)), y]
        return float(0.5 * (W[:, :-1] ** 2).sum() - strength * own.sum())

    for _ in range(60):
        values, before = Z @ W.T, objective(W)
        step = newton_step(Z, W, softmax(values, axis=1), truth, strength)
        if np.abs(Z @ step.T).max() < 1e-8 * np.abs(values).max():
            values = values + Z @ step.T
            return np.asarray(values - values.mean(axis=1, keepdims=True))
        while objective(W + step) > before * (1 + 1e-12) and np.abs(step).max() > 1e-12:
            step = step / 2
        W = W + step
    raise RuntimeError(f"The reference at C {strength} did not converge in 60 steps.")


def newton_step(
    Z: np.ndarray, W: np.ndarray, P: np.ndarray, truth: np.ndarray, strength: float
) -> np.ndarray:
    """Return Newton's step from weights whose probabilities are `P`."""
    penalty = np.append(np.ones(Z.shape[1] - 1), 0.0)
    gradient = strength * (P - truth).T @ Z + penalty * W
    spread = (P * (1 - P)).mean(axis=0)[:, None] * (Z**2).sum(axis=0)
    inverse = 1 / (strength * spread + penalty).ravel()

    def hessian(v: np.ndarray) -> np.ndarray:
        v = v.reshape(W.shape)
        moved = P * (Z @ v.T)
        moved -= P * moved.sum(axis=1, keepdims=True)
        return np.ravel(strength * moved.T @ Z + penalty * v)

    shape = (W.size, W.size)
    bend, precondition = (
        LinearOperator(shape, product) for product in (hessian, lambda v: np.ravel(v) * inverse)
    )
    step, _ = cg(bend, -gradient.ravel(), rtol=1e-5, maxiter=3000, M=precondition)
    return np.asarray(step).reshape(W.shape)


def rotate(X: np.ndarray, model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs in principal axes with a column of ones, and a model's weights there."""
    mean = X.mean(axis=0)
    _, basis = np.linalg.eigh((X - mean).T @ (X - mean))
    W = np.column_stack([model.coef_ @ basis, model.intercept_ + model.coef_ @ mean])
    return np.column_stack([(X - mean) @ basis, np.ones(len(X))]), W - W.mean(axis=0)


def decide(X: np.ndarray, found: tuple[np.ndarray, ...], index: int) -> np.ndarray:
    """Return decision values at one strength, less their mean over classes."""
    values = X @ found[0][index].T + found[1][index]
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def disagreements(
    X: np.ndarray, y: np.ndarray, strengths: np.ndarray, found: Any, n_references: int
) -> dict[str, dict[str, dict[int, float]]]:
    """Return the largest error over the largest value: of reference, solver, index."""
    table: dict[str, dict[str, dict[int, float]]] = {}
    for i in np.linspace(2, len(strengths) - 1, n_references).round().astype(int).tolist():
        expected = reference(X, y, strengths[i])
        solvers = {name: decide(X, panel, i) for name, panel in found.items()}
        solvers["tolerance 1e-8"] = expected["tolerance 1e-8"]
        for against, truth in expected.items():
            for name, values in solvers.items():
                error = float(np.abs(values - truth).max() / np.abs(truth).max())
                table.setdefault(against, {}).setdefault(name, {})[i] = error
    return table


def compare(X: np.ndarray, y: np.ndarray, log_range: tuple[int, int], args: Any) -> dict[str, Any]:
    """Time both on one set of features and compare decision values."""
    strengths = np.logspace(*log_range, N_STRENGTHS)
    seconds: dict[str, dict[int, float]] = {"panel": {}, "scikit_learn": {}}
    found = {}
    for threads in args.threads * args.repeats:
        for name, fit in (("panel", fit_panel), ("scikit_learn", fit_one_by_one)):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                start = time.perf_counter()
                found[name] = fit(X, y, strengths)
                took = time.perf_counter() - start
            seconds[name][threads] = min(took, seconds[name].get(threads, np.inf))
    ours = min(seconds["panel"].values())
    ratios = {"warm": min(seconds["scikit_learn"].values()) / ours}
    with threadpool_limits(min(seconds["scikit_learn"], key=seconds["scikit_learn"].__getitem__)):
        ratios["cold"] = fit_cold(X, y, strengths) / ours
        if args.accurate:
            ratios["accurate"] = fit_accurately(X, y, strengths) / ours
    print(log_range, ratios, seconds, flush=True)  # the references take longer than the fits
    n_references = args.references if y.max() < MANY_CLASSES else min(args.references, 2)
    return {
        "log10_range": log_range,
        "seconds": seconds,
        "ratios": ratios,
        "disagreement": disagreements(X, y, strengths, found, n_references),
    }


def main() -> None:
    """Print ratios and agreement; write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("probes.json"))
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--references", type=int, default=4, help="strengths checked; two of many classes"
    )
    parser.add_argument("--ranges", nargs="+", default=list(RANGES), choices=list(RANGES))
    parser.add_argument("--accurate", action="store_true", help="time accurate fits too; slow")
    parser.add_argument("--features", type=Path, nargs="*", default=[], help=".npz with X and y")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = {f"clusters, C {c}": embeddings(2000, 768, c, args.seed) for c in args.classes}
    for path in args.features:
        with np.load(path) as arrays:
            data[path.stem] = arrays["X"].astype(np.float32), arrays["y"].astype(np.int64)
    results: dict[str, Any] = {"machine": describe(), "seed": args.seed, "tol": TOL, "runs": []}
    for name, (X, y) in data.items():
        for which in args.ranges:
            run = compare(X, y, RANGES[which], args)
            results["runs"].append({"data": name, "shape": X.shape, "range": which, **run})
            print(name, which, flush=True)
            for against, solvers in run["disagreement"].items():
                worst = {k: f"{max(v.values()):.1e}" for k, v in solvers.items()}
                print("  worst against", against, worst, flush=True)
            args.out.write_text(json.dumps(results, indent=1))
    print(json.dumps(results["machine"]))


if __name__ == "__main__":
    main()
