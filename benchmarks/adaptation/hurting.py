"""Show methods where they are known to hurt, and what a guarded search makes of it.

    python benchmarks/adaptation/hurting.py --zoo ../shared/zoo --work build/hurting

Label shift: the source's digits are balanced, the target's last class is `--shift` times rarer
than its first. Aligning such domains moves samples of one class onto another (Zhao et al., On
Learning Invariant Representations for Domain Adaptation, ICML 2019). `dann` and `cdan` are fitted
beside `pooled_fine_tune`, without target labels; then a search that has a few target labels
chooses among them and the target's own probe and fine-tuning.

Norms at random: `stoch_norm` on a backbone that did not learn from classes of photographs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "selection"))
from domains import read
from fitting import Lines, Rows, accuracy_of, few, pool
from supervised import backbone

from autotl.registry import get_registry

SOURCE, TARGET = "da_digits_mnist", "da_digits_usps"
METHODS = ("pooled_fine_tune", "dann", "cdan")
FOR_SEARCH = ("linear_probe", "lp_ft", "pooled_fine_tune", "dann", "cdan")
IMAGE_BACKBONE = "local/resnet20_cifar10"
NOT_OF_CLASSES = "embedded/shapes"
KEY = ("kind", "shift", "what", "seed")
N_LABELS = 5


def skewed(codes: np.ndarray, rows: np.ndarray, shift: float, seed: int) -> np.ndarray:
    """Draw rows so that the last class is so many times rarer than the first."""
    rng, classes = np.random.default_rng(seed), np.unique(codes[rows])
    counts = [int((codes[rows] == c).sum()) for c in classes]
    shares = shift ** (-np.arange(len(classes)) / (len(classes) - 1))
    most = min(n / share for n, share in zip(counts, shares, strict=True))
    drawn = [
        rng.permutation(rows[codes[rows] == c])[: max(1, round(most * share))]
        for c, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def shifted(options: argparse.Namespace, lines: Lines, shift: float, seed: int) -> None:
    """Fit without target labels, then search with a few."""
    found = read(options.zoo, (SOURCE, TARGET))
    source, target = found[SOURCE], found[TARGET]
    codes = np.array([int(c) for c in target["y"]])
    held = np.array([int(c) for c in target["y_holdout"]])
    train = skewed(codes, np.arange(len(codes)), shift, seed)
    test = skewed(held, np.arange(len(held)), shift, seed)
    n_source, n_target = len(source["y"]), len(train)
    samples = [
        *source["X"],
        *(target["X"][i] for i in train),
        *(target["X_holdout"][i] for i in test),
    ]
    labels = [*source["y"], *codes[train].tolist(), *held[test].tolist()]
    spec = backbone(options.zoo, options.work, "image", IMAGE_BACKBONE)
    given = pool(spec, samples, [int(c) for c in labels], "image", options.work)
    rows = Rows(
        source=np.arange(n_source), train=np.arange(n_source, n_source + n_target),
        test=np.arange(n_source + n_target, len(samples)),
    )  # fmt: skip
    for name in METHODS:
        record = {"kind": "label shift", "shift": shift, "what": name, "seed": seed}
        if not lines.has(record):
            method = get_registry().adaptations.get(name)
            fitted = accuracy_of(given, rows, method, method.defaults, seed, labelled=False)
            lines.add({**record, **fitted})
            print(record, fitted["test"], flush=True)
    given.session.release()
    record = {"kind": "label shift", "shift": shift, "what": "search", "seed": seed}
    if not lines.has(record):
        labelled = few(codes[train], np.arange(n_target), N_LABELS, seed)
        blank = np.setdiff1d(np.arange(n_target), labelled)
        result = search(
            options, seed,
            X=[target["X"][i] for i in train[labelled]], y=codes[train][labelled].tolist(),
            X_unlabeled=[target["X"][i] for i in train[blank]],
            X_holdout=[target["X_holdout"][i] for i in test], y_holdout=held[test].tolist(),
            source=(source["X"], [int(c) for c in source["y"]]),
            adaptations=FOR_SEARCH, backbones=[IMAGE_BACKBONE], weights=options.zoo / "weights",
        )  # fmt: skip
        lines.add({**record, **result})
        print(record, json.dumps(result), flush=True)


def norms(options: argparse.Namespace, lines: Lines, seed: int) -> None:
    """Fine-tune with norms at random, without, and search over both."""
    from main_job import read as read_set

    data = read_set(options.zoo, "clothing10", 1000)
    record = {"kind": "stoch_norm", "shift": 0, "what": "search", "seed": seed}
    if lines.has(record):
        return
    result = search(
        options, seed, **data, adaptations=["fine_tune", "linear_probe"],
        backbones=[NOT_OF_CLASSES],
    )  # fmt: skip
    lines.add({**record, **result})
    print(record, json.dumps(result), flush=True)


def search(options: argparse.Namespace, seed: int, **arguments: Any) -> dict[str, Any]:
    """Search, and return what was chosen, and the best of each method."""
    import autotl

    model = autotl.fit(
        **arguments, metric="accuracy", budget_seconds=options.budget, seed=seed,
        experience=False, progress=False,
    )  # fmt: skip
    result, best = model.result, {}
    for row in result["leaderboard"]:
        name = row["adaptation"]
        regulariser = row["params"].get("regulariser", "none")
        name += f" + {regulariser}" if regulariser != "none" else ""
        if row["validation"] is not None:
            best.setdefault(name, []).append((round(row["validation"], 4), row["state"]))
    return {
        "holdout": result["holdout"], "shipped": result["shipped"],
        "chosen": (result["best"] or {}).get("adaptation"), "trials": best,
        "flagged": len((result["guard"] or {}).get("flags") or ()),
        "floor": result["floor"]["holdout"],
    }  # fmt: skip


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shift", nargs="*", type=float, default=[1.0, 30.0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--budget", type=float, default=180.0)
    options = parser.parse_args()
    options.zoo, options.work = options.zoo.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    lines = Lines(options.work / "hurting.jsonl", KEY)
    for seed in options.seeds:
        for shift in options.shift:
            shifted(options, lines, shift, seed)
        norms(options, lines, seed)
    for record in lines.records:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
