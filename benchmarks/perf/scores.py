"""Time transferability scores, two of them against reference implementations.

    python benchmarks/perf/scores.py --seed 0 --out scores.json

LogME and the regularised H-score race implementations of their published formulas: one SVD of the
features per fit and a loop over classes; two covariances of embed_dim and `np.linalg.pinv`. "svd
of the gram" is the reference of LogME with the SVD of features' second moments instead, which is
faster where samples are many; "shrinkage by formula" that of the H-score with the formula of our
own in place of scikit-learn's shrinkage. Contestants alternate; ratios are of the medians over
rounds, each at its better number of threads. Then all scores are timed one by one, as rankers
call them: with float32 features and a decomposition that is computed once, which is a row of its
own, with each number of threads.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from machine import describe
from sklearn.covariance import ledoit_wolf
from threadpoolctl import threadpool_limits

from autotl.features import decompose
from autotl.registry import get_registry
from autotl.specs import ScoreInput, ScoreSpec
from autotl_scores.h_score import h_score
from autotl_scores.logme import logme

RACE, PANEL = (5000, 768, 100), (2000, 768, 10)
SLOW = ("nleep", "parc")  # outside the sum
Value = TypeVar("Value")


def embeddings(n: int, d: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw overlapping Gaussian clusters with a decaying spectrum."""
    rng = np.random.default_rng(seed)
    spectrum = (1.0 + np.arange(d)) ** -0.5
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    y = rng.permutation(np.arange(n) % n_classes)
    centres = 0.35 * rng.normal(size=(n_classes, d))
    return ((centres[y] + rng.normal(size=(n, d))) * spectrum) @ basis.T, y


def source_probs(features: np.ndarray, n_source: int, seed: int) -> np.ndarray:
    """Draw a source head and return its probabilities."""
    weights = np.random.default_rng(seed).normal(size=(features.shape[1], n_source))
    logits = features @ weights / 4
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probs / probs.sum(axis=1, keepdims=True)


def reference_logme(F: np.ndarray, y: np.ndarray, *, through_gram: bool = False) -> float:
    """Compute LogME from the SVD of the features, one class after another."""
    n, d = F.shape
    if through_gram:
        _, squares, right = np.linalg.svd(F.T @ F)
        s = np.sqrt(squares)
        left = F @ right.T / s
    else:
        left, s, _ = np.linalg.svd(F, full_matrices=False)
    sigma, evidences = s**2, []
    for label in np.unique(y):
        target = (y == label).astype(np.float64)
        x = left.T @ target
        rest = target @ target - x @ x
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (sigma / (sigma + t)).sum()
            m2 = (sigma * x**2 / (t + sigma) ** 2).sum()
            residual = (x**2 / (1 + sigma / t) ** 2).sum() + rest
            alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (residual + 1e-5)
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        log_determinant = np.log(alpha + beta * sigma).sum() + (d - len(sigma)) * np.log(alpha)
        fit = d * np.log(alpha) + n * np.log(beta / (2 * np.pi)) - log_determinant
        evidences.append((fit - beta * residual - alpha * m2) / (2 * n))
    return float(np.mean(evidences))


def reference_h_score(F: np.ndarray, y: np.ndarray, *, by_formula: bool = False) -> float:
    """Compute the regularised H-score from two covariances and a pseudo-inverse."""
    centred = F - F.mean(axis=0)
    shrunk, a = (shrink if by_formula else ledoit_wolf)(centred)
    means = np.zeros_like(F)
    for label in np.unique(y):
        means[y == label] = centred[y == label].mean(axis=0)
    return float(np.trace(np.linalg.pinv(shrunk, rcond=1e-15) @ ((1 - a) * np.cov(means.T))))


def shrink(centred: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the Ledoit-Wolf covariance and its shrinkage."""
    n, d = centred.shape
    S = centred.T @ centred / n
    mu = np.trace(S) / d
    beta = (((centred**2).sum(axis=1) ** 2).sum() / n - (S**2).sum()) / (d * n)
    delta = ((S - mu * np.eye(d)) ** 2).sum() / d
    a = min(beta, delta) / delta
    return (1 - a) * S + a * mu * np.eye(d), a


def once(spec: ScoreSpec, given: ScoreInput) -> float:
    """Return the seconds a score takes."""
    return timed(lambda: spec.compute(given))[0]


def timed(run: Callable[[], Value]) -> tuple[float, Value]:
    """Return the seconds a run took and its value."""
    start = time.perf_counter()
    value = run()
    return time.perf_counter() - start, value


def race(shape: tuple[int, int, int], args: argparse.Namespace) -> dict[str, Any]:
    """Time our scores and the references in turn."""
    F, y = embeddings(*shape, args.seed)
    runs = {
        "logme": lambda: logme(F, y),
        "logme, reference": lambda: reference_logme(F, y),
        "logme, svd of the gram": lambda: reference_logme(F, y, through_gram=True),
        "h_score": lambda: h_score(F, y),
        "h_score, reference": lambda: reference_h_score(F, y),
        "h_score, shrinkage by formula": lambda: reference_h_score(F, y, by_formula=True),
    }
    seconds: dict[str, dict[int, list[float]]] = {n: {t: [] for t in args.threads} for n in runs}
    values = {}
    for _ in range(args.rounds):
        for threads in args.threads:
            for name, run in runs.items():
                with threadpool_limits(threads):
                    took, values[name] = timed(run)
                seconds[name][threads].append(took)
    best = {n: min(median(rounds) for rounds in s.values()) for n, s in seconds.items()}
    return {
        "shape": shape,
        "seconds": best,
        "ratios": {n: best[n] / best[n.partition(",")[0]] for n in runs if "," in n},
        "difference": {n: abs(values[n] - values[n.partition(",")[0]]) for n in runs if "," in n},
    }


def panel(shape: tuple[int, int, int], args: argparse.Namespace) -> dict[str, Any]:
    """Time every score once per round, and the decomposition that they share."""
    exact, y = embeddings(*shape, args.seed)
    F, probs = exact.astype(np.float32), source_probs(exact, 1000, args.seed)
    shared = cache(lambda: decompose(F))
    given = ScoreInput(features=F, y=y, source_probs=probs, decomposition=shared)
    seconds: dict[int, dict[str, list[float]]] = {t: {} for t in args.threads}
    for _ in range(args.rounds):
        for threads, found in seconds.items():
            shared.cache_clear()
            with threadpool_limits(threads):
                found.setdefault("decomposition", []).append(timed(shared)[0])
                for spec in get_registry().scores:
                    found.setdefault(spec.name, []).append(once(spec, given))
    medians = {t: {n: median(r) for n, r in found.items()} for t, found in seconds.items()}
    sums = {t: sum(s for n, s in row.items() if n not in SLOW) for t, row in medians.items()}
    return {"shape": shape, "seconds": medians, "sum_but": SLOW, "sums": sums}


def main() -> None:
    """Print ratios and seconds; write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("scores.json"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    results = {
        "machine": describe(),
        "seed": args.seed,
        "race": race(RACE, args),
        "panel": panel(PANEL, args),
    }
    args.out.write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
