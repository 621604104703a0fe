"""Search the zoo's visible sets and compare with frozen features + logistic regression.

    python benchmarks/selection/main_job.py --zoo ../shared/zoo --table curves.parquet \
        --truth /tmp/truth --out /tmp/main-job

What a search knows beforehand (portfolio, prior, what methods add) is fitted again without the
family of the set that it is judged on, from the curves and the truth of the other benchmarks; the
experience store is off, and the cache begins empty. Every set is searched with every seed in a
process of its own; what is finished is kept, so that the command can be repeated after an
interruption. At most `--samples` training rows are used, the same for all seeds; the zoo's own
test part is the holdout.

The rival: for every usable backbone, standardised frozen features and scikit-learn's
LogisticRegression at its default strength, the backbone chosen by five-fold cross-validation on
train and validation together, fitted on both. It has no time limit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from backbones import minilm
from judging import Frame
from sets import FAMILIES, TEXTS, load

SETS = ("clothing10", "trashnet6", "dtd10", "signdigits10", "trec6", "subj", "tweet_irony")
FOLDS = 5


def read(zoo: Path, name: str, n_samples: int) -> dict[str, Any]:
    """Return a set with at most so many training rows."""
    from sklearn.model_selection import train_test_split

    data = load(zoo, name)
    if len(data["y"]) > n_samples:
        rows, _ = train_test_split(
            np.arange(len(data["y"])), train_size=n_samples, stratify=data["y"], random_state=0
        )
        data["X"], data["y"] = ([data[k][i] for i in np.sort(rows)] for k in ("X", "y"))
    return data


def shelf_of(zoo: Path, name: str, scratch: Path) -> dict[str, Any]:
    """Return which backbones both may use, as options of `fit` and `open_shelf`."""
    if name not in TEXTS:
        return {"weights": zoo / "weights"}
    folders = [*sorted(f for f in (zoo / "textweights").iterdir() if f.is_dir())]
    folders += [minilm(n, scratch / f"minilm-{n}") for n in (3, 6)]
    return {"backbones": ["embedded/*", *(f"text:{folder}" for folder in folders)]}


def leave_out(options: argparse.Namespace, name: str) -> None:
    """Let this process know nothing of a set's family."""
    from knowledge import Sources
    from oracle import read_rows

    from autotl.ranking import Prior
    from autotl.search.study.portfolio import Portfolio

    modality = "text" if name in TEXTS else "image"
    known = Sources(read_rows(options.table), options.truth).known(modality, FAMILIES[name])
    Prior.load = lambda _: known.prior  # type: ignore[method-assign]
    Portfolio.load = lambda _, remembered=(): Portfolio(known.portfolio, remembered)  # type: ignore[method-assign]


def search_one(options: argparse.Namespace, name: str, seed: int, out: Path) -> None:
    """Search one set within the budget and keep `result.json` and the wall-clock time."""
    import autotl

    leave_out(options, name)
    data = read(options.zoo, name, options.samples)
    began = time.monotonic()
    model = autotl.fit(
        **data,
        **shelf_of(options.zoo, name, options.out),
        metric="accuracy",
        budget_seconds=options.budget,
        seed=seed,
        out=out / "run",
        experience=False,
        progress=True,
    )
    wall = time.monotonic() - began
    proba = model.predict_proba(data["X_holdout"])
    np.savez_compressed(out / "search.npz", proba=proba, wall=wall)


