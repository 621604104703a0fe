"""Fit what a search starts from: its portfolio, and what methods add to a probe.

    python benchmarks/selection/fit_search.py --table curves.parquet

Writes `autotl/search/study/portfolio.json` and the `methods` of `autotl/ranking/prior.json`, which
`fit_prior.py` writes the rest of. Learns from the tabulated curves of `curves.py`; `search.py`
judges the same fits with each family of sets left out in turn.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from design import TUNED
from gains import Gains, fit_gains
from oracle import FLOOR, Curve, Oracle, read_rows

from autotl.ranking.evidence import logit

PROBE = "linear_probe"
SIZE = 8  # entries of a portfolio, at most
LEAST_SHARE = 0.5  # of the pairs that a configuration was measured on
_SAME = 1e-6  # distance of the same configuration
_LEAST_GAIN = 0.05  # ranks; a smaller one is chance
PORTFOLIO = Path("autotl/search/study/portfolio.json")
PRIOR = Path("autotl/ranking/prior.json")
Row = dict[str, Any]
Entry = tuple[str, dict[str, Any]]


def fit_portfolio(rows: Sequence[Row], size: int = SIZE) -> list[Entry]:
    """Return methods with parameters, greedily by how high the best of them ranks on average.

    A pair is one backbone on one set, if its probe is among the better half of the set: those are
    the ones that a search trains. Families of sets count alike.

    Args:
        rows: Of the table, of one modality.
        size: Entries, at most.
    """
    oracle, pairs = Oracle(rows), good_pairs(rows)
    entries = _configurations(rows)
    tests = np.array([[_test(oracle, pair, entry) for entry in entries] for pair in pairs])
    if not tests.size:
        return []
    known = np.isfinite(tests).mean(axis=0) >= LEAST_SHARE
    entries, tests = [e for e, k in zip(entries, known, strict=True) if k], tests[:, known]
    ranks, weights = _ranks(tests), _weights(rows, pairs)
    chosen: list[int] = []
    reached = np.full(len(pairs), float(len(entries)))
    while len(chosen) < min(size, len(entries)):
        after = [float(weights @ np.fmin(reached, ranks[:, j])) for j in range(len(entries))]
        best = int(np.argmin(after))
        if chosen and weights @ reached - after[best] < _LEAST_GAIN:
            break
        chosen.append(best)
        reached = np.fmin(reached, ranks[:, best])
    return [entries[j] for j in chosen]


def fit_methods(rows: Sequence[Row], entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Return what methods add to a tuned probe, with the first of their entries.

    Args:
        rows: Of the table, of one modality.
        entries: A portfolio that was fitted on them.

    Returns:
        By method, see `gains.fit_gains`; with `params_spread`, how far other parameters exceed
        those of its first entry on one pair, in log-odds.
    """
    found = {}
    for method in TUNED:
        own = [entry for entry in entries if entry[0] == method]
        gains = fit_gains(_gains(rows, own[:1])) if own else {}
        if gains:
            found[method] = {**gains, "params_spread": _params_spread(rows, own[0])}
    return found


def good_pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return set and backbone where the best probe is at least the median of the set's."""
    oracle = Oracle(rows)
    found = []
    for name in oracle.sets():
        reached = {b: _probe(oracle, name, b) for b in oracle.backbones(name)}
        bar = float(np.nanmedian(list(reached.values())))
        found += [(name, b) for b, value in reached.items() if value >= bar]
    return found


def _probe(oracle: Oracle, name: str, backbone: str) -> float:
    """Return the test accuracy of the probe that validation chooses."""
    if PROBE not in oracle.methods(name, backbone):
        return float("nan")
    return _chosen(oracle.curves(name, backbone, PROBE))


def _chosen(curves: Sequence[Curve]) -> float:
    def key(curve: Curve) -> tuple[float, float]:
        step = curve.best_step()
        return (curve.validation[step - 1], -curve.log_loss[step - 1]) if step else (-1.0, 0.0)

    return max(curves, key=key).test_after()


def _configurations(rows: Sequence[Row]) -> list[Entry]:
    shown = sorted({(r["method"], r["params"]) for r in rows if r["method"] in TUNED})
    return [(method, json.loads(params)) for method, params in shown]


