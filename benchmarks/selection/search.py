"""Judge autotl's search against others in simulated time, on the tabulated learning curves.

    python benchmarks/selection/search.py --table curves.parquet --truth /tmp/truth \
        --work /tmp/search --seeds 20 --json search.json --plot search.svg
    python benchmarks/selection/search.py --table curves.parquet --work /tmp/search --decisions

Every searcher has the same space, floor, costs, cache and clock (`simulate.py`, `rivals.py`). The
prior of the ranking, the portfolio and the priors of methods are fitted without the set's family
(`knowledge.py`); the experience store is empty. The score is the test accuracy of what would be
shipped, without a refit; regret is in points below the best of the table. `time to TPE +
Hyperband` is the share of that search's whole time after which its final score is first shipped
(1 where it never is), a geometric mean over sets and seeds.

A run that is done is a line of a file, so that the command goes on where it was stopped; `--part
1/2` and `--part 2/2` share the runs between two processes. `--report` judges what is there.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from decisions import print_decisions
from judging import judge, plot, set_table, table
from knowledge import Known, Sources
from oracle import Oracle, lines, read_rows
from rivals import SEARCHERS, run
from world import World

Key = tuple[str, str, int, float]  # set, searcher, seed, seconds


def main(argv: list[str] | None = None) -> None:
    """Run what is not done, and judge what is."""
    args = parse(argv)
    if args.decisions:
        print_decisions(args.trials, args.json)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.report:
        run_all(args)
    report(args)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, help="Parquet, or the folder of curves.py")
    parser.add_argument("--truth", type=Path, help="folder of ground_truth.py and evidence.py")
    parser.add_argument("--work", type=Path, default=Path("search-runs"), help="what is done")
    parser.add_argument("--sets", nargs="*", help="all of the table unless said")
    parser.add_argument("--searchers", nargs="*", choices=list(SEARCHERS), default=list(SEARCHERS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--part", default="1/1", help="this process' share of the runs")
    parser.add_argument("--trials", type=int, default=500, help="of --decisions")
    parser.add_argument("--log", action="store_true", help="keep what each trial did")
    parser.add_argument("--report", action="store_true", help="judge, and run nothing")
    parser.add_argument("--decisions", action="store_true", help="time decisions instead")
    parser.add_argument("--json", type=Path, help="takes the figures")
    parser.add_argument("--plot", type=Path, help="takes the plot, SVG")
    args = parser.parse_args(argv)
    if args.table is None and not (args.report or args.decisions):
        parser.error("--table is missing")
    return args


def run_all(args: argparse.Namespace) -> None:
    """Run every set, seed and searcher of this part that is not done."""
    part, n_parts = (int(n) for n in args.part.split("/"))
    rows = read_rows(args.table)
    oracle, sources = Oracle(rows), Sources(rows, args.truth)
    done = {key(r) for r in lines(args.work)}
    for number, wanted in enumerate(asked(args, oracle)):
        if number % n_parts != part - 1 or wanted in done:
            continue
        record = one(oracle, sources, wanted, log=args.log)
        with (args.work / f"runs-{part}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(record)}\n")
        print(*wanted, f"{record['shipped'][-1][2]:.4f} of {record['best']:.4f}", flush=True)


def asked(args: argparse.Namespace, oracle: Oracle) -> Iterator[Key]:
    """Yield what is to be run: a first seed of everything before the second."""
    for seed in range(args.seeds):
        for name in args.sets or oracle.sets():
            for searcher in args.searchers:
                yield name, searcher, seed, args.seconds


def key(record: dict[str, Any]) -> Key:
    """Return what tells two records apart."""
    return record["set"], record["searcher"], record["seed"], record["seconds"]


def one(oracle: Oracle, sources: Sources, wanted: Key, *, log: bool = False) -> dict[str, Any]:
    """Return the record of one run."""
    name, searcher, seed, seconds = wanted
    world = World(oracle, name, seconds)
    known: Known = sources.known(world.modality, world.family)
    run(searcher, world, known, seed)
    floor = None if world.floor is None else oracle.floor(name).test_after()
    record = {
        "set": name, "family": world.family, "searcher": searcher, "seed": seed,
        "seconds": seconds, "best": oracle.best(name), "floor_test": floor,
        "backbones": len(world.backbones), "methods": list(world.adaptations),
        "trials": len(world.log), "ended": round(world.clock.now, 2),
        "charged": {what: round(spent, 2) for what, spent in world.clock.charged.items()},
        "shipped": [_written(event) for event in world.shipped],
    }  # fmt: skip
    return {**record, "log": world.log} if log else record


def _written(event: tuple[float, float, float]) -> list[float | None]:
    at, value, test = event
    return [round(at, 2), round(value, 5) if value >= 0 else None, round(test, 5)]


def report(args: argparse.Namespace) -> None:
    """Print the figures of what is done, and write what was asked for."""
    found = {key(r): r for r in lines(args.work)}
    chosen = [
        r
        for r in found.values()
        if r["seconds"] == args.seconds
        and r["seed"] < args.seeds
        and (not args.sets or r["set"] in args.sets)
        and r["searcher"] in args.searchers
    ]
    if not chosen:
        raise SystemExit(f"no runs of {args.seconds:g} s in {str(args.work)!r}")
    figures = judge(chosen)
    print(table(figures))
    print(f"\n{set_table(figures, list(next(iter(figures.values()))['regret'])[-1])}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        args.plot.write_text(plot(chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