def rival_one(options: argparse.Namespace, name: str, seed: int, out: Path) -> None:
    """Fit the rival on the same splits and keep its holdout probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from autotl.data import build_task

    data = read(options.zoo, name, options.samples)
    task = build_task(**data, metric="accuracy", seed=seed)
    began = time.monotonic()
    rows, found = task.split.train_validation, {}
    for backbone, embedded in embeddings(options, name, task).items():
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = cross_val_score(model, embedded[rows], task.y[rows], cv=folds)
        found[backbone] = (float(scores.mean()), embedded, model)
        print(f"  rival {backbone}: cross-validation {scores.mean():.4f}", flush=True)
    best = max(found, key=lambda k: found[k][0])
    choice, embedded, model = found[best]
    proba = model.fit(embedded[rows], task.y[rows]).predict_proba(embedded[task.split.holdout])
    np.savez_compressed(out / "rival.npz", proba=proba, y=task.y[task.split.holdout])
    seconds = time.monotonic() - began
    (out / "rival.json").write_text(
        json.dumps({"backbone": best, "choice": choice, "seconds": round(seconds, 1)})
    )


def embeddings(options: argparse.Namespace, name: str, task: Any) -> dict[str, np.ndarray]:
    """Return the features of all samples by backbone; seeds share them."""
    from autotl.features import BackboneSession
    from autotl.shelf import open_shelf

    file = options.out / name / f"features-{options.samples}.npz"
    if not file.exists():
        found = {}
        shelf = open_shelf(modality=task.modality.name, **shelf_of(options.zoo, name, options.out))
        for spec in shelf.usable:
            session = BackboneSession(spec, task.samples, task.modality)
            found[spec.name] = session.embed(np.arange(len(task.y)))
            session.release()
        np.savez(file, **{k.replace("/", "|"): v for k, v in found.items()})
    return {key.replace("|", "/"): value for key, value in np.load(file).items()}


def row(out: Path, name: str, seed: int) -> dict[str, Any]:
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
        "seed": seed,
        "seconds": round(float(searched["wall"]), 1),
        "trials": result["n_trials"],
        "best": f"{short(best.get('backbone'))} + {best.get('adaptation')}",
        "shipped": result["shipped"],
        "verdict": result["verdict"],
        "floor": result["floor"]["holdout"],
        "autotl": result["holdout"],
        "rival": metric(rival["y"], rival["proba"]),
        "rival_backbone": short(json.loads((out / "rival.json").read_text())["backbone"]),
        "difference": gap.value,
        "low": gap.low,
        "high": gap.high,
        "below_floor": result["gap"]["high"] < 0 if result.get("gap") else False,
    }


def short(name: str | None) -> str:
    """Return a backbone's name without the place where it lies."""
    return str(name).rsplit("/", 1)[-1]


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table as Markdown."""
    print("| set | seed | s | best | shipped | verdict | floor | autotl | rival | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['set']} | {r['seed']} | {r['seconds']:.0f} | {r['best']} | {r['shipped']} "
            f"| {r['verdict']} | {r['floor']:.3f} | {r['autotl']:.3f} "
            f"| {r['rival']:.3f} ({r['rival_backbone']}) "
            f"| {r['difference']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}] |"
        )
    mean = np.mean([r["difference"] for r in rows])
    worst = [(r["set"], r["seed"]) for r in rows if r["high"] < 0]
    print(f"\nmean difference {mean:+.4f}; below the rival by more than the interval: {worst}")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--table", type=Path, required=True, help="curves: Parquet or a folder")
    parser.add_argument(
        "--truth", type=Path, required=True, help="of ground_truth.py, evidence.py"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=1000, help="training rows, at most")
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--plot", type=Path, help="takes the plot, SVG")
    parser.add_argument("--only", choices=("search", "rival"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    for path in ("zoo", "table", "truth", "out"):
        setattr(options, path, getattr(options, path).resolve())
    if options.only:
        name, seed = options.sets[0], options.seeds[0]
        folder = options.out / name / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        work = search_one if options.only == "search" else rival_one
        work(options, name, seed, folder)
        return
    rows = []
    for seed in options.seeds:
        for name in options.sets:
            run_missing(options, name, seed)
            rows.append(row(options.out / name / str(seed), name, seed))
            (options.out / "table.json").write_text(json.dumps(rows, indent=1))
    show(rows)
    if options.plot:
        options.plot.write_text(plot(options.out, rows), encoding="utf-8")


def plot(out: Path, rows: list[dict[str, Any]]) -> str:
    """Draw the best validation so far against seconds, mean over seeds, as SVG.

    At the right, the holdout accuracy of what was shipped as a dot, the rival's as a ring.
    """
    names = list(dict.fromkeys(r["set"] for r in rows))
    at = np.geomspace(5.0, max(r["seconds"] for r in rows), 160)
    curves, marks = {}, []
    for name in names:
        own = [r for r in rows if r["set"] == name]
        curves[name] = np.mean([best_so_far(out / name / str(r["seed"]), at) for r in own], axis=0)
        for key in ("autotl", "rival"):
            marks.append((float(np.mean([r[key] for r in own])), key == "autotl"))
    values = [v for curve in curves.values() for v in curve if np.isfinite(v)]
    values += [value for value, _ in marks]
    title = "best validation accuracy so far; at the right: holdout, and the rival's (ring)"
    frame = Frame(at[0], at[-1], min(values), max(values), title)
    return frame.drawn(curves, at, more=frame.marks(marks))


def best_so_far(folder: Path, at: np.ndarray) -> np.ndarray:
    """Return the best validation that a search had found, the floor's at first, NaN before it."""
    result = json.loads((folder / "run" / "result.json").read_text())
    timings = result["timings"]
    found = [(timings["reading"] + timings["floor"], result["floor"]["validation"])]
    found += [
        (r["finished_at"], r["validation"])
        for r in result["leaderboard"]
        if r["state"] == "complete" and r["validation"] is not None
    ]
    return np.array([max((v for t, v in found if t <= seconds), default=np.nan) for seconds in at])


def run_missing(options: argparse.Namespace, name: str, seed: int) -> None:
    """Search and fit the rival, each in a process of its own, unless that is done."""
    for part in ("search", "rival"):
        if (options.out / name / str(seed) / f"{part}.npz").exists():
            continue
        print(f"== {name}, seed {seed}: {part}", flush=True)
        command = [sys.executable, __file__, "--only", part, "--sets", name, "--seeds", str(seed)]
        command += ["--zoo", str(options.zoo), "--out", str(options.out)]
        command += ["--budget", str(options.budget), "--samples", str(options.samples)]
        command += ["--table", str(options.table), "--truth", str(options.truth)]
        with tempfile.TemporaryDirectory(prefix="main-job-", dir=options.out) as cache:
            subprocess.run(command, check=True, env={**os.environ, "AUTOTL_CACHE_DIR": cache})


if __name__ == "__main__":
    main()
