"""Test every method that needs no other domain, at few labels per class.

    python benchmarks/adaptation/supervised.py --zoo ../shared/zoo --work build/adaptation

Each method runs at its defaults, as it is first tried in a search, on labels drawn from the
training part, and is tested on the test part at its last step; the rest of the training part is
what methods see that learn from samples without labels. Nothing is chosen by the test. What
is done is kept, so that the command can be repeated after an interruption. `--table` prints means.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "selection"))
from backbones import image_backbones, minilm, short_name
from fitting import Lines, Pool, Rows, accuracy_of, few, pool
from sets import TEXTS, load

from autotl.registry import get_registry
from autotl.shelf import open_shelf
from autotl.specs import BackboneSpec

IMAGES = ("clothing10", "trashnet6", "dtd10", "signdigits10")
WORDS = ("trec6", "snips7", "subj", "sst2", "tweet_irony", "sentiment/airline")
COUNTS = (5, 20, 100)
IMAGE_BACKBONE = "local/mobilenetv1_050_imagenet160"
N_LAYERS = 6
N_TEST = 500
LEAST_UNLABELED = 100
KEY = ("set", "backbone", "n", "method", "seed")


def backbone(zoo: Path, work: Path, modality: str, name: str) -> BackboneSpec:
    """Return the backbone that all methods start from."""
    if modality == "text":
        folder = minilm(N_LAYERS, work / f"minilm-{N_LAYERS}")
        (spec,) = open_shelf(modality="text", backbones=[f"text:{folder}"]).usable
        return spec
    found = {short_name(s): s for s in image_backbones(zoo, work, small=True)}
    if name not in found:
        raise SystemExit(f"{name!r} is none of {', '.join(sorted(found))}.")
    return found[name]


def measure(options: argparse.Namespace, lines: Lines) -> None:
    """Measure what is missing, few labels first."""
    for name in options.sets:
        modality = "text" if name in TEXTS else "image"
        data = load(options.zoo, name)
        spec = backbone(options.zoo, options.work, modality, options.image_backbone)
        n_train, n_test = len(data["y"]), min(N_TEST, len(data["y_holdout"]))
        samples = [*data["X"], *data["X_holdout"][:n_test]]
        given = pool(
            spec, samples, [*data["y"], *data["y_holdout"][:n_test]], modality, options.work
        )
        for n in options.counts:
            for seed in options.seeds:
                train = few(given.y, np.arange(n_train), n, seed)
                rows = Rows(
                    train=train, test=np.arange(n_train, n_train + n_test),
                    unlabeled=np.setdiff1d(np.arange(n_train), train),
                )  # fmt: skip
                _measure(options, lines, given, rows, name, n, seed)
        given.session.release()


def _measure(
    options: argparse.Namespace,
    lines: Lines,
    given: Pool,
    rows: Rows,
    name: str,
    n: int,
    seed: int,
) -> None:
    modality = given.session.modality.name
    for method in get_registry().adaptations:
        if method.modalities is not None and modality not in method.modalities:
            continue
        if method.needs - {"unlabeled"} or (
            method.needs and len(rows.unlabeled) < LEAST_UNLABELED
        ):
            continue
        if options.methods and method.name not in options.methods:
            continue
        record = {
            "set": name, "backbone": short_name(given.session.spec), "n": n,
            "method": method.name, "seed": seed,
        }  # fmt: skip
        if lines.has(record):
            continue
        found = accuracy_of(given, rows, method, method.defaults, seed)
        lines.add({**record, "n_train": len(rows.train), **found})
        print(*record.values(), found["test"], f"{found['cpu_seconds']} s", flush=True)


def show(lines: Lines, sets: list[str]) -> None:
    """Print mean accuracies over sets and seeds as Markdown, and wins over the probe."""
    counts = sorted({r["n"] for r in lines.records})
    means: dict[tuple[str, int], list[float]] = defaultdict(list)
    cells: dict[tuple[str, int, str, int], float] = {}
    for r in lines.records:
        if r["set"] in sets:
            cells[r["set"], r["n"], r["method"], r["seed"]] = r["test"]
    methods = list(dict.fromkeys(k[2] for k in cells))
    for (name, n, method, seed), value in cells.items():
        probe = cells.get((name, n, "linear_probe", seed))
        if probe is not None:
            means[method, n].append(100 * (value - probe))
    print("| method | " + " | ".join(f"{n} a class" for n in counts) + " |")
    print("|---" * (1 + len(counts)) + "|")
    for method in methods:
        row = [means.get((method, n), []) for n in counts]
        shown = [f"{np.mean(v):+.1f} ({len(v)})" if v else "" for v in row]
        print(f"| {method} | " + " | ".join(shown) + " |")


def main() -> None:
    """Measure, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=[*IMAGES, *WORDS])
    parser.add_argument("--counts", nargs="*", type=int, default=list(COUNTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--image-backbone", default=IMAGE_BACKBONE)
    parser.add_argument("--table", action="store_true", help="print only what is there")
    options = parser.parse_args()
    options.zoo, options.work = options.zoo.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    lines = Lines(options.work / "supervised.jsonl", KEY)
    if not options.table:
        measure(options, lines)
    for kind in (IMAGES, WORDS):
        sets = [s for s in options.sets if s in kind]
        if sets:
            print(f"\nPoints of accuracy over the probe, mean over {', '.join(sets)}:\n")
            show(lines, sets)


if __name__ == "__main__":
    main()
