"""Search sklearn:digits with ten labels a class for several seeds and print the verdicts.

python benchmarks/selection/digits.py --out /tmp/digits --seeds 0 1 2 3 4
"""

import argparse
import json
import subprocess
from pathlib import Path


def main() -> None:
    """Run what is missing, then print one line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", default="90s")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| seed | verdict | best | holdout | floor | best other floor | gap | natural | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        run = options.out / f"seed-{seed}"
        if not (run / "result.json").exists():
            subprocess.run(
                [
                    *("autotl", "search", "sklearn:digits", "--labels-per-class", "10"),
                    *("--budget", options.budget, "--seed", str(seed), "--out", run, "--json"),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        show(seed, json.loads((run / "result.json").read_text()))


def show(seed: int, result: dict) -> None:
    """Print one seed's line."""
    best, gap = result["best"], result["gap"]
    others = [f["holdout"] for f in result["floors"][1:] if f["holdout"] is not None]
    natural = [
        row
        for row in result["leaderboard"]
        if row["backbone"] == "embedded/natural-base" and row["adaptation"] == "linear_probe"
    ]
    below = natural[0]["below_floor"] if natural else None
    print(
        f"| {seed} | {result['verdict']} | {best['backbone']} + {best['adaptation']} "
        f"| {best['holdout']:.4f} | {result['floor']['holdout']:.4f} ({result['floor']['name']}) "
        f"| {max(others, default=float('nan')):.4f} "
        f"| {gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}] "
        f"| below_floor={below} | {result['timings']['total']:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