def _test(oracle: Oracle, pair: tuple[str, str], entry: Entry) -> float:
    """Return the test accuracy of a configuration on a pair; NaN where it was not measured."""
    method, params = entry
    if method not in oracle.methods(*pair):
        return float("nan")
    curve = oracle.curve(*pair, method, params)
    same = curve.distance < _SAME and curve.row["planned_steps"] == params["epochs"]
    return curve.test_after() if same else float("nan")


def _ranks(tests: np.ndarray) -> np.ndarray:
    """Return ranks along each row from 0, the highest first, ties shared; NaN stays."""
    higher = (tests[:, None, :] > tests[:, :, None]).sum(axis=2)
    equal = (tests[:, None, :] == tests[:, :, None]).sum(axis=2)
    return np.where(np.isfinite(tests), higher + (equal - 1) / 2, np.nan)


def _weights(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return weights of pairs that sum to 1: families alike, and sets of a family."""
    families = {r["set"]: r["family"] for r in rows}
    n_sets = {f: len({s for s in families if families[s] == f}) for f in families.values()}
    n_pairs: dict[str, int] = defaultdict(int)
    for name, _ in pairs:
        n_pairs[name] += 1
    weights = np.array([1 / (n_sets[families[s]] * n_pairs[s]) for s, _ in pairs])
    return np.asarray(weights / weights.sum())


def _gains(rows: Sequence[Row], entries: Sequence[Entry]) -> list[Gains]:
    """Return what an entry added to the probe, set by set."""
    oracle, facts = Oracle(rows), {r["set"]: r for r in rows if r["method"] != FLOOR}
    found = []
    for name, row in facts.items():
        names, inputs, gains = [], [], []
        for backbone in oracle.backbones(name):
            probe = logit(_probe(oracle, name, backbone), row["n_test"])
            tuned = max(_completed(oracle, (name, backbone), e) for e in entries)
            if np.isfinite(probe) and np.isfinite(tuned):
                side = oracle.curves(name, backbone, PROBE)[0].row["input_side"]
                names.append(f"{backbone}@{side}" if side else backbone)
                inputs.append([1.0, probe, float(np.log(row["n_train"] / row["n_classes"]))])
                gains.append(logit(tuned, row["n_test"]) - probe)
        if names:
            found.append(
                Gains(
                    family=row["family"],
                    backbones=names,
                    inputs=np.array(inputs),
                    gains=np.array(gains),
                )
            )
    return found


def _completed(oracle: Oracle, pair: tuple[str, str], entry: Entry) -> float:
    """Return the test accuracy of the nearest configuration to one that may lack parameters."""
    method, params = entry
    if method not in oracle.methods(*pair):
        return float("nan")
    return oracle.curve(*pair, method, params).test_after()


def _params_spread(rows: Sequence[Row], first: Entry) -> float:
    """Return how far other parameters exceed the first entry's on one pair: a root mean square."""
    oracle = Oracle(rows)
    others = [e for e in _configurations(rows) if e[0] == first[0] and e != first]
    n_test = {r["set"]: r["n_test"] for r in rows}
    squares = []
    for pair in good_pairs(rows):
        start = _test(oracle, pair, first)
        reached = [t for e in others if np.isfinite(t := _test(oracle, pair, e))]
        odds = [logit(t, n_test[pair[0]]) - logit(start, n_test[pair[0]]) for t in reached]
        if np.isfinite(start):
            squares += [max(0.0, gain) ** 2 for gain in odds]
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def main() -> None:
    """Fit and write what is shipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="curves: Parquet or a folder")
    args = parser.parse_args()
    rows = read_rows(args.table)
    prior = json.loads(PRIOR.read_text(encoding="utf-8"))
    shipped: dict[str, Any] = {"source": "benchmarks/selection/fit_search.py", "modalities": {}}
    for modality in sorted({row["modality"] for row in rows}):
        own = [row for row in rows if row["modality"] == modality]
        entries = fit_portfolio(own)
        shipped["modalities"][modality] = [{"adaptation": m, "params": p} for m, p in entries]
        prior["modalities"][modality]["methods"].update(fit_methods(own, entries))
    PORTFOLIO.write_text(json.dumps(shipped, indent=1) + "\n", encoding="utf-8")
    PRIOR.write_text(json.dumps(prior, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(shipped, indent=1))
    print(json.dumps({m: p["methods"] for m, p in prior["modalities"].items()}, indent=1))


if __name__ == "__main__":
    main()
