"""Show methods where they are known to hurt, and what a guarded search makes of it.

    python benchmarks/adaptation/hurting.py --zoo ../shared/zoo --work build/hurting

Label shift: the source's digits are balanced, the target's last class is `--shift` times rarer
than its first. Aligning such domains moves samples of one class onto another (Zhao et al., On
Learning Invariant Representations for Domain Adaptation, ICML 2019). `dann` and `cdan` are fitted
beside `pooled_fine_tune`, without target labels; then a search that has a few target labels
chooses among them and the target's own probe and fine-tuning.

Wrong labels: the same where the source calls each digit by the next one's name.

Norms at random: fine-tuning with and without `stoch_norm` at few labels, on a backbone that learnt
classes of photographs and on one that never saw a photograph; then a search that may choose it.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "selection"))
from domains import read
from fitting import Lines, Rows, accuracy_of, few, pool
from sets import load
from supervised import IMAGES, N_TEST, backbone

from autotl.registry import get_registry
from autotl.specs import AdaptationSpec, AdaptationTask, SavedState, Step

SOURCE, TARGET = "da_digits_mnist", "da_digits_usps"
METHODS = ("pooled_fine_tune", "dann", "cdan")
FOR_SEARCH = ("linear_probe", "lp_ft", "pooled_fine_tune", "dann", "cdan")
IMAGE_BACKBONE = "local/resnet20_cifar10"
OF_CLASSES, NOT_OF_CLASSES = "local/mobilenetv1_050_imagenet160", "embedded/shapes"
STOCH_NORM = "fine_tune_stoch_norm"
SEARCHED = "signdigits10"
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


def shifted(
    options: argparse.Namespace, lines: Lines, shift: float, seed: int, *, wrong: bool = False
) -> None:
    """Fit without target labels, then search with a few; the source's labels may be wrong."""
    kind = "wrong labels" if wrong else "label shift"
    found = read(options.zoo, (SOURCE, TARGET))
    source, target = found[SOURCE], found[TARGET]
    theirs = [(int(c) + wrong) % 10 for c in source["y"]]
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
    labels = [*theirs, *codes[train].tolist(), *held[test].tolist()]
    spec = backbone(options.zoo, options.work, "image", IMAGE_BACKBONE)
    given = pool(spec, samples, [int(c) for c in labels], "image", options.work)
    rows = Rows(
        source=np.arange(n_source), train=np.arange(n_source, n_source + n_target),
        test=np.arange(n_source + n_target, len(samples)),
    )  # fmt: skip
    for name in METHODS:
        record = {"kind": kind, "shift": shift, "what": name, "seed": seed}
        if not lines.has(record):
            method = get_registry().adaptations.get(name)
            fitted = accuracy_of(given, rows, method, method.defaults, seed, labelled=False)
            lines.add({**record, **fitted})
            print(record, fitted["test"], flush=True)
    given.session.release()
    record = {"kind": kind, "shift": shift, "what": "search", "seed": seed}
    if not lines.has(record):
        labelled = few(codes[train], np.arange(n_target), N_LABELS, seed)
        blank = np.setdiff1d(np.arange(n_target), labelled)
        result = search(
            options, seed,
            X=[target["X"][i] for i in train[labelled]], y=codes[train][labelled].tolist(),
            X_unlabeled=[target["X"][i] for i in train[blank]],
            X_holdout=[target["X_holdout"][i] for i in test], y_holdout=held[test].tolist(),
            source=(source["X"], theirs),
            adaptations=FOR_SEARCH, backbones=[IMAGE_BACKBONE], weights=options.zoo / "weights",
        )  # fmt: skip
        lines.add({**record, **result})
        print(record, json.dumps(result), flush=True)


def norms(options: argparse.Namespace, lines: Lines, seed: int) -> None:
    """Fine-tune with and without norms at random, then search over both."""
    plain = get_registry().adaptations.get("fine_tune")
    for name, n, source in itertools.product(IMAGES, (5, 20), (OF_CLASSES, NOT_OF_CLASSES)):
        cases = {
            "fine_tune": {},
            "fine_tune, batch norms trained": {"batch_norm": "train"},
            "fine_tune + stoch_norm": {"regulariser": "stoch_norm"},
        }
        records = {
            what: {"kind": f"{name} on {source}", "shift": n, "what": what, "seed": seed}
            for what in cases
        }
        if all(lines.has(record) for record in records.values()):
            continue
        data = load(options.zoo, name)
        n_train, n_test = len(data["y"]), min(N_TEST, len(data["y_holdout"]))
        given = pool(
            backbone(options.zoo, options.work, "image", source),
            [*data["X"], *data["X_holdout"][:n_test]],
            [*data["y"], *data["y_holdout"][:n_test]],
            "image", options.work,
        )  # fmt: skip
        rows = Rows(
            train=few(given.y, np.arange(n_train), n, seed),
            test=np.arange(n_train, n_train + n_test),
        )
        for what, changes in cases.items():
            if lines.has(records[what]):
                continue
            params = {**plain.defaults, **changes}
            lines.add({**records[what], **accuracy_of(given, rows, plain, params, seed)})
            print(records[what], lines.records[-1]["test"], flush=True)
        given.session.release()
    for n, methods in ((20, ("linear_probe", "fine_tune", STOCH_NORM)), (5, (STOCH_NORM,))):
        record = {"kind": "stoch_norm", "shift": n, "what": "search", "seed": seed}
        if lines.has(record):
            continue
        data = load(options.zoo, SEARCHED)
        _, codes = np.unique(data["y"], return_inverse=True)
        drawn = few(codes, np.arange(len(codes)), n, seed)
        parts = {"X": [data["X"][i] for i in drawn], "y": [data["y"][i] for i in drawn]}
        _add_stoch_norm(plain)
        result = search(
            options, seed, **parts, X_holdout=data["X_holdout"], y_holdout=data["y_holdout"],
            adaptations=methods, backbones=[OF_CLASSES], weights=options.zoo / "weights",
        )  # fmt: skip
        lines.add({**record, **result})
        print(record, json.dumps(result), flush=True)


def _add_stoch_norm(plain: AdaptationSpec) -> None:
    """Let a search choose fine-tuning with norms at random, and nothing else by that name."""
    fixed = {"regulariser": "stoch_norm", "regulariser_strength": 1.0}
    own = {name: d for name, d in plain.space.items() if name not in fixed}

    def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step]:
        yield from plain.steps(replace(task, params={**task.params, **fixed}), state)

    spec = replace(
        plain, name=STOCH_NORM, space=own, defaults={name: plain.defaults[name] for name in own},
        steps=steps,
    )  # fmt: skip
    if STOCH_NORM not in get_registry().adaptations:
        get_registry().adaptations.add(spec, "benchmarks")


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
    parser.add_argument("--shift", nargs="*", type=float, default=[1.0, 30.0, 200.0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--budget", type=float, default=300.0)
    options = parser.parse_args()
    options.zoo, options.work = options.zoo.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    lines = Lines(options.work / "hurting.jsonl", KEY)
    for seed in options.seeds:
        for shift in options.shift:
            shifted(options, lines, shift, seed)
        shifted(options, lines, 1.0, seed, wrong=True)
        norms(options, lines, seed)
    for record in lines.records:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
