"""Search shelves on which negative transfer was planted: how much time goes to it.

    python benchmarks/selection/planted.py --work build/planted --budget 45 --seeds 0 1 2

Real searches on 700 real images. Planted: a backbone trained from scratch for six epochs on
CIFAR-10 with shuffled labels (its spread of weights is a network's, its features know nothing); a
backbone trained on CIFAR-10 that reads all images with the same shuffling of pixels; one from a
far domain (sketches, for photographs; faces, for digits); and LP-FT with learning rates of .3 to
3, a thousand times too high, beside the real methods. A shelf has these alone, or these and one
backbone that helps; then the ruinous method can be met on all five pairs. None has a record on
other sets. Time is that of trials, embedding in it included; screening is extra. With
`--processor-time` the clock of each search is the processor time of its process, so that other
work on the machine takes nothing from it. Each run is a line of a file, so that the command goes
on where it was stopped.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from backbones import image_backbones
from ground_truth import records
from sets import load

from autotl.data import Task, build_task
from autotl.registry import get_registry
from autotl.result.device import pick_device
from autotl.search.budget import Budget
from autotl.search.engine import Search
from autotl.search.progress import SilentProgress
from autotl.search.settings import Settings, select_adaptations
from autotl.shelf import Shelf
from autotl.specs import AdaptationSpec, BackboneSpec, LoadedBackbone, Range

RUINOUS = "ruinous"
N_SAMPLES = 700
_SMALL, _SOURCE = "local/resnet8_cifar10", "cifar10_small"
_EPOCHS, _BATCH = 6, 64  # of the training on shuffled labels


@dataclass(frozen=True, kw_only=True)
class Case:
    """A data set with planted backbones.

    Args:
        data: Name of the set.
        far: Backbone from a far domain.
        helpful: Backbone that beats the floor; "" where nothing does.
    """

    data: str
    far: str
    helpful: str = ""

    @property
    def name(self) -> str:
        """Say what the shelf holds."""
        return f"{self.data}, {self.helpful or 'nothing'} helps"


_FAR = {
    "clothing10": "local/doodlenet_quickdraw28",
    "da_digits_usps": "local/big_xception_fer2013",
}
CASES = tuple(
    Case(data=data, far=_FAR[data], helpful=helpful)
    for data, helpful in (
        ("clothing10", "local/mobilenetv1_025_imagenet128"),
        ("da_digits_usps", "embedded/glyphs"),
        ("clothing10", ""),
        ("da_digits_usps", ""),
    )
)


def renamed(spec: BackboneSpec, name: str, **changes: Any) -> BackboneSpec:
    """Return a backbone under a name that no record of other sets knows."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return dataclasses.replace(
        spec, name=f"planted/{name}", weights_digest=lambda: digest, source_fingerprint=None,
        has_source_probs=False, **changes,
    )  # fmt: skip


def shuffle_pixels(spec: BackboneSpec, seed: int = 0) -> BackboneSpec:
    """Let a backbone read all images with the same shuffling of their pixels."""

    def load_shuffled(device: str) -> LoadedBackbone:
        loaded = spec.load(device)

        def preprocess(samples: Sequence[Any]) -> Any:
            batch = loaded.preprocess(samples)
            flat = batch.flatten(2)
            order = np.random.default_rng(seed).permutation(flat.shape[2])
            return flat[:, :, order].reshape(batch.shape)

        return dataclasses.replace(loaded, preprocess=preprocess, source_probs=None)

    return renamed(spec, "shuffled-pixels", load=load_shuffled)


def shuffle_labels(spec: BackboneSpec, weights: Path) -> BackboneSpec:
    """Give a backbone weights that were trained on shuffled labels."""

    def load_shuffled(device: str) -> LoadedBackbone:
        from safetensors.torch import load_file

        loaded = spec.load(device)
        loaded.module.load_state_dict(load_file(weights))
        return dataclasses.replace(loaded, source_probs=None)

    return renamed(spec, "shuffled-labels", load=load_shuffled, published_accuracy=None)


def train_on_shuffled_labels(spec: BackboneSpec, data: dict[str, Any], weights: Path) -> None:
    """Train a backbone from scratch on shuffled labels and write its weights."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    loaded = spec.load("cpu")
    x = torch.cat(
        [loaded.preprocess(data["X"][i : i + 256]) for i in range(0, len(data["X"]), 256)]
    )
    y = torch.from_numpy(rng.permutation(np.unique(data["y"], return_inverse=True)[1]))
    for module in loaded.module.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    head = torch.nn.Linear(loaded.module(x[:2]).shape[1], int(y.max()) + 1)
    network = torch.nn.Sequential(loaded.module, head).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(_EPOCHS):
        for rows in torch.from_numpy(rng.permutation(len(x))).split(_BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    save_file(loaded.module.eval().state_dict(), weights)


def ruinous(method: AdaptationSpec) -> AdaptationSpec:
    """Return a method whose learning rates are a thousand times too high."""
    return dataclasses.replace(
        method,
        name=RUINOUS,
        space={**method.space, "lr": Range(low=0.3, high=3.0, log=True)},
        defaults={**method.defaults, "lr": 1.0},
    )


def shelf_of(case: Case, zoo: Path, work: Path) -> Shelf:
    """Return a case's backbones, the planted ones first."""
    known = {spec.name: spec for spec in image_backbones(zoo, work, small=True)}
    weights = work / "shuffled_labels.safetensors"
    if not weights.exists():
        train_on_shuffled_labels(known[_SMALL], load(zoo, _SOURCE), weights)
    specs = [
        shuffle_labels(known[_SMALL], weights),
        shuffle_pixels(known[_SMALL]),
        renamed(known[case.far], "far-domain"),
    ]
    if case.helpful:
        specs.append(renamed(known[case.helpful], "helpful"))
    return Shelf(usable=specs)


