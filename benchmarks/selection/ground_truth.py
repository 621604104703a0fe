"""The true accuracy of every backbone of the zoo on every set: what rankers are judged by.

    python benchmarks/selection/ground_truth.py --work /tmp/truth --method probe
    python benchmarks/selection/ground_truth.py --work /tmp/truth --method lp_ft
    python benchmarks/selection/ground_truth.py --work /tmp/truth --table truth.csv

Every pair is fitted by the engine's own methods on the set's training part, settings chosen on
its validation rows, refitted, and judged once on the set's test part. A pair that is done is a
line of a file, so that the command goes on where it was stopped; `--part 1/2` and `--part 2/2`
share the work between two processes. Images larger than 96 pixels are read at 96; `--native` adds
the sizes that the backbones were trained on.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "perf"))
from backbones import image_backbones, short_name, text_backbones
from machine import describe
from sets import FAMILIES, TEXTS, load

from autotl.data import Task, build_task
from autotl.features import ActivationStore, BackboneSession, Caching, freeze_depth
from autotl.registry import get_registry
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.evaluate import Evaluation, adaptation_task
from autotl.specs import BackboneSpec

TUNED_SETS = (
    "clothing10", "trashnet6", "dtd10", "signdigits10", "elpv2", "omniglot100",
    "trec6", "subj", "snips7", "tweet_irony", "sentiment/airline",
)  # fmt: skip
TUNED_SAMPLES = 1000  # most training samples for LP-FT
TRIED = {
    "linear_probe": [{"solver": "logistic", "scaling": "feature"}],
    "lp_ft": [
        {
            "freeze_fraction": fraction, "lr": lr, "weight_decay": 1e-3, "epochs": 6,
            "augment": 0.0, "label_smoothing": 0.0, "batch_norm": "frozen",
        }
        for fraction in (0.5,) for lr in (1e-4, 5e-4)
    ],
}  # fmt: skip
COLUMNS = (
    "set", "family", "modality", "n_classes", "n_train", "n_test", "backbone", "input_side",
    "source_domain", "n_params", "published_accuracy", "method", "accuracy", "validation",
    "params", "steps", "seconds", "seed",
)  # fmt: skip
CACHE_BYTES = 60 * 10**9


def main() -> None:
    """Measure pairs, or write the table of those that are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--method", choices=("probe", "lp_ft"))
    parser.add_argument("--sets", nargs="*", help="those of the method unless said")
    parser.add_argument("--part", default="1/1", help="this process' share of the pairs")
    parser.add_argument("--native", action="store_true", help="also larger inputs, as trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="write the pairs that are done as CSV")
    args = parser.parse_args()
    if args.method:
        measure_all(args)
    if args.table:
        write_table(args.work, args.table)


def measure_all(args: argparse.Namespace) -> None:
    """Measure the pairs of one method that are not done, one line of a file each."""
    part, n_parts = (int(n) for n in args.part.split("/"))
    method = {"probe": "linear_probe", "lp_ft": "lp_ft"}[args.method]
    args.work.mkdir(parents=True, exist_ok=True)
    out = args.work / f"{args.method}-{part}.jsonl"
    (args.work / "machine.json").write_text(json.dumps(describe(), indent=1))
    names = args.sets or (list(FAMILIES) if method == "linear_probe" else list(TUNED_SETS))
    for name in names:
        task = None
        for index, spec in enumerate(specs_for(name, method, args)):
            key = (name, short_name(spec), side(spec), method, args.seed)
            if index % n_parts != part - 1 or key in done(args.work):
                continue
            task = task or read(args.zoo, name, method, args.seed)
            record = {**facts(name, task, spec), **measure(task, spec, method, args)}
            record |= {"method": method, "seed": args.seed}
            with out.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(record) + "\n")
            print(*key[:4], f"{record['accuracy']:.4f}", f"{record['seconds']:.0f} s", flush=True)


def specs_for(name: str, method: str, args: argparse.Namespace) -> list[BackboneSpec]:
    """Return the backbones that read a set, at the input sizes that the method is judged at."""
    if name in TEXTS:
        return text_backbones(args.zoo, args.work)
    small = image_backbones(args.zoo, args.work, small=True)
    if not args.native:
        return small
    sizes = {(spec.name, side(spec)) for spec in small}
    whole = image_backbones(args.zoo, args.work, small=False)
    return small + [spec for spec in whole if (spec.name, side(spec)) not in sizes]


