"""Time a panel of 64 logistic probes against 64 fits by scikit-learn.

    python benchmarks/perf/probes.py --seed 0 --out probes.json

Each solver gets the better of one and two threads, each time the best of `--repeats`, alternating.
scikit-learn fits float32 features at its default tolerance, in three ways: "warm" from strong to
weak, each fit warm-started from the last; "cold", each fit from zero (every eighth, times eight);
and with `--accurate` warm in float64 at tolerance 1e-6, which is about as accurate as the panel.
The reference of the decision values is scikit-learn in float64 at
tolerance 1e-8, lbfgs and then newton-cg: two runs of lbfgs alone at that tolerance differ by more
than 1e-4. The mean over classes is taken off each sample's values, as softmax ignores it.
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
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from autotl.adapt.logistic import solve_logistic_panel

N_STRENGTHS, TOL = 64, 3e-5
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


def reference(X: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """Return decision values of a fit that has converged."""
    model = LogisticRegression(C=strength, warm_start=True, max_iter=20_000, tol=1e-8)
    exact = X.astype(np.float64)
    model.fit(exact, y)
    model.set_params(solver="newton-cg").fit(exact, y)
    values: np.ndarray = model.decision_function(exact)
    return values - values.mean(axis=1, keepdims=True)


def disagreement(
    X: np.ndarray, found: tuple[np.ndarray, ...], index: int, expected: np.ndarray
) -> float:
    """Return the largest difference of decision values over the largest value."""
    values = X @ found[0][index].T + found[1][index]
    values = values - values.mean(axis=1, keepdims=True)
    return float(np.abs(values - expected).max() / np.abs(expected).max())


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
    picked = np.linspace(2, N_STRENGTHS - 1, args.references).round().astype(int)
    expected = {int(i): reference(X, y, strengths[i]) for i in picked}
    return {
        "log10_range": log_range,
        "seconds": seconds,
        "ratios": ratios,
        "disagreement": {
            name: {i: disagreement(X, values, i, e) for i, e in expected.items()}
            for name, values in found.items()
        },
    }


def main() -> None:
    """Print ratios and agreement; write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("probes.json"))
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--references", type=int, default=9, help="strengths checked")
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
            worst = {k: f"{max(v.values()):.1e}" for k, v in run["disagreement"].items()}
            print(name, which, run["ratios"], run["seconds"], "worst", worst, flush=True)
            args.out.write_text(json.dumps(results, indent=1))
    print(json.dumps(results["machine"]))


if __name__ == "__main__":
    main()
