"""Learning curves of backbone, method, depth and rate on every set: what searches are judged by.

    python benchmarks/selection/curves.py --work /tmp/curves --plan
    python benchmarks/selection/curves.py --work /tmp/curves --part 1/2
    python benchmarks/selection/curves.py --work /tmp/curves --table curves.parquet

Every curve is fitted by the engine's own methods on the training rows of the first fold, at most
1,000 samples with the validation rows, and judged after each step on the validation rows, on the
guard block where the split has one, and on the set's test part; nothing is refitted. `design.py`
says which curves; `oracle.py` says what is kept of each, and plays them back. Images larger than
96 pixels are read at 96.

A curve that is done is a line of a file, so that the command goes on where it was stopped;
`--part 1/2` and `--part 2/2` share the work between two processes. First come the probes and
floors of all sets with tuned truth, then their tuned rounds, those with few epochs first, then the
same for all other sets: stopped at any time, what is there can be used.
"""

import argparse
import functools
import itertools
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "perf"))
from backbones import image_backbones, short_name, text_backbones
from design import ROUNDS, full_params, tuned_configs
from ground_truth import TUNED_SETS, facts, read
from machine import describe
from measuring import curve, first_fold, floors, frozen_costs, sizes
from oracle import FLOOR, FROZEN, lines, read_rows, write_rows
from sets import FAMILIES, TEXTS

from autotl.data import Task
from autotl.defaults import VIEWS
from autotl.features import ActivationStore, BackboneSession, Caching, CostProfile, freeze_depth
from autotl.registry import get_registry
from autotl.specs import AdaptationSpec, BackboneSpec, Choice

CACHE_BYTES = 10 * 10**9  # of all parts together; what is evicted is computed again
DEMAND = (0.0, 0.25, 0.5, 0.75, 0.9)
PROBE_SECONDS = 1.0  # a guess, for the plan
Fit = tuple[AdaptationSpec, dict[str, Any]]


def main() -> None:
    """Measure curves, say how long that takes, or write the table of those that are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--sets", nargs="*", help="all, those with tuned truth first, unless said")
    parser.add_argument("--rounds", nargs="*", choices=ROUNDS, default=list(ROUNDS))
    parser.add_argument("--part", default="1/1", help="this process' share of the pairs")
    parser.add_argument("--backbones", nargs="*", help="short names; all unless said")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plan", action="store_true", help="count curves and estimate hours")
    parser.add_argument("--table", type=Path, help="write the curves that are done as Parquet")
    args = parser.parse_args()
    args.work = args.work.absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.plan:
        print_plan(args)
    elif args.table:
        write_table(args.work, args.table)
    else:
        measure_all(args)


def stages(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Yield rounds with their sets, the most useful first."""
    names = args.sets or list(FAMILIES)
    first = [name for name in TUNED_SETS if name in names]
    for group in (first, [name for name in names if name not in first]):
        yield from ((round_, group) for round_ in ROUNDS if round_ in args.rounds and group)


def measure_all(args: argparse.Namespace) -> None:
    """Measure what is not done, one line of a file each."""
    part, n_parts = (int(n) for n in args.part.split("/"))
    (args.work / f"machine-{part}.json").write_text(json.dumps(describe(), indent=1))
    out = Lines(args.work, part)
    for round_, names in stages(args):
        for name in names:
            task: Task | None = None
            for number, spec in enumerate(chosen_specs(name, args)):
                # Sets take turns, so that no part has the larger half of every pair of sizes.
                if (number + zlib.crc32(name.encode())) % n_parts != part - 1:
                    continue
                todo = Pair(name, spec, round_, args, out)
                if todo.finished():
                    continue
                task = task or first_fold(read(args.zoo, name, "lp_ft", args.seed))
                todo.measure(task)
            if round_ == "probe" and part == 1 + zlib.crc32(name.encode()) % n_parts:
                measure_floors(name, args, out)


def chosen_specs(name: str, args: argparse.Namespace) -> list[BackboneSpec]:
    """Return the backbones that read a set, small inputs only."""
    specs = known_specs(name in TEXTS, args.zoo, args.work)
    return [s for s in specs if not args.backbones or short_name(s) in args.backbones]


@functools.cache
def known_specs(texts: bool, zoo: Path, work: Path) -> list[BackboneSpec]:
    """Return the backbones of one modality, smallest first."""
    return text_backbones(zoo, work) if texts else image_backbones(zoo, work, small=True)


