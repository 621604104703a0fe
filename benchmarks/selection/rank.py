"""Judge rankers against the true accuracies: weighted tau, regret and cost over the zoo's sets.

    python benchmarks/selection/rank.py --work /tmp/truth --out rank.json

Rankers see a quarter of the training samples (`evidence.py`), the truth is the accuracy of each
backbone on the test samples after a tuned probe or tuned LP-FT (`ground_truth.py`). The
combination, the static prior and "always the same" learn from the sets of all other families, the
combination from probes only, "always the same" from the kind of truth that it is judged on.
Regret is in accuracy points: the best backbone's accuracy less that of the one that a ranker puts
first, or of the best among its first three. Intervals are paired bootstraps over sets, 90 %.
Seconds are of the processor, over a shelf whose embeddings are read (`evidence.py --time`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import weightedtau

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fit_prior import FACTS, Shelf, design, fit, read_shelves
from gains import PROBE, TUNED, fit_gains, read_gains
from ground_truth import records

from autotl.ranking import Prior
from autotl.ranking.prior import centred
from autotl.registry import get_registry

LOOK = "quarter"
REPETITIONS = 10_000
COMBINATION, ALONE = "combination", "combination without records"
TUNING = "combination with gains of tuning"
BASELINES = ("static prior", "always the same", "random")
WITHIN = ("shares within one and two spreads", "... at the first look")


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What rankers may know of one family of sets: all others.

    Args:
        shelves: Of the other families.
        prior: Fitted on them.
    """

    shelves: list[Shelf]
    prior: Prior


Ranker = Callable[[Shelf, Learnt], np.ndarray]


def by_score(name: str) -> Ranker:
    """Rank by one score or measure, the right way round; what lacks it comes last."""
    measures = get_registry().similarities
    sign = -1 if name in measures and not measures.get(name).greater_is_closer else 1

    def values(shelf: Shelf, learnt: Learnt) -> np.ndarray:
        found = [{**e.scores, **e.similarity}.get(name, np.nan) for e in shelf.evidence]
        column = sign * np.array(found, float)
        return np.where(np.isfinite(column), column, -np.inf)

    return values


def combination(shelf: Shelf, learnt: Learnt) -> np.ndarray:
    """Rank as `autotl rank` does, by the prior's expectation."""
    return np.array([x.expected for x in learnt.prior.expect(shelf.evidence)])


def with_gains(shelf: Shelf, learnt: Learnt) -> np.ndarray:
    """Rank as a search does that will tune: by the expectation and what tuning adds to it."""
    found = []
    for e, expected in zip(shelf.evidence, combination(shelf, learnt), strict=True):
        p = min(max(float(expected), 1e-4), 1 - 1e-4)
        log_odds = float(np.log(p / (1 - p)))
        per_class = e.target.n_train / e.target.n_classes
        gain = learnt.prior.method_gain(shelf.method, log_odds, per_class, e.spec)
        found.append(log_odds + gain.gain if gain else np.nan)
    return np.array(found)


def without_records(shelf: Shelf, learnt: Learnt) -> np.ndarray:
    """Rank backbones as if none had been seen before."""
    return learnt.prior.says(shelf.evidence)


def static_prior(shelf: Shelf, learnt: Learnt) -> np.ndarray:
    """Rank by size and published accuracy alone, weights of either sign."""
    D = np.concatenate([design(s, FACTS) for s in learnt.shelves])
    t = np.concatenate([centred(s.target) for s in learnt.shelves])
    weights = np.linalg.solve(D.T @ D + 1e-3 * len(D) * np.eye(len(FACTS)), D.T @ t)
    return design(shelf, FACTS) @ weights


def always_the_same(shelf: Shelf, learnt: Learnt) -> np.ndarray:
    """Rank by the mean accuracy on the other families' sets, as far as a set shows it."""
    gains: dict[str, list[float]] = {}
    for other in learnt.shelves:
        if other.method == shelf.method and other.look == LOOK:
            for e, t in zip(other.evidence, other.truth, strict=True):
                gains.setdefault(e.spec.name, []).append(float(t - other.truth.mean()))
    return np.array([np.mean(gains.get(e.spec.name, [-1.0])) for e in shelf.evidence])


