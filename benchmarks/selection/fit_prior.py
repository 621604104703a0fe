"""Fit the prior that `autotl rank` ships: what scores, similarity and facts let expect.

    python benchmarks/selection/fit_prior.py --work /tmp/truth --out autotl/ranking/prior.json

Learns from the looks of `evidence.py` and the true accuracies of `ground_truth.py`: within a set,
how the log-odds of accuracy differ between backbones; between sets, their level. `rank.py` judges
the same fit with each family of sets left out in turn.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parent))
from backbones import SMALL_SIDE
from ground_truth import records

from autotl.ranking import Evidence, Prior
from autotl.ranking.evidence import Target, logit
from autotl.ranking.prior import INPUTS, centred
from autotl.specs import BackboneSpec

# Wider sets (leep, nce, h_score, nleep, layers, similarity) were tried and brought nothing.
WEIGHED = (
    "ridge_loo", "knn_loo", "logme", "parc", "gbc",
    "log_params", "published_accuracy",
)  # fmt: skip
FACTS = ("log_params", "published_accuracy")
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # smaller ones overfit some dozen sets
ANCHOR = "ridge_loo"


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """One look at all backbones on one set, with the truth.

    Args:
        name: Of the set.
        family: Of the set.
        modality: Of the set.
        method: "linear_probe" or "lp_ft".
        look: "first" or "quarter".
        evidence: What was seen.
        truth: Accuracy of each on the test samples.
        n_test: Test samples.
        seconds: That the look took.
    """

    name: str
    family: str
    modality: str
    method: str
    look: str
    evidence: list[Evidence]
    truth: np.ndarray
    n_test: int
    seconds: np.ndarray

    @property
    def target(self) -> np.ndarray:
        """Log-odds of the truth."""
        return np.array([logit(t, self.n_test) for t in self.truth])


def read_shelves(work: Path) -> list[Shelf]:
    """Return sets with four pairs or more that were looked at and measured at 96 pixels."""
    truth = {_key(r): r["accuracy"] for r in records(work)}
    groups: dict[tuple[str, str, str], list[tuple[Evidence, float, dict, float]]] = defaultdict(
        list
    )
    for record in records(work / "evidence"):
        if _key(record) not in truth or record["input_side"] > SMALL_SIDE:
            continue
        for name, seen in record["looks"].items():
            pair = (_evidence(record, seen), truth[_key(record)], record, seen["seconds"])
            groups[record["set"], record["method"], name].append(pair)
    return [
        Shelf(
            name=name,
            family=pairs[0][2]["family"],
            modality=pairs[0][2]["modality"],
            method=method,
            look=look,
            evidence=[p[0] for p in pairs],
            truth=np.array([p[1] for p in pairs]),
            n_test=pairs[0][2]["n_test"],
            seconds=np.array([p[3] for p in pairs]),
        )
        for (name, method, look), pairs in groups.items()
        if len(pairs) >= 4
    ]


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[k] for k in ("set", "backbone", "input_side", "method", "seed"))


def _evidence(record: dict[str, Any], seen: dict[str, Any]) -> Evidence:
    side = record["input_side"]
    spec = BackboneSpec(
        name=record["backbone"],
        modality=record["modality"],
        embed_dim=None,
        load=lambda device: None,  # type: ignore[arg-type,return-value]  # never loaded here
        n_params=record["n_params"],
        published_accuracy=record["published_accuracy"],
        input_size=(3, side, side) if side else None,
    )
    target = Target(
        y=np.zeros(0, int),
        n_train=record["n_train"],
        n_classes=record["n_classes"],
        prior=np.array(seen["class_shares"]),
    )
    return Evidence(
        spec=spec,
        target=target,
        n_samples=seen["n_samples"],
        seconds_per_sample=seen["seconds_per_sample"],
        scores=seen["scores"],
        similarity=seen["similarity"],
        own_similarity=seen["similarity"],
    )


def fit(shelves: Sequence[Shelf], weighed: Sequence[str] = WEIGHED) -> dict[str, Any]:
    """Return the prior's coefficients for one modality."""
    return {**means(shelves, weighed), "spread": spread(shelves, weighed)}


def means(shelves: Sequence[Shelf], weighed: Sequence[str] = WEIGHED) -> dict[str, Any]:
    """Return the coefficients of what is expected, without its spread."""
    everything = [e for s in shelves for e in s.evidence]
    names = [n for n in weighed if any(np.isfinite(INPUTS[n](e)) for e in everything)]
    return {
        "level": between(shelves),
        "weights": within(shelves, names),
        "static": within(shelves, [n for n in FACTS if n in names]),
    }