class Lines:
    """What is done, and where more of it goes.

    Args:
        work: Folder of the lines of all parts.
        part: Number of this one.
    """

    def __init__(self, work: Path, part: int) -> None:
        self._file = work / f"curves-{part}.jsonl"
        self.frozen: dict[tuple[str, str, int], dict[str, Any]] = {}
        self.keys: set[tuple[Any, ...]] = set()
        for record in lines(work):
            self._note(record)

    def add(self, *records: dict[str, Any]) -> None:
        """Keep records: a line break comes first, so that none joins one that was cut short."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write("".join(f"\n{json.dumps(record)}\n" for record in records))
        for record in records:
            self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        self.keys.add(key(record))
        if record["method"] == FROZEN:
            self.frozen[record["set"], record["backbone"], record["seed"]] = record


def key(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells two records apart."""
    return tuple(record.get(k) for k in ("set", "backbone", "method", "params", "seed"))


class Pair:
    """One backbone on one set in one round.

    Args:
        name: Of the set.
        spec: The backbone.
        round_: One of ROUNDS.
        args: Of the command.
        out: What is done.
    """

    def __init__(
        self, name: str, spec: BackboneSpec, round_: str, args: argparse.Namespace, out: Lines
    ) -> None:
        self.name, self.spec, self.round, self.args, self.out = name, spec, round_, args, out
        self.backbone = short_name(spec)
        self.key = (name, self.backbone, args.seed)

    def frozen(self) -> dict[str, Any] | None:
        """Return what the backbone costs, where that was measured."""
        return self.out.frozen.get(self.key)

    def configs(self, n_groups: int) -> list[Fit]:
        """Return the methods and parameters of this round."""
        adaptations = get_registry().adaptations
        if self.round == "probe":
            probe = adaptations.get("linear_probe")
            choices = [
                [(name, option) for option in dimension.options]
                for name, dimension in probe.space.items()
                if isinstance(dimension, Choice)
            ]
            return [(probe, dict(values)) for values in itertools.product(*choices)]
        found = tuned_configs(
            self.round, self.backbone, n_groups,
            images=self.spec.modality == "image",
            seed=(self.args.seed, zlib.crc32(f"{self.name} {self.backbone}".encode())),
        )  # fmt: skip
        specs = [adaptations.get(config["adaptation"]) for config in found]
        return [(s, full_params(s, config)) for s, config in zip(specs, found, strict=True)]

    def todo(self, n_groups: int) -> list[Fit]:
        """Return the configurations of this round that are not done."""

        def is_done(method: str, params: dict[str, Any]) -> bool:
            shown = json.dumps(params, sort_keys=True)
            return (self.name, self.backbone, method, shown, self.args.seed) in self.out.keys

        return [(s, p) for s, p in self.configs(n_groups) if not is_done(s.name, p)]

    def finished(self) -> bool:
        """Say whether all of this round is done; before a first look at the backbone, nothing."""
        frozen = self.frozen()
        return frozen is not None and not self.todo(frozen["n_groups"])

    def measure(self, task: Task) -> None:
        """Measure all configurations of this round that are not done."""
        session = BackboneSession(
            self.spec, task.samples, task.modality,
            caching=Caching(
                store=ActivationStore(self.args.work / "cache", CACHE_BYTES),
                digests=task.fingerprints, y=task.y, views=VIEWS, demand=DEMAND,
            ),
        )  # fmt: skip
        shared = {**facts(self.name, task, self.spec), **sizes(task), "seed": self.args.seed}
        if self.frozen() is None:
            self.out.add({**shared, "method": FROZEN, **frozen_costs(session, task)})
        frozen = self.frozen() or {}
        for method, params in self.todo(session.n_groups):
            shown = {"method": method.name, "params": json.dumps(params, sort_keys=True)}
            record = {
                **shared, **shown, "round": self.round,
                **curve(session, task, method, params, frozen),
            }  # fmt: skip
            self.out.add(record)
            test = record["test"][record["best_step"] - 1] if record["best_step"] else float("nan")
            print(
                self.round, self.name, self.backbone, method.name, shown["params"],
                f"{test:.4f}", f"{sum(record['seconds']):.1f} s", flush=True,
            )  # fmt: skip
        session.release()


def measure_floors(name: str, args: argparse.Namespace, out: Lines) -> None:
    """Measure the raw-feature models of a set, all or none of them."""
    if any((k[0], k[2], k[4]) == (name, FLOOR, args.seed) for k in out.keys):
        return
    task = first_fold(read(args.zoo, name, "lp_ft", args.seed))
    shared = {
        "set": name, "family": FAMILIES[name], "modality": task.modality.name,
        "n_classes": len(task.classes), "seed": args.seed, **sizes(task),
    }  # fmt: skip
    records = [{**shared, **record} for record in floors(task)]
    out.add(*records)
    for record in records:
        print(FLOOR, name, record["backbone"], record["test"], record["seconds"], flush=True)


