"""Search with every method and with the probe and fine-tuning alone, at the same budget.

    python benchmarks/adaptation/spaces.py --zoo ../shared/zoo --work build/spaces

Both searches of a set run side by side, each on one thread, so that they share the machine alike;
backbones, splits and seed are the same, the activation cache begins empty and nothing is
remembered. The holdout is the zoo's test part. The last sets have few labels and a source: the
search with every method is given it, the other could not use it. What is done is kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "selection"))
from domains import read as read_domains
from fitting import Lines, few
from main_job import read, shelf_of

SETS = ("clothing10", "trashnet6", "dtd10", "signdigits10", "trec6", "subj", "tweet_irony")
# Target, source, labels per class of the target.
DOMAINS = (
    ("da_digits_mnistm", "da_digits_mnist", 10),
    ("da_digits_usps", "da_digits_mnistm", 10),
    ("sentiment/books", "sentiment/dvd", 20),
    ("sentiment/electronics", "sentiment/kitchen", 20),
)
THREE = ("linear_probe", "fine_tune", "lp_ft")
ARMS = ("three", "all")
KEY = ("set", "seed", "arm", "budget")


def data_of(options: argparse.Namespace, name: str, arm: str, seed: int) -> dict[str, Any]:
    """Return the arguments of `autotl.fit` about data."""
    known = {target: (source, n) for target, source, n in DOMAINS}
    if name not in known:
        return {
            **read(options.zoo, name, options.samples),
            **shelf_of(options.zoo, name, options.work),
        }
    source, n = known[name]
    names = (name, source)
    found = read_domains(options.zoo, names)
    data = found[name]
    codes = np.unique(data["y"], return_inverse=True)[1]
    rows = few(codes, np.arange(len(codes)), n, seed)
    data["X"], data["y"] = ([data[k][i] for i in rows] for k in ("X", "y"))
    if arm == "all":
        data["source"] = (found[source]["X"], found[source]["y"])
    return {**data, **shelf_of(options.zoo, name, options.work)}


def search_one(options: argparse.Namespace, name: str, arm: str, seed: int) -> None:
    """Search once and print the record as a line of JSON."""
    import autotl

    model = autotl.fit(
        **data_of(options, name, arm, seed),
        adaptations=THREE if arm == "three" else None,
        metric="accuracy", budget_seconds=options.budget, seed=seed,
        experience=False, progress=False,
    )  # fmt: skip
    result = model.result
    best = result["best"] or {}
    record = {
        "set": name, "seed": seed, "arm": arm, "budget": options.budget,
        "holdout": result["holdout"], "validation": best.get("validation"),
        "chosen": f"{best.get('adaptation')} on {best.get('backbone')}",
        "n_trials": result["n_trials"]["complete"], "soup": bool(result.get("soup")),
        "seconds": round(result["timings"]["total"], 1),
    }  # fmt: skip
    print("RECORD " + json.dumps(record))


def run_pair(options: argparse.Namespace, lines: Lines, name: str, seed: int) -> None:
    """Run what is missing of both searches, at the same time."""
    running = []
    for arm in ARMS:
        if lines.has({"set": name, "seed": seed, "arm": arm, "budget": options.budget}):
            continue
        cache = tempfile.TemporaryDirectory()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "AUTOTL_CACHE_DIR": cache.name}
        command = [
            sys.executable, __file__, "--zoo", str(options.zoo), "--work", str(options.work),
            "--budget", str(options.budget), "--samples", str(options.samples),
            "--one", name, arm, str(seed),
        ]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        running.append((cache, process))
    for cache, process in running:
        text = process.communicate()[0]
        for line in text.splitlines():
            if line.startswith("RECORD "):
                lines.add(json.loads(line.removeprefix("RECORD ")))
                print(line.removeprefix("RECORD "), flush=True)
        cache.cleanup()


def show(lines: Lines, names: list[str]) -> None:
    """Print accuracies on the holdout as Markdown."""
    cells: dict[tuple[str, str], list[float]] = {}
    for r in lines.records:
        cells.setdefault((r["set"], r["arm"]), []).append(100 * r["holdout"])
    for kind, wanted in (
        ("own labels alone", [n for n in names if n in SETS]),
        ("few labels, and a source", [n for n in names if n not in SETS]),
    ):
        print(f"\n| {kind} | three methods | every method | difference |\n|---|---|---|---|")
        differences = []
        for name in wanted:
            if all((name, arm) in cells for arm in ARMS):
                three, every = (float(np.mean(cells[name, arm])) for arm in ARMS)
                differences.append(every - three)
                print(f"| {name} | {three:.1f} | {every:.1f} | {every - three:+.1f} |")
        if differences:
            print(f"| mean | | | {np.mean(differences):+.1f} |")


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=[*SETS, *(d[0] for d in DOMAINS)])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--budget", type=float, default=150.0)
    parser.add_argument("--table", action="store_true", help="print only what is there")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.zoo, options.work = options.zoo.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.one:
        name, arm, seed = options.one
        search_one(options, name, arm, int(seed))
        return
    lines = Lines(options.work / "spaces.jsonl", KEY)
    for seed in options.seeds if not options.table else ():
        for name in options.sets:
            run_pair(options, lines, name, seed)
    show(lines, options.sets)


if __name__ == "__main__":
    main()
