"""Rows of the leaderboard and the content of `result.json`."""

import csv
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.data import Task
from autotl.errors import ModelFormatError
from autotl.result.intervals import QUICK_REPETITIONS, paired_gap
from autotl.result.saved import plain, read_json
from autotl.result.wording import count
from autotl.search.finish.finish import Finish
from autotl.search.finish.finisher import Finisher
from autotl.search.finish.holdout import confusion, mistakes, per_class
from autotl.search.floor.measurement import Baseline, validation_rows
from autotl.search.study.candidate import Outcome
from autotl.search.study.study import Study
from autotl.search.validators import VALIDATORS
from autotl.shelf import Shelf

if TYPE_CHECKING:
    from autotl.search.engine import Search

SCHEMA = 1
_PACKAGES = (
    "autotl",
    "numpy",
    "optuna",
    "scikit-learn",
    "sentence-transformers",
    "timm",
    "torch",
    "transformers",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform and the packages that results depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def row_of(
    outcome: Outcome, task: Task, finisher: Finisher, floor: Baseline, shelf: Shelf
) -> dict[str, Any]:
    """Return a trial as a row of the leaderboard."""
    candidate = outcome.candidate
    spec = next((b for b in shelf.usable if b.name == candidate.backbone), None)
    row: dict[str, Any] = {
        "trial": outcome.trial,
        "backbone": candidate.backbone,
        "adaptation": candidate.adaptation,
        "freeze_depth": outcome.freeze_depth,
        "freeze_fraction": outcome.freeze_fraction,
        "params": dict(candidate.params),
        "validation": outcome.value,
        "gap": None,
        "gap_low": None,
        "gap_high": None,
        "below_floor": None,
        "state": outcome.state,
        "reason": outcome.reason,
        "why": outcome.why,
        "steps": outcome.steps,
        "planned_steps": outcome.planned_steps,
        "seconds": outcome.seconds,
        "finished_at": outcome.finished_at,
        "license": spec.license if spec else "",
        "source_terms": spec.source_terms if spec else "",
        "permissive": spec.permissive if spec else False,
        "latency_ms": finisher.latency_ms.get(candidate.backbone),
    }
    if task.unsupervised:
        row["guesses"] = {name: outcome.guesses.get(name) for name in VALIDATORS}
    return row | _against(floor, outcome, task)


def _against(floor: Baseline, outcome: Outcome, task: Task) -> dict[str, Any]:
    """Return a row's difference to the floor; empty where either was not measured."""
    if outcome.value is None or outcome.proba is None or floor.proba is None:
        return {}
    rows = validation_rows(task)
    gap = paired_gap(
        task.metric.kind,
        task.metric,
        task.y[rows],
        outcome.proba,
        floor.proba,
        groups=task.groups[rows],
        repetitions=QUICK_REPETITIONS,
    )
    below = gap.value < 0
    return {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high, "below_floor": below}


def leaderboard(
    outcomes: Sequence[Outcome], rows: Mapping[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return all trials' rows ranked: complete ones by validation, then the rest.

    Args:
        outcomes: What the trials have shown.
        rows: Their rows by trial number.
    """

    def order(outcome: Outcome) -> tuple[bool, float, float]:
        value = outcome.value if outcome.value is not None else float("-inf")
        return (outcome.state != "complete", -value, outcome.log_loss)

    ranked = sorted(outcomes, key=order)
    return [{"rank": i, **rows[o.trial]} for i, o in enumerate(ranked, start=1)]


def write_leaderboard(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the leaderboard as CSV, parameters as JSON in one column."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(list(rows[0]) if rows else ["rank", "trial", "backbone", "adaptation"])
        for row in rows:
            writer.writerow([_cell(value) for value in plain(row).values()])
    temporary.replace(path)


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return "" if value is None else value


def summarise(
    search: "Search", study: Study, finish: Finish, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the content of `result.json`."""
    task, floor = search.task, search.baselines[0]
    labels = [str(c) for c in task.classes]
    y = task.y[task.split.holdout]
    table = confusion(y, finish.proba, len(labels))
    verdict = finish.verdict
    counts = Counter(o.state for o in study.outcomes)
    _complete_rows(rows, study.outcomes, finish, search)
    result = {
        "schema": SCHEMA,
        "verdict": verdict,
        "verdict_text": _verdict_text(verdict, finish, task),
        "metric": task.metric.name,
        "metric_reason": task.metric.reason,
        "shipped": finish.shipped,
        "floor": {
            "name": floor.name,
            # An unsupervised task's trials have no validation that could stand beside it.
            "validation": None if task.unsupervised else floor.validation,
            "holdout": floor.holdout,
        },
        "floors": [b.row() for b in search.baselines],
        "best": _best(finish, task, rows),
        "domains": finish.domains,
        "guard": getattr(search, "guard_summary", None),
        "shipping": finish.standing,
        "ensemble": finish.ensemble,
        "soup": finish.soup,
        "gap": vars(finish.gap) if finish.gap and not finish.guessed else None,
        "holdout": float(task.metric(y, finish.proba)),
        "holdout_looks": 1 + _earlier_looks(search.settings.out),
        "n_trials": {state: counts.get(state, 0) for state in ("complete", "pruned", "failed")},
        "timings": search.timings,
        "skipped_backbones": [{"name": s.name, "reason": s.reason} for s in search.shelf.skipped],
        "permissive_only": _permissive_only(search),
        "restricted_backbones": search.shelf.restricted,
        "skipped_samples": [{"sample": s.sample, "reason": s.reason} for s in task.skipped],
        "warnings": _warnings(search, study, finish, verdict),
        "task": {
            "modality": task.modality.name,
            "n_samples": len(task.y),
            "n_train": len(task.split.folds[0].train),
            "n_validation": len(task.split.folds[0].validation),
            "n_folds": len(task.split.folds),
            "n_holdout": len(task.split.holdout),
            "holdout_given": task.holdout_given,
            "classes": labels,
            "labels_per_class": search.settings.asked.get("labels_per_class"),
        },
        "per_class": per_class(table, labels),
        "confusion": table,
        "mistakes": mistakes(task, finish.proba),
        "leaderboard": rows,
        "ranking": search.ranking.to_dict() if search.ranking else None,
        "stopped_by": search.stopped_by,
        "stop_reason": search.stop_reason,
        "budget_seconds": search.settings.budget_seconds if search.budget.timed else None,
        "trials": search.settings.trials,
        "seed": search.settings.seed,
        "device": search.device,
        "versions": versions(),
        "out": str(search.settings.out) if search.settings.out else None,
    }
    checked: dict[str, Any] = plain(result)
    return checked


def _earlier_looks(out: Path | None) -> int:
    """Return how often a run's holdout was looked at before: what was not written was not seen."""
    if out is None or not (out / "result.json").exists():
        return 0
    try:
        return int(read_json(out / "result.json").get("holdout_looks", 1))
    except (AttributeError, ModelFormatError, TypeError, ValueError):
        return 1  # damaged, but it was there


def _complete_rows(
    rows: list[dict[str, Any]], outcomes: Sequence[Outcome], finish: Finish, search: "Search"
) -> None:
    """Fill in what only the finish told: latencies, and gaps to a floor that it found."""
    known = {o.trial: o for o in outcomes}
    for row in rows:
        row["latency_ms"] = finish.latency_ms.get(row["backbone"])
        if finish.new_floor and row["trial"] in known:
            row.update(_against(search.baselines[0], known[row["trial"]], search.task))


def _best(finish: Finish, task: Task, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    best = finish.finalist
    if best is None or finish.finalist_proba is None:
        return None
    row = next(r for r in rows if r["trial"] == best.trial)
    keys = ("trial", "backbone", "adaptation", "freeze_depth", "freeze_fraction", "params",
            "validation", "steps", "license", "source_terms", "permissive",
            "latency_ms")  # fmt: skip
    y = task.y[task.split.holdout]
    return {k: row[k] for k in keys} | {"holdout": float(task.metric(y, finish.finalist_proba))}


def _verdict_text(verdict: str, finish: Finish, task: Task) -> str:
    if finish.guessed and finish.finalist is not None:
        return _guess_text(finish, task)
    if finish.gap is None:
        return "No transfer candidate finished, so transfer could not be judged."
    gap, metric = finish.gap, task.metric.name.replace("_", " ")
    words = {
        "positive": f"Transfer helps: {metric} on the holdout is higher than the floor's",
        "negative": f"Transfer hurts: {metric} on the holdout is lower than the floor's",
        "inconclusive": f"Inconclusive: {metric} on the holdout differs from the floor's",
    }
    return (
        f"{words[verdict]} by {gap.value:+.3f} "
        f"({100 * gap.confidence:.0f} % interval {gap.low:+.3f} to {gap.high:+.3f}, "
        f"{len(task.split.holdout)} samples)."
    )


def _guess_text(finish: Finish, task: Task) -> str:
    """Say that the choice is a guess, with what the source alone gives next to it."""
    chosen = finish.finalist.candidate if finish.finalist is not None else None
    parts = [
        "A guess: none of your samples has a label, so nothing could be tested on them.",
        f"{chosen.adaptation!r} on {chosen.backbone!r} was chosen by validators that see no label"
        if chosen is not None
        else "",
    ]
    scores = finish.finalist.value if finish.finalist is not None else None
    for row in (finish.domains or {}).get("beside", ()):
        if scores is not None and row["validation"] is not None:
            parts[-1] += f": {scores:.3f}, and {row['name']} has {row['validation']:.3f}"
    parts[-1] += "."
    if finish.shipped == "floor":
        parts.append(f"The floor was shipped in the candidate's place: {finish.why_floor}.")
    metric = task.metric.name.replace("_", " ")
    n = len(task.split.holdout)
    parts.append(
        f"On {count(n, 'held-out sample')} of the source the {metric} of what is shipped is "
        f"{task.metric(task.y[task.split.holdout], finish.proba):.3f}. Label a few of your own "
        "samples to know."
    )
    return " ".join(parts)


def _permissive_only(search: "Search") -> bool:
    return bool(search.settings.asked.get("permissive_only", False))


def why_no_backbone(search: "Search") -> str:
    """Say why there was nothing to transfer from."""
    skipped = search.shelf.skipped
    which, advice = "backbone", ""
    if _permissive_only(search):
        which = "permissive backbone"
        advice = " Where your use allows it, leave --permissive-only out to try more."
    reasons = "; ".join(f"{s.name}: {s.reason}" for s in skipped[:3])
    return (
        f"No {which} was usable, so the floor is the fitted model: {reasons or 'none is listed'}"
        f"{'; ...' if len(skipped) > 3 else '.'}{advice}"
    )


def _why_no_candidate(search: "Search", study: Study) -> str:
    if not search.shelf.usable:
        return why_no_backbone(search)
    if study.outcomes and all(o.state == "failed" for o in study.outcomes):
        return (
            "Every trial failed, so the floor is the fitted model. The leaderboard says why each "
            "did; correct that, or leave the method or backbone out."
        )
    return (
        "No trial finished within the budget, so the floor is the fitted model. "
        "Give a larger budget, or fewer or smaller backbones."
    )


def _warnings(search: "Search", study: Study, finish: Finish, verdict: str) -> list[str]:
    found = [*search.task.warnings, *finish.notes]
    if study.best is None:
        found.append(_why_no_candidate(search, study))
    elif finish.shipped == "floor":
        why = finish.why_floor or "none could be fitted again"
        found.append(f"The floor is the fitted model, not the best candidate: {why}.")
    elif verdict == "negative":
        found.append(
            "The shipped model is below the floor on the holdout; "
            "the floor is kept in model/floor."
        )
    if search.stopped_by == "interrupt":
        found.append("The search was interrupted; the result rests on what had finished by then.")
    failed = [o for o in study.outcomes if o.state == "failed"]
    if failed:
        found.append(f"{count(len(failed), 'trial')} failed; the leaderboard says why.")
    return found
