"""Simulate the guard: false stops, power, false flags, the early stop, and what can be detected.

    python benchmarks/selection/guard.py --seed 0 --out guard.json

Certificates (a, b) walk n guard examples; candidates are as good as the floor, or worse by a gap,
and disagree with it on 16 to 32 % of the examples in who is right. Naive McNemar is the exact
one-sided test at .05, looked at after each 20 examples. Optuna's pruner is the real one, driven
through a study whose best trial is exactly as good as the one that it judges; each look reports
the accuracy on 20 more guard examples, or a Gaussian loss. Flags (c) are over 40 candidates with
one floor on the same 500 examples. Early stops (d) are over streams of trials whose sampler moves
towards what did well; "gained more than the bound" is the event whose chance alpha bounds, a
false stop when the floor is at its worst. Limits are one-sided 95 % Clopper-Pearson.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.stats import binom

from autotl.guard import (
    LOOKS,
    certify,
    count_false_stops,
    detectable_gap,
    detection_power,
    flag_negative,
    gain_bound,
    is_audited,
    plan_walk,
    residual_gains,
    upper_limit,
)

SIZES = (200, 500, 1000, 2000)
GAPS = (0.05, 0.1, 0.2)
LOOK = 20
FLOOR = 0.8
Pair = tuple[np.ndarray, np.ndarray]


def draw(rng: np.random.Generator, n: int, gap: float, discordance: float | None = None) -> Pair:
    """Draw on which examples the candidate and the floor are right."""
    share = rng.uniform(0.16, 0.32) if discordance is None else discordance
    share = max(share, gap)
    u, both = rng.random(n), rng.random(n) < FLOOR
    lost, won = (share + gap) / 2, share
    return np.where(u < lost, False, (u < won) | both), np.where(u < lost, True, (u >= won) & both)


def mcnemar_stops(candidate: np.ndarray, floor: np.ndarray) -> bool:
    """Test after each 20 examples, as if it were the only time."""
    losses = np.cumsum(floor & ~candidate)[LOOK - 1 :: LOOK]
    wins = np.cumsum(candidate & ~floor)[LOOK - 1 :: LOOK]
    return bool((binom.sf(losses - 1, losses + wins, 0.5) < 0.05).any())


def rate(hits: list[bool]) -> dict[str, float]:
    """Return a share, how many it is of, and its upper limit."""
    n = len(hits)
    return {"rate": float(np.mean(hits)), "n": n, "high": upper_limit(sum(hits), n)}


def percent(found: dict[str, float]) -> str:
    return f"{100 * found['rate']:.1f} (at most {100 * found['high']:.1f})"


def false_stops(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(a) Judge candidates that are exactly as good as the floor."""
    print("\n(a) false stops of candidates as good as the floor, %")
    print("| guard examples | certificate | McNemar each 20 |\n|---|---|---|")
    content: dict[str, Any] = {}
    for n in SIZES:
        walk = plan_walk("accuracy", np.zeros(n, int))
        drawn = [draw(rng, n, 0.0) for _ in range(repetitions)]
        own = rate([certify(walk, *pair).finding == "negative" for pair in drawn])
        naive = rate([mcnemar_stops(*pair) for pair in drawn])
        content[str(n)] = {"certificate": own, "mcnemar": naive}
        print(f"| {n} | {percent(own)} | {percent(naive)} |")
    print("\n| other units, 500 examples | certificate |\n|---|---|")
    for name, case in CASES.items():
        found = [certify(*case(rng)).finding == "negative" for _ in range(repetitions)]
        content[name] = rate(found)
        print(f"| {name} | {percent(content[name])} |")
    return content


def opposed_classes(rng: np.random.Generator) -> tuple[Any, np.ndarray, np.ndarray]:
    """Draw a candidate that is worse on one class and as much better on the other."""
    y = np.arange(500) % 2
    walk = plan_walk("accuracy", y, seed=int(rng.integers(1e9)))
    u, classes = rng.random(500), y[walk.order]
    return walk, u > np.where(classes, 0.95, 0.75), u < np.where(classes, 0.25, 0.05)


def rare_class(rng: np.random.Generator) -> tuple[Any, np.ndarray, np.ndarray]:
    """Draw the same in balanced accuracy, where one class has a tenth of the samples."""
    y = np.repeat([0, 1], [450, 50])
    shares = np.array([0.9, 0.1])
    walk = plan_walk("balanced_accuracy", y, class_shares=shares, seed=int(rng.integers(1e9)))
    u, rare = rng.random(500), y[walk.order] == 1
    return walk, u > np.where(rare, 0.8, 0.7), u < np.where(rare, 0.4, 0.1)