def judge(values: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return weighted tau and regrets in points; ties are broken by the order of the shelf."""
    order = np.argsort(-values, kind="stable")
    best = truth.max()
    finite = np.where(
        np.isfinite(values), values, np.nanmin(np.where(np.isfinite(values), values, np.nan)) - 1
    )
    tau = weightedtau(truth, finite, rank=None).statistic
    return {
        "tau": float(tau) if np.isfinite(tau) else 0.0,
        "regret1": 100 * float(best - truth[order[0]]),
        "regret3": 100 * float(best - truth[order[:3]].max()),
    }


def judge_random(truth: np.ndarray) -> dict[str, float]:
    """Return what a random order has on average."""
    rng = np.random.default_rng(0)
    draws = [judge(rng.permutation(len(truth)).astype(float), truth) for _ in range(500)]
    return {key: float(np.mean([d[key] for d in draws])) for key in draws[0]}


def learnt_by_family(
    shelves: Sequence[Shelf], truth: Sequence[dict[str, Any]]
) -> dict[tuple[str, str], Learnt]:
    """Return what is known when a family is left out, by modality and family."""
    found = {}
    for modality, family in sorted({(s.modality, s.family) for s in shelves}):
        others = [s for s in shelves if s.modality == modality and s.family != family]
        probes = [s for s in others if s.method == PROBE]
        if probes:
            coefficients = fit(probes)
            rest = [r for r in truth if r["family"] != family]
            gains = fit_gains(read_gains(rest, modality, coefficients["level"]))
            prior = Prior({**coefficients, "methods": {TUNED: gains} if gains else {}})
            found[modality, family] = Learnt(shelves=others, prior=prior)
    return found


def table(
    judged: Sequence[Shelf], learnt: dict[tuple[str, str], Learnt]
) -> dict[str, dict[str, Any]]:
    """Return every ranker's figures by set, on one kind of truth."""
    names = sorted({n for s in judged for e in s.evidence for n in (*e.scores, *e.similarity)})
    rankers: dict[str, Ranker] = {
        COMBINATION: combination,
        ALONE: without_records,
        TUNING: with_gains,
        "static prior": static_prior,
        "always the same": always_the_same,
        **{name: by_score(name) for name in names},
    }
    found: dict[str, dict[str, Any]] = {name: {} for name in (*rankers, "random")}
    for shelf in judged:
        known = learnt[shelf.modality, shelf.family]
        for name, ranker in rankers.items():
            values = ranker(shelf, known)
            if np.isfinite(values).any():
                found[name][shelf.name] = judge(values, shelf.truth)
        found["random"][shelf.name] = judge_random(shelf.truth)
    return {name: by_set for name, by_set in found.items() if len(by_set) == len(judged)}


def within(shelves: Sequence[Shelf], learnt: dict[tuple[str, str], Learnt]) -> tuple[float, float]:
    """Return the shares of true accuracies within one and two spreads of what is expected."""
    distances: list[float] = []
    for s in shelves:
        expected = learnt[s.modality, s.family].prior.expect(s.evidence)
        distances += [
            abs(t - x.expected) / x.spread for t, x in zip(s.truth, expected, strict=True)
        ]
    return float(np.mean(np.array(distances) <= 1)), float(np.mean(np.array(distances) <= 2))


def mean_figures(by_set: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the means over sets."""
    return {
        key: float(np.mean([v[key] for v in by_set.values()]))
        for key in ("tau", "regret1", "regret3")
    }


def difference(
    one: dict[str, dict[str, float]], other: dict[str, dict[str, float]], seed: int
) -> list[float]:
    """Return the mean difference of regret@1 and its 90 % interval over sets."""
    gaps = np.array([one[name]["regret1"] - other[name]["regret1"] for name in one])
    rng = np.random.default_rng(seed)
    draws = rng.choice(gaps, (REPETITIONS, len(gaps))).mean(axis=1)
    return [float(gaps.mean()), *np.quantile(draws, [0.05, 0.95]).tolist()]


def show(
    found: dict[str, dict[str, Any]], title: str, seconds: dict[str, float], seed: int
) -> dict[str, Any]:
    """Print one table and return it with the comparisons."""
    summary = {name: mean_figures(by_set) for name, by_set in found.items()}
    n_sets = len(found[COMBINATION])
    print(f"\n{title}: {n_sets} sets")
    print("| ranker | weighted tau | regret@1 | regret@3 | seconds |\n|---|---|---|---|---|")
    for name in sorted(summary, key=lambda n: summary[n]["regret1"]):
        s, cost = summary[name], f"{seconds[name]:.1f}" if name in seconds else "-"
        print(f"| {name} | {s['tau']:.3f} | {s['regret1']:.2f} | {s['regret3']:.2f} | {cost} |")
    against = {}
    singles = [n for n in summary if n not in (COMBINATION, ALONE, TUNING, *BASELINES)]
    best = min(singles, key=lambda n: summary[n]["regret1"])
    for name in (*BASELINES[:2], best):
        if name in found:
            against[name] = difference(found[COMBINATION], found[name], seed)
            mean, low, high = against[name]
            print(f"combination less {name}: {mean:+.2f} points [{low:+.2f}, {high:+.2f}]")
    return {"rankers": summary, "by_set": found, "combination_less": against}


def main() -> None:
    """Judge on all kinds of truth and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("rank.json"))
    args = parser.parse_args()
    shelves = read_shelves(args.work)
    learnt = learnt_by_family(shelves, list(records(args.work)))
    file = args.work / "evidence" / "seconds.json"
    costs = json.loads(file.read_text()) if file.exists() else {}
    content: dict[str, Any] = {"seed": args.seed}
    for method in (PROBE, TUNED):
        for modality in ("image", "text"):
            own = [s for s in shelves if (s.method, s.modality) == (method, modality)]
            own = [s for s in own if (modality, s.family) in learnt]
            judged = [s for s in own if s.look == LOOK]
            if not judged:
                continue
            title = f"{modality}, truth after {method}"
            seconds = costs.get(modality, {}).get("seconds", {})
            content[title] = show(table(judged, learnt), title, seconds, args.seed)
            if method == PROBE:  # what is expected
                content[title]["within"] = {
                    WITHIN[0]: within(judged, learnt),
                    WITHIN[1]: within([s for s in own if s.look != LOOK], learnt),
                }
                for words, (one, two) in content[title]["within"].items():
                    print(f"{words}: {100 * one:.0f} %, {100 * two:.0f} %")
    args.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
