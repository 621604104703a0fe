"""Fit the prior that `autotl rank` ships: what scores, similarity and facts let expect.

    python benchmarks/selection/fit_prior.py --work /tmp/truth --out autotl/ranking/prior.json

Learns from the looks of `evidence.py` and the true accuracies of `ground_truth.py`: within a set,
how the log-odds of accuracy differ between backbones; between sets, their level. What is expected
is the accuracy of a tuned probe; what LP-FT adds to it is fitted apart. `rank.py` judges the same
fit with each family of sets left out in turn.
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
from gains import PROBE, TUNED, fit_gains, read_gains
from ground_truth import records

from autotl.ranking import Evidence, Prior
from autotl.ranking.evidence import Target, logit
from autotl.ranking.prior import INPUTS, centred, record_key, sampling, still_to_grow
from autotl.specs import BackboneSpec

# Wider sets (leep, nce, h_score, nleep, layers, similarity) were tried and brought nothing.
WEIGHED = (
    "ridge_loo", "knn_loo", "logme", "parc", "gbc",
    "log_params", "published_accuracy",
)  # fmt: skip
FACTS = ("log_params", "published_accuracy")
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # smaller ones overfit some dozen sets
ANCHOR = "ridge_loo"
LEAST_DOUBT = 1e-3  # variance of log-odds
_NO_GROWTH = {"level": 0.0}


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
    return {**means(shelves, weighed), "doubt": doubt(shelves, weighed)}


def means(shelves: Sequence[Shelf], weighed: Sequence[str] = WEIGHED) -> dict[str, Any]:
    """Return what scores, facts and records say, without how far to believe each."""
    everything = [e for s in shelves for e in s.evidence]
    names = [n for n in weighed if any(np.isfinite(INPUTS[n](e)) for e in everything)]
    return {
        "level": growth(shelves),
        "weights": within(shelves, names),
        "static": within(shelves, [n for n in FACTS if n in names]),
        "record": records_of(shelves),
    }


def growth(shelves: Sequence[Shelf]) -> float:
    """Fit how far the truth lies above leave-one-out accuracies, by what is still to learn."""
    left = np.array([still_to_grow(s.evidence) for s in shelves])
    gaps = [s.target.mean() - Prior(_NO_GROWTH).level(s.evidence) for s in shelves]
    return float(left @ gaps / (left @ left))


def records_of(shelves: Sequence[Shelf]) -> dict[str, float]:
    """Return each backbone's mean log-odds above the others'; families of sets count alike."""
    gains: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for s in shelves:
        for e, gain in zip(s.evidence, centred(s.target), strict=True):
            gains[record_key(e.spec)][s.family][s.name] = float(gain)
    return {
        name: float(np.mean([np.mean(list(sets.values())) for sets in families.values()]))
        for name, families in sorted(gains.items())
    }


def doubt(shelves: Sequence[Shelf], weighed: Sequence[str]) -> dict[str, float]:
    """Return the variances of errors on families left out, in log-odds.

    `level` and `growth`: of a set's level, a constant and a multiple of the square of what was
    still to learn. `scores` and `sampling`: of offsets by scores, a constant and a multiple of the
    binomial variance. `scale` and `record`: of the factor by which a set stretches the record,
    around 1, and of what each backbone has beside that.
    """
    levels, left, stretched, own, errors, noise = [], [], [], [], [], []
    for family in sorted({s.family for s in shelves}):
        kept = [s for s in shelves if s.family != family] or list(shelves)
        prior = Prior(means(kept, weighed))
        for s in (s for s in shelves if s.family == family):
            level, target = prior.level(s.evidence), centred(s.target)
            levels.append((level - s.target.mean()) ** 2)
            left.append(still_to_grow(s.evidence) ** 2)
            errors += ((prior.says(s.evidence) - target) ** 2).tolist()
            noise += [sampling(s.evidence, level)] * len(target)
            record = prior.coefficients["record"]
            r = centred([record.get(record_key(e.spec), np.nan) for e in s.evidence])
            if r.any():
                factor = r @ target / (r @ r)
                stretched.append((factor - 1) ** 2)
                own.append(float(np.mean((target - factor * r) ** 2)))
    level, growing = variance_parts(np.array(levels), np.array(left))
    constant, share = variance_parts(np.array(errors), np.array(noise))
    return {
        "level": level,
        "growth": growing,
        "scores": max(constant, LEAST_DOUBT),
        "sampling": share,
        "scale": float(np.mean(stretched)) if stretched else 0.0,
        "record": max(float(np.mean(own)), LEAST_DOUBT) if own else LEAST_DOUBT,
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


def variance_parts(squares: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """Return the likeliest constant and multiple of `noise` in the variance of Gaussian errors.

    Fisher scoring: least squares of squared errors, weighted by the variances of the round before.
    """
    X = np.stack([np.ones(len(squares)), noise], axis=1)
    variances = np.full(len(squares), squares.mean())
    for _ in range(30):
        parts, _ = nnls(X / variances[:, None], squares / variances)
        variances = np.maximum(X @ parts, LEAST_DOUBT)
    return float(parts[0]), float(parts[1])


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
    shelves = [s for s in read_shelves(args.work) if s.method == PROBE]
    content: dict[str, Any] = {
        "source": "benchmarks/selection/fit_prior.py",
        "sets": sorted({s.name for s in shelves}),
        "modalities": {},
    }
    for name, belongs in modalities(shelves).items():
        weighed = WEIGHED if name != "any" else ("ridge_loo", "knn_loo", "logme", "h_score")
        found = fit([s for s in shelves if belongs(s)], weighed)
        gains = fit_gains(read_gains(records(args.work), name, found["level"]))
        content["modalities"][name] = {**found, "methods": {TUNED: gains} if gains else {}}
    args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["modalities"], indent=1))


if __name__ == "__main__":
    main()