def groups_of_ten(rng: np.random.Generator) -> tuple[Any, np.ndarray, np.ndarray]:
    """Draw groups of up to ten examples, all of which go the same way."""
    groups = np.sort(rng.integers(0, 100, 500))
    walk = plan_walk("accuracy", np.zeros(500, int), groups=groups, seed=int(rng.integers(1e9)))
    sign = rng.choice([-1, 0, 1], 500, p=[0.15, 0.7, 0.15])[walk.units]
    return walk, sign > 0, sign < 0


CASES: dict[str, Callable[[np.random.Generator], tuple[Any, np.ndarray, np.ndarray]]] = {
    "opposed classes": opposed_classes,
    "balanced accuracy, rare class": rare_class,
    "groups": groups_of_ten,
}


def pruner_stops(rng: np.random.Generator, n_looks: int, kind: str) -> bool:
    """Ask Optuna's WilcoxonPruner at each look about a trial as good as the best one."""
    if kind == "blocks":
        pair = draw(rng, LOOK * n_looks, 0.0)
        # Ties broken at random: SciPy would spend seconds on their permutations.
        values, best = (
            right.reshape(n_looks, LOOK).mean(axis=1) + rng.normal(0, 1e-6, n_looks)
            for right in pair
        )
    else:
        values, best = rng.normal(size=(2, n_looks))
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.WilcoxonPruner())
    study.add_trial(
        optuna.create_trial(value=float(best.mean()), intermediate_values=dict(enumerate(best)))
    )
    trial = study.ask()
    for look, value in enumerate(values):
        trial.report(float(value), look)
        if trial.should_prune():
            return True
    return False


