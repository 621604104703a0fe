"""From the user's arguments to a running search, shared by `fit`, the estimator and the CLI."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from autotl import defaults
from autotl.data import SkippedSample, Task, build_task
from autotl.errors import BackboneUnavailableError, InvalidDataError
from autotl.features import BackboneSession
from autotl.result.device import check_device, pick_device
from autotl.result.model import FittedModel
from autotl.search.budget import Budget
from autotl.search.engine import Search, Settings, open_run_folder, select_adaptations
from autotl.search.progress import Progress, SilentProgress, make_progress
from autotl.search.screening import SUBSAMPLE, subsample
from autotl.shelf import Shelf, open_shelf, terms_text


class SearchArguments(TypedDict, total=False):
    """Keyword arguments of `autotl.fit`; see there."""

    modality: str | None
    metric: str | None
    budget_seconds: float
    trials: int | None
    backbones: Sequence[str] | str | None
    adaptations: Sequence[str] | str | None
    weights: str | Path | Sequence[str | Path] | None
    download: bool
    permissive_only: bool
    labels_per_class: int | None
    X_holdout: Any
    y_holdout: Sequence[Hashable] | None
    groups: Sequence[Hashable] | None
    out: str | Path | None
    seed: int
    device: str | None
    cache: bool
    views: int
    progress: bool
    ids: Sequence[str] | None
    skipped: Sequence[SkippedSample]
    notes: Sequence[str]
    source: str | None
    columns: dict[str, str]
    started: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search would do.

    Args:
        task: The checked task.
        shelf: Usable and skipped backbones.
        adaptations: Names of the methods.
        seconds: Estimated seconds to embed every training sample, by backbone.
        budget_seconds: The limit.
    """

    task: Task
    shelf: Shelf
    adaptations: list[str]
    seconds: dict[str, float]
    budget_seconds: float


def _names(given: Sequence[str] | str | None) -> list[str] | None:
    if given is None:
        return None
    return [given] if isinstance(given, str) else list(given)


def _prepare(X: Any, y: Any, progress: Progress, arguments: SearchArguments) -> tuple[Task, Shelf]:
    seed = arguments.get("seed", defaults.SEED)
    names = _names(arguments.get("backbones"))
    # The cheap checks come first: a misspelt name should not wait for ten thousand images.
    select_adaptations(_names(arguments.get("adaptations")))
    check_device(arguments.get("device"))
    progress.stage("Reading data")
    task = build_task(
        X,
        y,
        modality=arguments.get("modality"),
        metric=arguments.get("metric"),
        labels_per_class=arguments.get("labels_per_class"),
        X_holdout=arguments.get("X_holdout"),
        y_holdout=arguments.get("y_holdout"),
        groups=arguments.get("groups"),
        seed=seed,
        ids=arguments.get("ids"),
        skipped=arguments.get("skipped", ()),
        notes=arguments.get("notes", ()),
        advance=lambda done, total: progress.advance("", done, total),
    )
    shelf = open_shelf(
        modality=task.modality.name,
        backbones=names,
        weights=arguments.get("weights"),
        download=arguments.get("download", False),
        permissive_only=arguments.get("permissive_only", False),
    )
    exact = names is not None and not any(c in name for name in names for c in "*?[")
    if exact and not shelf.usable:
        reasons = "; ".join(f"{s.name!r}: {s.reason}" for s in shelf.skipped)
        raise BackboneUnavailableError(
            f"None of the named backbones can be used: {reasons}. "
            f"Name others, or leave {_choosing(arguments)} out; `autotl backbones` lists what is "
            "usable."
        )
    for text in task.warnings:
        progress.message(text)
    return task, shelf


def _choosing(arguments: SearchArguments) -> str:
    """Name the options that decide which backbones are used."""
    permissive = arguments.get("permissive_only", False)
    return "--backbones or --permissive-only" if permissive else "--backbones"