def within(shelves: Sequence[Shelf], names: Sequence[str]) -> dict[str, float]:
    """Fit differences between the backbones of a set; the penalty by leaving families out.

    The penalty draws towards the differences of leave-one-out log-odds as they are, where those
    are among the inputs: with few sets, what the data does not speak for stays out. No weight is
    negative: a better score never lowers what is expected.
    """
    if not names:
        return {}
    start = np.array([1.0 if name == ANCHOR else 0.0 for name in names])
    designs = [design(s, names) for s in shelves]
    targets = [centred(s.target) for s in shelves]
    families = sorted({s.family for s in shelves})

    def loss(penalty: float) -> float:
        total = 0.0
        for left_out in families:
            kept = [i for i, s in enumerate(shelves) if s.family != left_out]
            w = ridge([designs[i] for i in kept], [targets[i] for i in kept], start, penalty)
            for i, s in enumerate(shelves):
                if s.family == left_out:
                    total += float(np.mean((targets[i] - designs[i] @ w) ** 2))
        return total

    best = min(PENALTIES, key=loss) if len(families) > 1 else max(PENALTIES)
    found = ridge(designs, targets, start, best)
    return dict(zip(names, found.tolist(), strict=True))


def design(shelf: Shelf, names: Sequence[str]) -> np.ndarray:
    """Return the inputs of a shelf as differences from their mean, (n_backbones, n_inputs)."""
    return np.stack([centred([INPUTS[n](e) for e in shelf.evidence]) for n in names], axis=1)


def ridge(
    designs: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    start: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """Return the weights, none negative, of ridge regression towards a start.

    Every set counts alike, and every input by its own spread within sets.
    """
    scale = np.sqrt(np.mean([(D**2).mean(axis=0) for D in designs], axis=0)) + 1e-9
    share = [1 / np.sqrt(len(D) * len(designs)) for D in designs]
    rows = [D * part / scale for D, part in zip(designs, share, strict=True)]
    values = [t * part for t, part in zip(targets, share, strict=True)]
    pull = np.sqrt(penalty)
    found, _ = nnls(
        np.concatenate([*rows, pull * np.eye(len(scale))]),
        np.concatenate([*values, pull * start * scale]),
    )
    return np.asarray(found / scale)


def between(shelves: Sequence[Shelf]) -> list[float]:
    """Fit the level of a set from leave-one-out accuracies and the share of samples seen."""
    anchors = [np.nanmean([INPUTS["ridge_loo"](e) for e in s.evidence]) for s in shelves]
    seen = [np.mean([np.log(e.n_samples / e.target.n_train) for e in s.evidence]) for s in shelves]
    X = np.stack([np.ones(len(shelves)), anchors, seen], axis=1)
    y = np.array([s.target.mean() for s in shelves])
    penalty = np.diag([0.0, 1e-3, 1e-2]) * len(y)
    return np.linalg.solve(X.T @ X + penalty, X.T @ y).tolist()


def spread(shelves: Sequence[Shelf], weighed: Sequence[str]) -> list[float]:
    """Fit the variance of errors on families left out: a constant, and a share of sampling."""
    errors, sampling = [], []
    for family in sorted({s.family for s in shelves}):
        kept = [s for s in shelves if s.family != family] or list(shelves)
        prior = Prior({**means(kept, weighed), "spread": [0.05, 1.0]})
        for s in (s for s in shelves if s.family == family):
            for e, x, target in zip(s.evidence, prior.expect(s.evidence), s.target, strict=True):
                p = min(max(x.expected, 1e-3), 1 - 1e-3)
                errors.append((np.log(p / (1 - p)) - target) ** 2)
                sampling.append(1 / (e.n_samples * max(p * (1 - p), 1e-3)))
    X = np.stack([np.ones(len(errors)), sampling], axis=1)
    found, _ = nnls(X, np.array(errors))
    return [max(float(found[0]), 1e-3), float(found[1])]


def modalities(shelves: Sequence[Shelf]) -> dict[str, Callable[[Shelf], bool]]:
    """Return which shelves each prior learns from; "any" from all, for kinds never seen."""
    names = sorted({s.modality for s in shelves})
    return {**{n: lambda s, n=n: s.modality == n for n in names}, "any": lambda s: True}  # type: ignore[misc]


def main() -> None:
    """Fit and write the shipped prior."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    shelves = read_shelves(args.work)
    content = {
        "source": "benchmarks/selection/fit_prior.py",
        "sets": sorted({s.name for s in shelves}),
        "modalities": {
            name: fit(
                [s for s in shelves if belongs(s)],
                WEIGHED if name != "any" else ("ridge_loo", "knn_loo", "logme", "h_score"),
            )
            for name, belongs in modalities(shelves).items()
        },
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["modalities"], indent=1))


if __name__ == "__main__":
    main()