def task_of(case: Case, zoo: Path, seed: int) -> Task:
    """Return the task of a case on some of its training samples."""
    from sklearn.model_selection import train_test_split

    data = load(zoo, case.data)
    if len(data["X"]) > N_SAMPLES:
        rows, _ = train_test_split(
            np.arange(len(data["X"])),
            train_size=N_SAMPLES, stratify=data["y"], random_state=seed,
        )  # fmt: skip
        data["X"], data["y"] = ([data[k][i] for i in np.sort(rows)] for k in ("X", "y"))
    return build_task(**data, metric="accuracy", seed=seed, guard=True)


def run_case(case: Case, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Search one shelf once and return what became of it."""
    cache = args.work / "cache"
    shutil.rmtree(cache, ignore_errors=True)  # embedding is a part of what a backbone costs
    os.environ["AUTOTL_CACHE_DIR"] = str(cache)
    task, shelf = task_of(case, args.zoo, seed), shelf_of(case, args.zoo, args.work)
    device = pick_device()  # loads the libraries before the clock starts
    budget = Budget(args.budget)
    search = Search(
        task,
        shelf,
        Settings(budget_seconds=args.budget, seed=seed, device=device),
        budget,
        SilentProgress(),
    )
    search.adaptations = [
        *select_adaptations(None),
        ruinous(get_registry().adaptations.get("lp_ft")),
    ]
    result = search.run().result
    return {"case": case.name, "seed": seed, "budget": args.budget, **shown(result)}


def shown(result: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a result that tells where its time went."""
    columns = (
        "trial", "backbone", "adaptation", "validation", "state", "reason", "why", "steps",
        "planned_steps", "seconds", "finished_at",
    )  # fmt: skip
    ranking = result["ranking"] or {}
    return {
        "floor": result["floor"],
        "shipped": result["shipped"],
        "verdict": result["verdict"],
        "stopped_by": result["stopped_by"],
        "timings": result["timings"],
        "guard": result["guard"],
        "warnings": result["warnings"],
        "ranking": ranking.get("backbones", ranking),
        "trials": sorted(
            ({k: row[k] for k in columns} for row in result["leaderboard"]),
            key=lambda row: row["trial"],
        ),
    }


def is_planted(trial: dict[str, Any]) -> bool:
    """Say whether a trial's backbone or method was planted to do harm."""
    return trial["backbone"] != "planted/helpful" or trial["adaptation"] == RUINOUS


def planted_share(record: dict[str, Any]) -> float:
    """Return the share of all trials' seconds that went to planted ones."""
    seconds = np.array([trial["seconds"] for trial in record["trials"]])
    planted = np.array([is_planted(trial) for trial in record["trials"]], bool)
    return float(seconds[planted].sum() / max(seconds.sum(), 1e-9))


def ended(record: dict[str, Any]) -> float:
    """Return when the search had ended and finishing began, as a share of the budget."""
    stages = sum(record["timings"][k] for k in ("reading", "floor", "screening", "search"))
    return float(stages / record["budget"])


def best_planted(record: dict[str, Any]) -> float:
    """Return the best validation value of a planted trial less the floor's."""
    values = [t["validation"] for t in record["trials"] if is_planted(t) and t["validation"]]
    return max(values, default=float("nan")) - record["floor"]["validation"]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print one line for each run, and the two bars."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "shelf": lambda r: str(r["case"]),
        "seed": lambda r: str(r["seed"]),
        "trials (planted)": lambda r: f"{len(r['trials'])} ({sum(map(is_planted, r['trials']))})",
        "trial seconds": lambda r: f"{sum(t['seconds'] for t in r['trials']):.1f}",
        "on planted, %": lambda r: f"{100 * planted_share(r):.0f}",
        "best planted less floor, points": lambda r: f"{100 * best_planted(r):+.1f}",
        "ended by": lambda r: r["stopped_by"],
        "at, % of the budget": lambda r: f"{100 * ended(r):.0f}",
        "finished at": lambda r: f"{100 * r['timings']['total'] / r['budget']:.0f}",
        "shipped": lambda r: r["shipped"],
    }
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in sorted(rows, key=lambda r: (r["case"], r["seed"])):
        print("| " + " | ".join(read(row) for read in columns.values()) + " |")
    for helps, title, measure in (
        (True, "share of trial seconds on planted ones", planted_share),
        (False, "end of the search as a share of its budget", ended),
    ):
        found = [measure(r) for r in rows if ("nothing" not in r["case"]) == helps]
        if found:
            print(f"{title}: mean {100 * np.mean(found):.1f} %, most {100 * max(found):.1f} %")


def main() -> None:
    """Run what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--budget", type=float, default=45.0, help="seconds of each search")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--cases", type=int, nargs="*", default=list(range(len(CASES))))
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--show", action="store_true", help="run nothing")
    args = parser.parse_args()
    if args.processor_time:
        time.monotonic = time.perf_counter = time.process_time
    args.work.mkdir(parents=True, exist_ok=True)
    done = {(r["case"], r["seed"], r["budget"]) for r in records(args.work)}
    for seed in [] if args.show else args.seeds:
        for case in (CASES[k] for k in args.cases):
            if (case.name, seed, args.budget) in done:
                continue
            record = run_case(case, args, seed)
            with (args.work / "runs.jsonl").open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(record) + "\n")
            print(case.name, seed, f"{100 * planted_share(record):.0f} %", flush=True)
    show([r for r in records(args.work) if r["budget"] == args.budget])


if __name__ == "__main__":
    main()
