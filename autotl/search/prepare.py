"""From the user's arguments to a checked task and a shelf."""

import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from autotl import defaults
from autotl.data import SkippedSample, Task, build_task
from autotl.errors import BackboneUnavailableError
from autotl.result.device import check_device
from autotl.search.budget import Budget
from autotl.search.limits import Limits
from autotl.search.progress import Progress
from autotl.search.settings import check_adaptations
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
    X_unlabeled: Any
    source_data: Any  # labelled samples of other domains; `source` says where the data came from
    unlabeled: str | None
    unlabeled_value: Any
    out: str | Path | None
    seed: int
    device: str | None
    cache: bool
    views: int
    workers: int
    experience: bool
    max_params: int | None
    max_latency_ms: float | None
    license: Sequence[str] | str | None
    ensemble: bool
    cautious: bool
    accept_changes: bool
    resumes: dict[str, Any]  # how far to go on, as the user says; who calls occupies the folder
    reading: dict[str, Any]
    progress: bool
    ids: Sequence[str] | None
    skipped: Sequence[SkippedSample]
    notes: Sequence[str]
    source: str | None
    columns: dict[str, str]
    started: float | None


def names_of(given: Sequence[str] | str | None) -> list[str] | None:
    """Return names or patterns as a list; None stands for all."""
    if given is None:
        return None
    return [given] if isinstance(given, str) else list(given)


def prepare(
    X: Any, y: Any, progress: Progress, arguments: SearchArguments, *, guard: bool = False
) -> tuple[Task, Shelf]:
    """Check what the user gave and list the backbones for it.

    Args:
        X: Samples.
        y: Their labels.
        progress: Where to say what is happening.
        arguments: Those of `autotl.fit`.
        guard: Whether samples are set aside for the guard.

    Raises:
        InvalidDataError: The data or a number cannot be used.
        UnknownNameError: A backbone, method or metric is not known.
        BackboneUnavailableError: None of the named backbones can be used.
    """
    seed = arguments.get("seed", defaults.SEED)
    names = names_of(arguments.get("backbones"))
    # The cheap checks come first: a misspelt name should not wait for ten thousand images.
    check_adaptations(names_of(arguments.get("adaptations")))
    check_device(arguments.get("device"))
    limits = limits_of(arguments)
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
        guard=guard,
        X_unlabeled=arguments.get("X_unlabeled"),
        source=arguments.get("source_data"),
        unlabeled=arguments.get("unlabeled"),
        unlabeled_value=arguments.get("unlabeled_value"),
    )
    shelf = open_shelf(
        modality=task.modality.name,
        backbones=names,
        weights=arguments.get("weights"),
        download=arguments.get("download", False),
        permissive_only=arguments.get("permissive_only", False),
    )
    limits.apply(shelf)
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


def limits_of(arguments: SearchArguments) -> Limits:
    """Return what may win.

    Raises:
        InvalidDataError: A limit makes no sense.
    """
    return Limits(
        max_params=arguments.get("max_params"),
        max_latency_ms=arguments.get("max_latency_ms"),
        license=arguments.get("license"),
    )


def _choosing(arguments: SearchArguments) -> str:
    """Name the options that decide which backbones are used."""
    permissive = arguments.get("permissive_only", False)
    return "--backbones or --permissive-only" if permissive else "--backbones"


def download(shelf: Shelf, budget: Budget, progress: Progress) -> None:
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