def _download(shelf: Shelf, budget: Budget, progress: Progress) -> None:
    """Fetch what the user named and allowed; the time does not count into the budget."""
    for spec in [s for s in shelf.usable if s.name in shelf.downloads]:
        size = f"{spec.download_bytes / 1e6:.0f} MB" if spec.download_bytes > 1 else "unknown size"
        terms = terms_text(spec.license, spec.source_terms)
        progress.message(f"Downloading {spec.name}: {size}, {terms}")
        began = time.monotonic()
        try:
            spec.load("cpu")
        except Exception as error:  # noqa: BLE001  # loading is plugin code
            shelf.skip(spec.name, f"{type(error).__name__}: {error}")
            progress.message(f"{spec.name} was skipped: {error}")
        budget.exclude(time.monotonic() - began)


def search(X: Any, y: Any, **arguments: Unpack[SearchArguments]) -> FittedModel:
    """Run a whole search; the arguments are those of `autotl.fit`."""
    started = arguments.get("started") or time.monotonic()
    seconds = arguments.get("budget_seconds", defaults.BUDGET_SECONDS)
    budget = Budget(seconds, arguments.get("trials"), started)
    out = arguments.get("out")
    created = out is not None and not Path(out).exists()
    folder = open_run_folder(out) if out is not None else None
    show = arguments.get("progress", True)
    progress = make_progress(show, budget.seconds if budget.timed else None)
    try:
        task, shelf = _prepare(X, y, progress, arguments)
        _download(shelf, budget, progress)
        settings = Settings(
            budget_seconds=seconds,
            trials=arguments.get("trials"),
            adaptations=_names(arguments.get("adaptations")),
            out=folder,
            seed=arguments.get("seed", defaults.SEED),
            device=arguments.get("device"),
            cache=arguments.get("cache", True),
            views=_checked_views(arguments.get("views", defaults.VIEWS)),
            asked=_describe(arguments),
        )
        return Search(task, shelf, settings, budget, progress).run()
    except BaseException:
        if folder is not None and not (folder / "result.json").exists():
            _clear(folder, created=created)
        raise
    finally:
        progress.close()


def _checked_views(views: Any) -> int:
    if isinstance(views, bool) or not isinstance(views, int) or views < 1:
        raise InvalidDataError(f"views is {views!r}; give a whole number of at least 1.")
    return views


def _clear(folder: Path, *, created: bool) -> None:
    """Remove what a run left that had not begun to search, so that it can be run again."""
    if (folder / "study.journal").exists():
        return  # finished trials are worth more than a free folder name
    (folder / "run.json").unlink(missing_ok=True)
    for path in folder.glob(".*.json.*"):
        path.unlink(missing_ok=True)
    if created and not any(folder.iterdir()):
        folder.rmdir()


def _describe(arguments: SearchArguments) -> dict[str, Any]:
    """Return the arguments that JSON can hold, for `run.json`."""
    left_out = {"X_holdout", "y_holdout", "groups", "ids", "skipped", "notes", "started"}
    return {
        k: str(v) if isinstance(v, Path) else v for k, v in arguments.items() if k not in left_out
    }


def plan(X: Any, y: Any, **arguments: Unpack[SearchArguments]) -> Plan:
    """Check data and backbones and time a few samples of each, without searching."""
    progress = SilentProgress()
    task, shelf = _prepare(X, y, progress, arguments)
    device = arguments.get("device") or pick_device()
    seconds: dict[str, float] = {}
    rows = subsample(task, min(SUBSAMPLE, 24), arguments.get("seed", defaults.SEED))
    for spec in list(shelf.usable):
        session = BackboneSession(spec, task.samples, task.modality, device=device)
        try:
            session.batch_size = 8
            session.embed(rows)
        except Exception as error:  # noqa: BLE001  # loading and running is plugin code
            shelf.skip(spec.name, f"{type(error).__name__}: {error}")
            continue
        per_sample = session.seconds_per_sample or 0.0
        seconds[spec.name] = per_sample * len(task.split.train_validation)
    names = [a.name for a in select_adaptations(_names(arguments.get("adaptations")))]
    return Plan(
        task=task,
        shelf=shelf,
        adaptations=names,
        seconds=seconds,
        budget_seconds=arguments.get("budget_seconds", defaults.BUDGET_SECONDS),
    )