class Costs:
    """CPU seconds of what is not done, from profiles and from what is done.

    Args:
        records: What is done.
    """

    def __init__(self, records: list[dict[str, Any]]) -> None:
        frozen = [r for r in records if r["method"] == FROZEN]
        self._own = {(r["set"], r["backbone"], r["seed"]): r for r in frozen}
        self._other = {r["backbone"]: r for r in frozen}  # on another set it costs about as much
        took = expected = 0.0
        for r in records:
            own = self._own.get((r["set"], r["backbone"], r["seed"]))
            if own is not None and r.get("round") in ROUNDS[1:]:
                took += sum(r["seconds"])
                expected += self._steps(own, r["freeze_depth"], len(r["seconds"]), n_test=0)
        self._correction = took / expected if expected else 1.0

    def frozen(self, pair: Pair) -> dict[str, Any] | None:
        """Return the profile of a pair's backbone; None where there is none yet."""
        return self._own.get(pair.key) or self._other.get(pair.backbone)

    def todo(self, frozen: dict[str, Any], fits: list[Fit]) -> float:
        """Return the seconds of some fits of one pair, activations and test included."""
        n_rows = sum(frozen[n] for n in ("n_train", "n_validation", "n_test"))
        seconds, seen = 0.0, set()
        for method, params in fits:
            if not method.trains_backbone:
                continue
            depth = freeze_depth(params["freeze_fraction"], frozen["n_groups"])
            seconds += self._correction * self._steps(frozen, depth, params["epochs"])
            seen.add((self._start(frozen, depth), params["augment"] > 0))
        for start, augmented in seen:
            rows = VIEWS * frozen["n_train"] if augmented else n_rows
            seconds += rows * dict(map(tuple, frozen["extract"])).get(start, 0.0)
        if len(seen) == 0:
            seconds += n_rows * frozen["embed_seconds"] + PROBE_SECONDS * len(fits)
        return seconds

    def _steps(
        self, frozen: dict[str, Any], depth: int, n_steps: int, n_test: int | None = None
    ) -> float:
        depths, forward, backward = map(tuple, frozen["profile"])
        profile = CostProfile(depths=depths, forward=forward, backward=backward, batch_size=16)
        n_test = frozen["n_test"] if n_test is None else n_test
        return n_steps * profile.epoch(
            start=self._start(frozen, depth), freeze_depth=depth,
            n_train=frozen["n_train"], n_validation=frozen["n_validation"] + n_test,
        )  # fmt: skip

    @staticmethod
    def _start(frozen: dict[str, Any], depth: int) -> int:
        return max((d for d in frozen["kept"] if d <= depth), default=0)


def print_plan(args: argparse.Namespace) -> None:
    """Print how many curves each round has, how many are done, and CPU hours for the rest.

    Costs come from the profiles that the probe round leaves and from the curves that are done.
    """
    out, costs = Lines(args.work, 0), Costs(list(lines(args.work)))
    for round_, names in stages(args):
        n_all = n_left = n_unknown = 0
        seconds = 0.0
        for name, spec in ((n, s) for n in names for s in chosen_specs(n, args)):
            pair = Pair(name, spec, round_, args, out)
            frozen = costs.frozen(pair)
            if frozen is None:
                n_unknown += 1
                continue
            left = pair.todo(frozen["n_groups"])
            n_all, n_left = n_all + len(pair.configs(frozen["n_groups"])), n_left + len(left)
            seconds += costs.todo(frozen, left) if left else 0.0
        print(
            f"{round_:8} on {len(names):2} sets: {n_all:5} curves, {n_left:5} to do, "
            f"{seconds / 3600:6.2f} hours of one core; {n_unknown} pairs not profiled"
        )


def write_table(work: Path, table: Path) -> None:
    """Write every curve that is done as Parquet, and beside it where it came from."""
    rows = {key(row): row for row in read_rows(work)}
    write_rows([rows[k] for k in sorted(rows, key=str)], table)
    provenance = {
        "command": "benchmarks/selection/curves.py",
        "curves": dict(sorted(Counter(row["round"] for row in rows.values()).items())),
        "sets": sorted({row["set"] for row in rows.values()}),
        "cpu_hours": round(sum(sum(row["seconds"]) for row in rows.values()) / 3600, 2),
        "machines": [json.loads(f.read_text()) for f in sorted(work.glob("machine-*.json"))],
    }
    table.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main()
