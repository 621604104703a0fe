"""Test what a labelled source domain brings to a target without labels, and with all of them.

    python benchmarks/adaptation/domains.py --zoo ../shared/zoo --work build/adaptation

Digits (MNIST, USPS, MNIST-M, 32 x 32 pixels) and reviews of four kinds of goods. Every method
gets the source's labels and the target's training samples without any; it is tested on the
target's test part at its defaults, at its last step or the middle strength of its path. Beside
it stand what ignores the target (`source_only`, a probe, and `pooled_fine_tune`, which without
target labels is fine-tuning on the source alone) and what sees all of the target's labels
(`target: ...`). Nothing is chosen by the test. A last table tells what would have been lost by
choosing among the methods with each validator that sees no label of the target.
"""

import argparse
import itertools
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "selection"))
from fitting import Lines, Pool, Rows, accuracy_of, pool
from sets import load
from supervised import backbone

from autotl.registry import get_registry
from autotl.search.validators import VALIDATORS

DIGITS = ("da_digits_mnist", "da_digits_usps", "da_digits_mnistm")
REVIEWS = tuple(f"sentiment/{name}" for name in ("books", "dvd", "electronics", "kitchen"))
TARGET_METHODS = ("linear_probe", "fine_tune")
VALIDATOR_NAMES = tuple(VALIDATORS)
KEY = ("source", "target", "backbone", "method", "seed")
SIDE = 32
SOURCE_HELD = 5  # one of so many source samples is kept for the validators


def read(zoo: Path, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the domains of a family; pictures all of one size and in colour."""
    found = {}
    for name in names:
        data = load(zoo, name)
        if name in DIGITS:
            for part in ("X", "X_holdout"):
                data[part] = [_square(image) for image in data[part]]
        found[name] = data
    return found


def _square(image: Any) -> Any:
    from PIL import Image

    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def measure(options: argparse.Namespace, lines: Lines, names: tuple[str, ...]) -> None:
    """Measure all pairs of domains of a family."""
    data = read(options.zoo, names)
    modality = "image" if names == DIGITS else "text"
    samples, labels, rows = [], [], {}
    for name, parts in data.items():
        at = len(samples)
        n, n_test = len(parts["y"]), len(parts["y_holdout"])
        samples += [*parts["X"], *parts["X_holdout"]]
        labels += [*parts["y"], *parts["y_holdout"]]
        rows[name] = np.arange(at, at + n), np.arange(at + n, at + n + n_test)
    spec = backbone(options.zoo, options.work, modality, options.image_backbone)
    if modality == "image" and spec.input_size is not None:
        spec = replace(spec, input_size=(spec.input_size[0], SIDE, SIDE))
    given = pool(spec, samples, labels, modality, options.work)
    for seed, (source, target) in itertools.product(
        options.seeds, itertools.permutations(names, 2)
    ):
        if options.sources and source not in options.sources:
            continue
        _measure(options, lines, given, rows[source][0], rows[target], (source, target, seed))
    given.session.release()


def _measure(
    options: argparse.Namespace, lines: Lines, given: Pool, source: np.ndarray,
    target: tuple[np.ndarray, np.ndarray], pair: tuple[str, str, int],
) -> None:  # fmt: skip
    train, test = target
    for method in get_registry().adaptations:
        own = method.name in TARGET_METHODS
        if not own and (method.needs_labels or not method.needs):
            continue
        if options.methods and method.name not in options.methods:
            continue
        record = {
            "source": "" if own else pair[0], "target": pair[1],
            "backbone": given.session.spec.name.rsplit("/", 1)[-1],
            "method": f"target: {method.name}" if own else method.name, "seed": pair[2],
        }  # fmt: skip
        if lines.has(record):
            continue
        held = source[::SOURCE_HELD]
        rows = Rows(
            train=train, test=test, source=None if own else np.setdiff1d(source, held),
            source_validation=None if own else held,
        )  # fmt: skip
        found = accuracy_of(given, rows, method, method.defaults, pair[2], labelled=own)
        lines.add({**record, **found})
        print(*record.values(), found["test"], f"{found['cpu_seconds']} s", flush=True)


def show(lines: Lines, names: tuple[str, ...]) -> None:
    """Print accuracies by pair of domains as Markdown."""
    cells: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for r in lines.records:
        if r["target"] in names:
            cells[r["source"], r["target"], r["method"]].append(r["test"])
    pairs = list(itertools.permutations(names, 2))
    methods = list(dict.fromkeys(k[2] for k in cells))
    short = {name: name.rsplit("_", 1)[-1].rsplit("/", 1)[-1] for name in names}
    heads = [f"{short[s]} to {short[t]}" for s, t in pairs]
    print("| method | " + " | ".join(heads) + " | mean |")
    print("|---" * (2 + len(pairs)) + "|")
    for method in methods:
        row = [
            cells.get((("" if method.startswith("target") else s), t, method), [])
            for s, t in pairs
        ]
        shown = [f"{100 * np.mean(v):.1f}" if v else "" for v in row]
        known = [100 * float(np.mean(v)) for v in row if v]
        print(f"| {method} | " + " | ".join(shown) + f" | {np.mean(known):.1f} |")


def show_validators(lines: Lines, names: tuple[str, ...]) -> None:
    """Print what choosing by a validator loses against the best method, and how ranks agree."""
    from scipy.stats import spearmanr

    runs: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for r in lines.records:
        if r["target"] in names and VALIDATOR_NAMES[0] in r:
            r["mean"] = float(np.mean([r[v] for v in VALIDATOR_NAMES]))
            runs[r["source"], r["target"], r["seed"]].append(r)
    runs = {pair: found for pair, found in runs.items() if len(found) > 1}
    print("| chosen by | points below the best | rank correlation | below `source_only` |")
    print("|---|---|---|---|")
    for name in (*VALIDATOR_NAMES, "mean"):
        lost, ranks, below = [], [], 0
        for found in runs.values():
            test = [r["test"] for r in found]
            chosen = max(found, key=lambda r: r[name])
            lost.append(100 * (max(test) - chosen["test"]))
            ranks.append(float(spearmanr([r[name] for r in found], test).statistic))
            plain = [r["test"] for r in found if r["method"] == "source_only"]
            below += bool(plain) and chosen["test"] < plain[0]
        print(f"| {name} | {np.mean(lost):.1f} | {np.nanmean(ranks):.2f} | {below}/{len(runs)} |")


def main() -> None:
    """Measure, then print a table for each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--families", nargs="*", default=["digits", "reviews"])
    parser.add_argument("--sources", nargs="*", help="only from these domains")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--image-backbone", default="local/resnet20_cifar10")
    parser.add_argument("--table", action="store_true", help="print only what is there")
    options = parser.parse_args()
    options.zoo, options.work = options.zoo.resolve(), options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    lines = Lines(options.work / "domains.jsonl", KEY)
    for family in options.families:
        names = DIGITS if family == "digits" else REVIEWS
        if not options.table:
            measure(options, lines, names)
        print()
        show(lines, names)
        print()
        show_validators(lines, names)


if __name__ == "__main__":
    main()
