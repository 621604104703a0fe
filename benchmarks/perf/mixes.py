"""A 40-trial search on cached activations against the same trials without the cache.

    python benchmarks/perf/mixes.py --zoo ../shared/zoo --out mixes.json

For each mix of freeze fractions the same candidates, with the same seeds, run through the engine's
own study three times: without the cache, with one view and with four. The ceiling is what the
measured forward and backward times of the layers allow, extraction included. Each arm is written
when it is done, so that a run which was stopped goes on where it was.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from machine import describe

from autotl.data import build_task
from autotl.features import ActivationStore, BackboneSession, Caching, freeze_depth
from autotl.features.cost import CostProfile, measure
from autotl.ranking import Screened
from autotl.registry import get_registry
from autotl.search.budget import Budget
from autotl.search.study import evaluate
from autotl.search.study.belief import Belief
from autotl.search.study.build import build_study
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.chooser import Start
from autotl.shelf import open_shelf
from autotl.specs import Range

EPOCHS = 8
BATCH_SIZE = 32  # what fine_tune takes from 400 samples on
AUGMENT = 0.3
MIXES = {
    "A": ((1.0, 1 / 3), (0.75, 1 / 3), (0.5, 1 / 3)),
    "B": ((1.0, 0.8), (0.75, 0.2)),
    "C": ((1.0, 0.9), (0.9, 0.1)),
}


class InOrder:
    """Starts given candidates one after the other, in place of the engine's own choice.

    Args:
        candidates: What to try.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._left = list(candidates)

    def __call__(self, *known: Any) -> list[Start]:
        """Return the next candidate as the only start; nothing once all have begun."""
        if not self._left:
            return []
        candidate = self._left.pop(0)
        pair = (candidate.backbone, candidate.adaptation)
        return [
            Start(
                pair=pair, candidate=candidate, belief=Belief(mean=0.5, sd=0.1), cost=1.0, gain=1.0
            )
        ]


def draw(mix: str, backbones: Sequence[str], n_trials: int, augment: float, seed: int) -> list:
    """Return the candidates of a mix in random order, backbones in turn."""
    rng = np.random.default_rng(seed)
    shares = MIXES[mix]
    counts = [round(share * n_trials) for _, share in shares]
    counts[-1] += n_trials - sum(counts)
    fractions = np.repeat([f for f, _ in shares], counts)
    found = [
        Candidate(
            backbone=backbones[i % len(backbones)],
            adaptation="fine_tune",
            params={
                "freeze_fraction": float(fraction),
                "lr": float(10 ** rng.uniform(-4.5, -3)),
                "weight_decay": float(10 ** rng.uniform(-5, -2)),
                "epochs": EPOCHS,
                "augment": augment,
                "label_smoothing": 0.0,
                "batch_norm": "frozen",
            },
        )
        for i, fraction in enumerate(fractions)
    ]
    return [found[i] for i in rng.permutation(len(found))]


def sessions_of(task: Any, specs: Sequence[Any], caching: Caching | None) -> list[Screened]:
    """Open one session a backbone; its network is loaded before the clock starts."""
    sessions = [BackboneSession(s, task.samples, task.modality, caching=caching) for s in specs]
    for session in sessions:
        _ = session.loaded, session.n_groups
    return [Screened(session=session) for session in sessions]


def run_arm(
    task: Any, specs: Sequence[Any], candidates: Sequence[Candidate], caching: Caching | None
) -> dict[str, Any]:
    """Run the candidates and return the seconds and the values."""
    fine_tune = get_registry().adaptations.get("fine_tune")
    space = {**fine_tune.space, "freeze_fraction": Range(low=0.0, high=1.0)}
    screened = sessions_of(task, specs, caching)
    values: list[float | None] = []

    def on_outcome(outcome: Outcome) -> None:
        if outcome.state != "complete":
            raise SystemExit(f"trial {outcome.trial} {outcome.state}: {outcome.reason}")
        values.append(outcome.value)

    started = time.perf_counter()
    study = build_study(
        task, screened, [replace(fine_tune, space=space)],
        listed=[x.name for x in screened], budget=Budget(0, trials=len(candidates)), seed=0,
        floor=None, floor_proba=None, reserve=lambda best: 0.0, on_outcome=on_outcome, folder=None,
    )  # fmt: skip
    study.chooser.starts = InOrder(candidates)  # type: ignore[method-assign]
    study.halving.crossed = lambda outcome: False  # type: ignore[method-assign]  # none pauses
    study.run()
    seconds = time.perf_counter() - started
    kept = [list(s.session.kept) for s in screened]
    booked = sum(s.session.embed_seconds for s in screened)
    return {"seconds": seconds, "values": values, "kept": kept, "extraction_seconds": booked}


