"""Search the zoo's visible sets and compare with frozen features + logistic regression.

    python benchmarks/selection/main_job.py --zoo ../shared/zoo --out /tmp/main-job

Every set is searched in a process of its own; finished sets are kept, so that the command can be
repeated after an interruption. The rival: for every usable backbone, standardised frozen features
and scikit-learn's LogisticRegression at its default strength, the backbone chosen on the same
validation rows, refitted on train and validation. It has no time limit.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sets import load

IMAGES = ("trashnet6", "dtd10", "gtsrb43", "pneumonia2", "signdigits10")
TEXTS = ("trec6", "clinc150", "sst2", "sms_spam")


def search_one(zoo: Path, name: str, budget: float, seed: int, out: Path) -> None:
    """Search one set within the budget and keep `result.json` and the wall-clock time."""
    import autotl

    data = load(zoo, name)
    began = time.monotonic()
    model = autotl.fit(
        **data,
        budget_seconds=budget,
        weights=zoo / "weights",
        seed=seed,
        out=out / "run",
        progress=True,
    )
    wall = time.monotonic() - began
    proba = model.predict_proba(data["X_holdout"])
    np.savez_compressed(out / "search.npz", proba=proba, wall=wall)


def rival_one(zoo: Path, name: str, seed: int, out: Path) -> None:
    """Fit the rival on the same splits and keep its holdout probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from autotl.data import build_task
    from autotl.features import BackboneSession
    from autotl.shelf import open_shelf

    task = build_task(**load(zoo, name), seed=seed)
    shelf = open_shelf(modality=task.modality.name, weights=zoo / "weights")
    rows = task.split.train_validation
    found = {}
    for spec in shelf.usable:
        session = BackboneSession(spec, task.samples, task.modality)
        embedded = session.embed(np.arange(len(task.y)))
        session.release()

        def fitted(train: np.ndarray, X: np.ndarray = embedded) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
                return model.fit(X[train], task.y[train])

        parts = [fitted(f.train).predict_proba(embedded[f.validation]) for f in task.split.folds]
        truth = np.concatenate([task.y[f.validation] for f in task.split.folds])
        validation = task.metric(truth, np.concatenate(parts))
        found[spec.name] = (validation, embedded, fitted)
        print(f"  rival {spec.name}: validation {validation:.4f}", flush=True)
    best = max(found, key=lambda k: found[k][0])
    _, embedded, fitted = found[best]
    proba = fitted(rows).predict_proba(embedded[task.split.holdout])
    np.savez_compressed(out / "rival.npz", proba=proba, y=task.y[task.split.holdout])
    (out / "rival.json").write_text(json.dumps({"backbone": best, "validation": found[best][0]}))


def row(out: Path, name: str) -> dict[str, Any]:
    """Return one line of the table from what the two processes left."""
    from autotl.data import Metric
    from autotl.result.intervals import paired_gap

    result = json.loads((out / "run" / "result.json").read_text())
    searched, rival = np.load(out / "search.npz"), np.load(out / "rival.npz")
    metric = Metric(result["metric"])
    gap = paired_gap(metric.kind, metric, rival["y"], searched["proba"], rival["proba"])
    best = result["best"] or {}
    return {
        "set": name,
        "metric": result["metric"],
        "seconds": round(float(searched["wall"]), 1),
        "trials": result["n_trials"],
        "best": f"{best.get('backbone')} + {best.get('adaptation')}",
        "shipped": result["shipped"],
        "verdict": result["verdict"],
        "floor": result["floor"]["holdout"],
        "autotl": result["holdout"],
        "rival": metric(rival["y"], rival["proba"]),
        "rival_backbone": json.loads((out / "rival.json").read_text())["backbone"],
        "difference": gap.value,
        "low": gap.low,
        "high": gap.high,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table as Markdown."""
    print("| set | metric | s | best | shipped | verdict | floor | autotl | rival | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['set']} | {r['metric']} | {r['seconds']:.0f} | {r['best']} | {r['shipped']} "
            f"| {r['verdict']} | {r['floor']:.3f} | {r['autotl']:.3f} "
            f"| {r['rival']:.3f} ({r['rival_backbone']}) "
            f"| {r['difference']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}] |"
        )
    mean = np.mean([r["difference"] for r in rows])
    worst = [r["set"] for r in rows if r["high"] < 0]
    print(f"\nmean difference {mean:+.4f}; below the rival by more than the interval: {worst}")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=[*IMAGES, *TEXTS])
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("search", "rival"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    zoo = options.zoo.resolve()
    if options.only:
        name = options.sets[0]
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        if options.only == "search":
            search_one(zoo, name, options.budget, options.seed, folder)
        else:
            rival_one(zoo, name, options.seed, folder)
        return
    rows = []
    for name in options.sets:
        for part in ("search", "rival"):
            if not (options.out / name / f"{part}.npz").exists():
                print(f"== {name}: {part}", flush=True)
                command = [sys.executable, __file__, "--only", part, "--sets", name]
                command += ["--zoo", str(zoo), "--out", str(options.out)]
                command += ["--budget", str(options.budget), "--seed", str(options.seed)]
                subprocess.run(command, check=True)
        rows.append(row(options.out / name, name))
        (options.out / "table.json").write_text(json.dumps(rows, indent=1))
    show(rows)


if __name__ == "__main__":
    main()