def pruner_false_stops(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(a, continued) Judge candidates that are exactly as good by Optuna's pruner."""
    print(
        "\n| looks | WilcoxonPruner, blocks of 20 | Gaussian losses | certificate, same examples |"
    )
    print("|---|---|---|---|")
    content: dict[str, Any] = {}
    for n_looks in (10, 20, 50):
        n, n_repetitions = LOOK * n_looks, repetitions * 10 // max(n_looks, 20)
        walk = plan_walk("accuracy", np.zeros(n, int))
        content[str(n_looks)] = row = {
            kind: rate([pruner_stops(rng, n_looks, kind) for _ in range(n_repetitions)])
            for kind in ("blocks", "losses")
        }
        row["certificate"] = rate(
            [certify(walk, *draw(rng, n, 0.0)).finding == "negative" for _ in range(2000)]
        )
        print(f"| {n_looks} | " + " | ".join(percent(found) for found in row.values()) + " |")
    return content


def power_table(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(b) Judge candidates that are worse than the floor."""
    print("\n(b) power, and mean examples until the stop of those stopped")
    print("| guard examples | discordance | checkpoints |", end="")
    print("".join(f" {100 * g:.0f} points |" for g in GAPS) + "\n|---|---|---|---|---|---|")
    content: dict[str, Any] = {}
    for n, discordance, n_checkpoints in (
        *((n, None, 1) for n in SIZES),
        *((500, share, 1) for share in (0.24, 0.32, 0.44)),
        *((500, None, n) for n in (3, 5)),
    ):
        walk, alpha = plan_walk("accuracy", np.zeros(n, int)), 0.05 / n_checkpoints
        share = "0.16-0.32" if discordance is None else str(discordance)
        content[f"{n}, {share}, {n_checkpoints}"] = row = {}
        for gap in GAPS:
            drawn = (draw(rng, n, gap, discordance) for _ in range(repetitions))
            found = [certify(walk, *pair, alpha=alpha) for pair in drawn]
            at = [c.n_examples for c in found if c.finding == "negative"]
            row[str(gap)] = {"power": len(at) / len(found), "examples": float(np.mean(at))}
        cells = [f"{r['power']:.2f}, {r['examples']:.0f}" for r in row.values()]
        print(f"| {n} | {share} | {n_checkpoints} | " + " | ".join(cells) + " |")
    return content


# Accuracies beside a floor of .8 that errs independently.
PLANTED = {
    "ruinous rate, 10 classes": 0.1,
    "shuffled labels": 0.35,
    "shuffled pixels": 0.5,
    "far domain": 0.7,
    "as good": FLOOR,
    "helpful": 0.9,
}


def planted_cases(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(b, continued) Judge candidates like those that are planted in real searches."""
    sizes = (90, 500)
    print("\n| planted | accuracy |" + "".join(f" stopped of {n}, after |" for n in sizes))
    print("|---|---|---|---|")
    content: dict[str, Any] = {}
    for name, accuracy in PLANTED.items():
        content[name] = row = {}
        for n in sizes:
            walk = plan_walk("accuracy", np.zeros(n, int))
            found = [
                certify(walk, rng.random(n) < accuracy, rng.random(n) < FLOOR)
                for _ in range(repetitions)
            ]
            at = [c.n_examples for c in found if c.finding == "negative"]
            row[str(n)] = {"stopped": len(at) / len(found), "examples": float(np.mean(at or [n]))}
        cells = [f"{r['stopped']:.2f}, {r['examples']:.0f}" for r in row.values()]
        print(f"| {name} | {accuracy} | " + " | ".join(cells) + " |")
    return content


def false_flags(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(c) Flag candidates of which some are as good as the floor and some worse."""
    n, n_candidates = 500, 40
    walk = plan_walk("accuracy", np.zeros(n, int))
    print("\n(c) flags over 40 candidates, 500 examples: false discovery rate and power, %")
    print("| share worse | gap, points | false discoveries | plain e >= 20 | power |")
    print("|---|---|---|---|---|")
    content: dict[str, Any] = {}
    for share, gap in ((0.0, 0.0), (0.1, 0.1), (0.5, 0.1), (0.5, 0.05), (0.9, 0.2)):
        worse = np.arange(n_candidates) < share * n_candidates
        rows = []
        for _ in range(repetitions):
            floor = rng.random(n) < FLOOR
            log_e = np.array([judged(rng, walk, floor, gap * w) for w in worse])
            flags, plain = flag_negative(log_e).flagged, log_e >= np.log(20)
            rows.append([discoveries(flags, worse), discoveries(plain, worse),
                         (flags & worse).sum() / max(worse.sum(), 1)])  # fmt: skip
        fdr, loose, power = (float(v) for v in np.mean(rows, axis=0))
        error = float(np.std([r[0] for r in rows]) / np.sqrt(repetitions))
        content[f"{share}, {gap}"] = {"fdr": fdr, "se": error, "plain": loose, "power": power}
        print(
            f"| {share} | {100 * gap:.0f} | {100 * fdr:.2f} (s.e. {100 * error:.2f}) "
            f"| {100 * loose:.2f} | {100 * power:.0f} |"
        )
    return content


def judged(rng: np.random.Generator, walk: Any, floor: np.ndarray, gap: float) -> float:
    """Return the log e-value of a candidate that leaves this floor's answers by chance."""
    lost, won = (0.24 + gap) / 2 / FLOOR, (0.24 - gap) / 2 / (1 - FLOOR)
    leaves = rng.random(len(floor)) < np.where(floor, lost, won)
    return certify(walk, floor ^ leaves, floor).log_e_negative


def discoveries(flags: np.ndarray, worse: np.ndarray) -> float:
    """Return the share of false flags."""
    return float((flags & ~worse).sum() / max(flags.sum(), 1))


N_STEPS, N_TRIALS, N_START = 16, 120, 20


def stream(rng: np.random.Generator, seed: int, mode: str) -> list[dict[str, Any]]:
    """Run trials one after another; what the sampler proposes moves towards what did well.

    Trials that learn slowly end high here, and the sampler finds them: later gains are larger.
    """
    rows: list[dict[str, Any]] = []
    known: list[np.ndarray] = []
    for number in range(N_TRIALS):
        best = max(rows, key=lambda r: r["seen"], default=None)
        explore = best is None or number < N_START or rng.random() < 0.3
        slow = rng.random() if explore else float(np.clip(best["slow"] + rng.normal(0, 0.1), 0, 1))
        history = curve(rng, slow)
        value = np.maximum.accumulate(history)
        free = mode == "audits" and is_audited(number, seed)
        bound = gain_bound(np.array(known))
        looks = [(value[k], (k + 1) / N_STEPS) for k in range(N_STEPS)]
        stops = [k for k, look in enumerate(looks) if bound.stops(*look, FLOOR)]
        exceeds = any(bound.stops(*look, value[-1]) for look in looks)
        runs_on = not stops or free
        if number < N_START or free or (mode == "survivors" and runs_on):
            known.append(residual_gains(history, N_STEPS))
        steps = N_STEPS if runs_on else stops[0] + 1
        rows.append({"slow": slow, "seen": value[steps - 1], "final": value[-1], "steps": steps,
                     "stops": bool(stops), "free": free, "exceeds": exceeds})  # fmt: skip
    return rows[N_START:]


def curve(rng: np.random.Generator, slow: float) -> np.ndarray:
    """Draw one learning curve: slower ones rise for longer, and a little higher."""
    t = np.arange(1, N_STEPS + 1) / N_STEPS
    height = 0.77 + 0.05 * slow + rng.normal(0, 0.02)
    fall = rng.uniform(0.05, 0.3) + (rng.random() < 0.1) * 0.3  # some start from very far below
    return height - fall * np.exp(-t * (8 - 6 * slow)) + rng.normal(0, 0.004, N_STEPS)


def early_stops(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(d) Stop trials of adaptive streams early; all three ways meet the same draws."""
    base = int(rng.integers(1e9))
    print(f"\n(d) early stops at alpha .05 over {repetitions} streams of {N_TRIALS} trials, %")
    print(
        "| calibrated on | gained more than the bound | false stops | audits show | steps saved |"
    )
    print("|---|---|---|---|---|")
    content: dict[str, Any] = {}
    for mode, title in (
        ("start", "start-up"),
        ("survivors", "start-up, survivors"),
        ("audits", "start-up, audits"),
    ):
        rows = [
            row
            for seed in range(repetitions)
            for row in stream(np.random.default_rng([base, seed]), seed, mode)
        ]
        seen = count_false_stops(((r["stops"], r["final"]) for r in rows if r["free"]), FLOOR)
        content[mode] = {
            "exceeds": rate([r["exceeds"] for r in rows]),
            "false": rate([r["stops"] and r["final"] >= FLOOR for r in rows]),
            "audits": {"rate": seen.rate, "n": seen.n_audited, "high": seen.high},
            "saved": 1 - float(np.mean([r["steps"] for r in rows])) / N_STEPS,
        }
        cells = [percent(content[mode][key]) for key in ("exceeds", "false", "audits")]
        print(f"| {title} | {' | '.join(cells)} | {100 * content[mode]['saved']:.0f} |")
    return content


def detection(rng: np.random.Generator, repetitions: int) -> dict[str, Any]:
    """(e) Compare the gap that can be detected with simulation."""
    print("\n(e) gap detected with power .8, in points, and its power by simulation")
    print("| guard examples | discordance | gap | computed | simulated |\n|---|---|---|---|---|")
    content: dict[str, Any] = {}
    for n in (100, *SIZES[:3]):
        walk = plan_walk("accuracy", np.zeros(n, int))
        for share in (0.1, 0.25):
            gap = detectable_gap(n, share)
            if gap is None:
                continue
            found = [
                certify(walk, *draw(rng, n, gap, share)).finding == "negative"
                for _ in range(repetitions)
            ]
            computed, simulated = detection_power(n, share, gap), float(np.mean(found))
            content[f"{n}, {share}"] = {"gap": gap, "computed": computed, "simulated": simulated}
            print(f"| {n} | {share} | {100 * gap:.1f} | {computed:.3f} | {simulated:.3f} |")
    return content


def main() -> None:
    """Simulate everything and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of the repetitions")
    parser.add_argument("--out", type=Path, default=Path("guard.json"))
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    content: dict[str, Any] = {"seed": args.seed, "looks": LOOKS}
    parts: dict[str, tuple[Callable[[np.random.Generator, int], Any], int]] = {
        "false_stops": (false_stops, 2000),
        "pruner": (pruner_false_stops, 400),
        "power": (power_table, 400),
        "planted": (planted_cases, 1000),
        "flags": (false_flags, 100),
        "early": (early_stops, 60),
        "detection": (detection, 1000),
    }
    for number, (name, (part, repetitions)) in enumerate(parts.items()):
        started = time.perf_counter()
        rng = np.random.default_rng([args.seed, number])
        content[name] = part(rng, max(2, round(args.scale * repetitions)))
        content[name]["seconds"] = round(time.perf_counter() - started, 1)
    args.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