class Layers:
    """Forward and backward times of one backbone at the depths that a mix uses.

    Args:
        task: The task.
        spec: The backbone.
        starts: Freeze depth of each fraction, and the cut that it starts from.
    """

    def __init__(self, task: Any, spec: Any, starts: dict[int, int]) -> None:
        self.session = BackboneSession(spec, task.samples, task.modality)
        self.starts = starts
        n_groups = self.session.n_groups
        self.depths = tuple(sorted({0, n_groups, *starts, *starts.values()}))
        self.rounds: list[CostProfile] = []

    def measure(self, n_rounds: int = 5) -> None:
        """Time all layers once more."""
        self.session.embed(np.arange(BATCH_SIZE))  # warm
        for _ in range(n_rounds):
            profile = measure(self.session, batch_size=BATCH_SIZE, seconds=1e9, depths=self.depths)
            self.rounds.append(profile)

    def profile(self) -> CostProfile:
        """Return the medians of all rounds."""
        return replace(
            self.rounds[0],
            forward=tuple(np.median([r.forward for r in self.rounds], axis=0)),
            backward=tuple(np.median([r.backward for r in self.rounds], axis=0)),
        )


def ceiling(
    profile: CostProfile, starts: dict[int, int], depths: Sequence[int], sizes: tuple, views: int
) -> dict[str, float]:
    """Return the least seconds with and without the cache: layers only, nothing else.

    Each view of the training samples passes once through the layers before the deepest cut that
    is read (through all of them where a trial trains the head alone), and so do the samples as
    they are through all layers, for the embeddings that every trial reads.
    """
    n_train, n_validation, n_samples = sizes
    epoch = {"n_train": n_train, "n_validation": n_validation}
    without = sum(EPOCHS * profile.epoch(start=0, freeze_depth=d, **epoch) for d in depths)
    tails = sum(EPOCHS * profile.epoch(start=starts[d], freeze_depth=d, **epoch) for d in depths)
    deepest = max(starts[d] for d in depths)
    once = n_samples * profile.forward[-1]
    n_looks = views * n_samples * n_train / (n_train + n_validation)
    extraction = once + n_looks * profile.prefix(deepest)
    return {
        "without": without,
        "tails": tails,
        "extraction": extraction,
        "ratio": without / (tails + extraction),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--set", default="trashnet6")
    parser.add_argument(
        "--backbones", nargs="+", default=["local/mobilenetv1_025_imagenet128"], metavar="NAME"
    )
    parser.add_argument("--mixes", nargs="+", default=list(MIXES))
    parser.add_argument("--views", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--augment", type=float, default=AUGMENT)
    parser.add_argument("--samples", type=int, default=800)
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mixes.json"))
    args = parser.parse_args()
    evaluate._LEAST_PATIENCE = 10**6  # the trials are given: none ends early
    task = load_task(args)
    shelf = open_shelf(
        modality="image", backbones=args.backbones, weights=[str(args.zoo / "weights")]
    )
    done = json.loads(args.out.read_text()) if args.out.exists() else {}
    arguments = {k: str(v) for k, v in vars(args).items() if k != "mixes"}
    if done.get("arguments", arguments) != arguments:
        raise SystemExit(f"{args.out} holds arms of other arguments; give another --out.")
    done |= {"machine": describe(), "arguments": arguments}
    done.setdefault("mixes", {})
    for mix in args.mixes:
        entry = done["mixes"].setdefault(mix, {})
        run_mix(mix, entry, task, shelf.usable, args, lambda: _write(args.out, done))
        show(mix, entry)


def load_task(args: argparse.Namespace) -> Any:
    """Return a task of `--samples` samples of one of the zoo's sets."""
    sys.path.insert(0, str(args.zoo))
    from zoo import load

    images, y, names = load(args.zoo / "images" / f"{args.set}.npz")
    rows = np.random.default_rng(args.seed).permutation(len(images))[: args.samples]
    return build_task([images[i] for i in rows], [names[y[i]] for i in rows], seed=args.seed)


def run_mix(mix: str, entry: dict, task: Any, specs: Sequence[Any], args: Any, write: Any) -> None:
    names = [s.name for s in specs]
    candidates = draw(mix, names, args.trials, args.augment, args.seed)
    folds = task.split.folds
    sizes = (
        sum(len(f.train) for f in folds),
        sum(len(f.validation) for f in folds),
        len(task.split.train_validation),
    )
    layers: list[Layers] = []
    with tempfile.TemporaryDirectory() as folder:
        for views in args.views:
            store = ActivationStore(Path(folder, str(views)), 20 * 10**9)
            caching = Caching(
                store=store, digests=task.fingerprints, y=task.y, views=views,
                dtype=args.dtype, demand=[f for f, _ in MIXES[mix] if f < 1],
            )  # fmt: skip
            if not layers:
                layers = [_layers(task, spec, mix, caching) for spec in specs]
                _measure(layers)
            if f"views_{views}" not in entry:
                entry[f"views_{views}"] = run_arm(task, specs, candidates, caching)
                write()
    if "without" not in entry:
        _measure(layers)
        entry["without"] = run_arm(task, specs, candidates, None)
        write()
    _measure(layers)
    entry["sizes"] = sizes
    for views in args.views:
        arm = entry[f"views_{views}"]
        parts = [_ceiling(one, candidates, sizes, views, args) for one in layers]
        total = {k: sum(p[k] for p in parts) for k in ("without", "tails", "extraction")}
        arm["ceiling"] = {
            **total, "ratio": total["without"] / (total["tails"] + total["extraction"])
        }  # fmt: skip
        arm["ratio"] = entry["without"]["seconds"] / arm["seconds"]
        arm["of_ceiling"] = arm["ratio"] / arm["ceiling"]["ratio"]
        pairs = zip(entry["without"]["values"], arm["values"], strict=True)
        arm["largest_difference"] = max(abs(a - b) for a, b in pairs)
    write()


def _layers(task: Any, spec: Any, mix: str, caching: Caching) -> Layers:
    session = BackboneSession(spec, task.samples, task.modality, caching=caching)
    depths = [freeze_depth(f, session.n_groups) for f, _ in MIXES[mix]]
    return Layers(task, spec, {d: session.start_for(d) for d in depths})


def _measure(layers: Sequence[Layers]) -> None:
    for one in layers:
        one.measure()


def _ceiling(
    one: Layers, candidates: Sequence[Candidate], sizes: tuple, views: int, args: Any
) -> dict:
    own = [c for c in candidates if c.backbone == one.session.spec.name]
    depths = [freeze_depth(c.params["freeze_fraction"], one.session.n_groups) for c in own]
    looks = views if args.augment > 0 else 0
    return ceiling(one.profile(), one.starts, depths, sizes, looks)


def show(mix: str, entry: dict[str, Any]) -> None:
    """Print the lines of one mix."""
    print(f"mix {mix}: without the cache {entry['without']['seconds']:.1f} s")
    for name, arm in entry.items():
        if name.startswith("views_"):
            print(
                f"  {name.replace('_', ' ')}: {arm['seconds']:.1f} s, ratio {arm['ratio']:.2f}x, "
                f"ceiling {arm['ceiling']['ratio']:.2f}x, {arm['of_ceiling']:.0%} of it; "
                f"largest difference of a value {arm['largest_difference']:.2g}; "
                f"cuts kept {arm['kept']}",
                flush=True,
            )


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)


if __name__ == "__main__":
    main()