def side(spec: BackboneSpec) -> int:
    """Return the side of a backbone's input in pixels; 0 for texts."""
    return spec.input_size[-1] if spec.input_size else 0


def done(work: Path) -> set[tuple[Any, ...]]:
    """Return the keys of the pairs that are done."""
    keys = ("set", "backbone", "input_side", "method", "seed")
    return {tuple(record[k] for k in keys) for record in records(work)}


def records(work: Path) -> Iterator[dict[str, Any]]:
    """Yield what was measured; a line that was cut short is left out.

    Each is written with a line break before it, so that it never joins one that was cut short.
    """
    for file in sorted(work.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def read(zoo: Path, name: str, method: str, seed: int) -> Task:
    """Return the task of one set; for LP-FT, of a part of its training samples."""
    data = load(zoo, name)
    if method == "lp_ft" and len(data["X"]) > TUNED_SAMPLES:
        from sklearn.model_selection import train_test_split

        rows, _ = train_test_split(
            np.arange(len(data["X"])),
            train_size=TUNED_SAMPLES, stratify=data["y"], random_state=seed,
        )  # fmt: skip
        data["X"], data["y"] = ([data[k][i] for i in np.sort(rows)] for k in ("X", "y"))
    return build_task(**data, metric="accuracy", seed=seed)


def facts(name: str, task: Task, spec: BackboneSpec) -> dict[str, Any]:
    """Return what is known of a pair before anything is measured."""
    return {
        "set": name,
        "family": FAMILIES[name],
        "modality": task.modality.name,
        "n_classes": len(task.classes),
        "n_train": len(task.split.train_validation),
        "n_test": len(task.split.holdout),
        "backbone": short_name(spec),
        "input_side": side(spec),
        "source_domain": spec.source_domain,
        "n_params": spec.n_params,
        "published_accuracy": spec.published_accuracy,
    }


def measure(
    task: Task, spec: BackboneSpec, method: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Return the test accuracy of one pair after tuning on validation and refitting."""
    adaptation = get_registry().adaptations.get(method)
    caching = Caching(
        store=ActivationStore(args.work / "cache", CACHE_BYTES),
        digests=task.fingerprints,
        y=task.y,
        views=0,
        dtype="float32",
        demand=sorted({p["freeze_fraction"] for p in TRIED[method] if "freeze_fraction" in p}),
    )
    session = BackboneSession(spec, task.samples, task.modality, caching=caching)
    started, best = time.perf_counter(), None
    for params in TRIED[method]:
        candidate = Candidate(backbone=spec.name, adaptation=method, params=params)
        outcome = Outcome(trial=0, candidate=candidate, state="complete")
        n_steps = adaptation.max_steps(params)
        Evaluation(outcome, adaptation, session, task, None, args.seed).run(n_steps, keep_going)
        outcome.saved = None
        best = outcome if outcome.beats(best) else best
    if best is None:
        raise SystemExit(f"{spec.name} on {len(task.y)} samples: {outcome.reason}")
    fit = adaptation_task(
        best.candidate, adaptation, session, task, task.split.train_validation,
        depth=freeze_depth(best.freeze_fraction, session.n_groups),
        n_steps=best.planned_steps, weights=None, seed=args.seed,
    )  # fmt: skip
    with closing(adaptation.steps(fit, None)) as steps:
        for _ in range(best.steps):
            predictor = next(steps).predictor
    holdout = task.split.holdout
    proba = predictor.predict_proba(session.inputs(holdout))
    session.release()
    return {
        "accuracy": float(np.mean(proba.argmax(axis=1) == task.y[holdout])),
        "validation": best.value,
        "params": dict(best.candidate.params),
        "steps": best.steps,
        "seconds": time.perf_counter() - started,
    }


def keep_going(seconds: float) -> None:
    """Never stop a fit early."""


def write_table(work: Path, table: Path) -> None:
    """Write every pair that is done as CSV, and beside it where it came from."""
    rows = sorted(records(work), key=lambda r: (r["method"], r["set"], r["backbone"]))
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            shown = {**row, "params": json.dumps(row["params"], sort_keys=True)}
            for column in ("accuracy", "validation"):
                shown[column] = f"{row[column]:.4f}"
            writer.writerow({**shown, "seconds": f"{row['seconds']:.1f}"})
    provenance = {
        "command": "benchmarks/selection/ground_truth.py",
        "pairs": {m: sum(r["method"] == m for r in rows) for m in TRIED},
        "tried": TRIED,
        "machine": json.loads((work / "machine.json").read_text()),
    }
    table.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main()
