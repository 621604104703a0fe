"""Fit, or say what fitting would do."""

import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotl import defaults
from autotl.api.reading import read_labels, read_source
from autotl.data import brings_labels
from autotl.result.model import FittedModel
from autotl.search import Plan, search
from autotl.search import plan as make_plan


def fit(  # noqa: PLR0913  # one keyword for each thing a user may decide
    X: Any,
    y: Sequence[Hashable] | None = None,
    *,
    modality: str | None = None,
    metric: str | None = None,
    budget_seconds: float = defaults.BUDGET_SECONDS,
    trials: int | None = None,
    backbones: Sequence[str] | str | None = None,
    adaptations: Sequence[str] | str | None = None,
    weights: str | Path | Sequence[str | Path] | None = None,
    download: bool = False,
    permissive_only: bool = False,
    labels_per_class: int | None = None,
    X_holdout: Any = None,
    y_holdout: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
    X_unlabeled: Any = None,
    source: Any = None,
    unlabeled: str | None = None,
    unlabeled_value: Hashable = None,
    out: str | Path | None = None,
    seed: int = defaults.SEED,
    device: str | None = None,
    cache: bool = True,
    views: int = defaults.VIEWS,
    workers: int = 1,
    max_params: int | None = None,
    max_latency_ms: float | None = None,
    license: Sequence[str] | str | None = None,
    ensemble: bool = False,
    cautious: bool = False,
    experience: bool = True,
    progress: bool = True,
) -> FittedModel:
    """Find, adapt and judge a pretrained backbone for labelled samples.

    Args:
        X: Images (arrays, PIL images, paths), texts (str), or a data set: map-style or a Hugging
            Face `Dataset` or `DatasetDict`.
        y: One label each: any hashable, kept as given. None takes a data set's own labels,
            or says that there are none: `source` then brings them, and what is chosen is a guess.
        modality: "image" or "text", where `X` leaves it open.
        metric: Name of a scikit-learn classification scorer; None chooses accuracy, or balanced
            accuracy when the rarest class has under a fifth of the commonest one's share.
        budget_seconds: Wall-clock limit from the first sample read to the report written.
        trials: Run up to so many trials instead, fewer where the space ends; the clock then
            decides nothing, and the same seed on the same machine gives the same result.
        backbones: Names or patterns such as `embedded/*`.
        adaptations: Names or patterns of methods.
        weights: Folders of local weights with a `backbones.toml`.
        download: Allow downloads of backbones named in `backbones`.
        permissive_only: Leave out backbones whose weights or data are not known to allow
            commercial use.
        labels_per_class: Keep so many labels of each class, hold out the rest.
        X_holdout: Samples that are touched once, at the end; None sets 20 % of `X` aside.
        y_holdout: Their labels.
        groups: Samples of one group stay on one side of every split.
        X_unlabeled: Samples of the same kind without labels; methods learn from them too.
        source: Labelled samples of another domain, `(X_source, y_source)`, or several by name,
            `{"photos": (X_source, y_source)}`.
        unlabeled: "use" where labels in `y` may be missing (None or NaN): such samples count as
            `X_unlabeled`.
        unlabeled_value: Another label that stands for a missing one.
        out: Folder for the run's files; None writes nothing.
        seed: Of everything random.
        device: "cpu", "cuda" or "mps"; None picks a GPU when there is one.
        cache: Keep what frozen layers compute on disk, for later trials and runs.
        views: Augmented views of each sample that are kept; epochs take turns with them.
        workers: Processes that search at once, the cores shared out among them.
        max_params: Most parameters of a backbone that may win.
        max_latency_ms: Most milliseconds that its backbone may take for one sample, measured here.
        license: Names or patterns of the licences that its weights may have, such as "mit".
        ensemble: Ship a weighted mean of several trials where that is clearly better.
        cautious: Ship transfer only where its lead over the floor is beyond chance.
        experience: Start from what worked on similar data, and leave a record for later runs.
        progress: Show progress on standard error.

    Raises:
        InvalidDataError: The samples or labels cannot be used; the message says which and why.
        UnknownNameError: A backbone, method or metric is not known.
        OutputExistsError: `out` exists and is not empty.
    """
    brought: dict[str, Any] = {}
    if y is None and (source is None or brings_labels(X, modality)):
        X, y, X_holdout, y_holdout, brought = read_labels(
            X, X_holdout, y_holdout, groups, modality
        )
        modality, groups = brought.pop("modality"), brought.pop("groups")
    return search(
        X,
        y,
        modality=modality,
        metric=metric,
        budget_seconds=budget_seconds,
        trials=trials,
        backbones=backbones,
        adaptations=adaptations,
        weights=weights,
        download=download,
        permissive_only=permissive_only,
        labels_per_class=labels_per_class,
        X_holdout=X_holdout,
        y_holdout=y_holdout,
        groups=groups,
        X_unlabeled=X_unlabeled,
        source_data=source,
        unlabeled=unlabeled,
        unlabeled_value=unlabeled_value,
        out=out,
        seed=seed,
        device=device,
        cache=cache,
        views=views,
        workers=workers,
        max_params=max_params,
        max_latency_ms=max_latency_ms,
        license=license,
        ensemble=ensemble,
        cautious=cautious,
        experience=experience,
        progress=progress,
        **brought,
    )


def fit_source(  # noqa: PLR0913  # the flags that name columns and further data
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    image: str | None = None,
    holdout: str | Path | None = None,
    groups_column: str | None = None,
    unlabeled_data: str | Path | None = None,
    other_sources: Mapping[str, str | Path] | None = None,
    started: float | None = None,
    **arguments: Any,
) -> FittedModel:
    """Read a folder, table, archive or named data set and fit; see `fit` for the arguments."""
    started = time.monotonic() if started is None else started
    columns = {"text": text, "label": label, "split": split, "image": image}
    data, extra = read_source(
        source,
        columns,
        holdout,
        groups_column,
        arguments.get("modality"),
        unlabeled=unlabeled_data,
        others=other_sources,
    )
    reading = {
        "source": _lasting(source),
        "holdout": None if holdout is None else _lasting(holdout),
        "unlabeled": None if unlabeled_data is None else _lasting(unlabeled_data),
        "others": {name: _lasting(path) for name, path in (other_sources or {}).items()},
        "groups_column": groups_column,
        **columns,
    }
    return search(
        data.X,
        data.y,
        started=started,
        source=str(source),
        reading=reading,
        **(arguments | extra),
    )


def _lasting(source: str | Path) -> str:
    """Return a source so that it is found from any folder; names of data sets stay as they are."""
    path = Path(source)
    return str(path.resolve()) if path.exists() else str(source)


def plan_source(  # noqa: PLR0913  # as fit_source
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    image: str | None = None,
    holdout: str | Path | None = None,
    groups_column: str | None = None,
    unlabeled_data: str | Path | None = None,
    other_sources: Mapping[str, str | Path] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Describe what `fit_source` would do: splits, metric, backbones and estimated seconds."""
    data, extra = read_source(
        source,
        {"text": text, "label": label, "split": split, "image": image},
        holdout,
        groups_column,
        arguments.get("modality"),
        unlabeled=unlabeled_data,
        others=other_sources,
    )
    return _plan_row(make_plan(data.X, data.y, **(arguments | extra)), arguments)


def _plan_row(plan: Plan, arguments: dict[str, Any]) -> dict[str, Any]:
    task, split = plan.task, plan.task.split
    features = sorted(task.modality.raw_features, key=lambda f: f.cost)
    return {
        "task": {
            "modality": task.modality.name,
            "n_samples": len(task.y),
            "n_train": len(split.folds[0].train),
            "n_validation": len(split.folds[0].validation),
            "n_folds": len(split.folds),
            "n_holdout": len(split.holdout),
            "classes": [str(c) for c in task.classes],
            "labels_per_class": arguments.get("labels_per_class"),
        },
        "metric": task.metric.name,
        "metric_reason": task.metric.reason,
        "backbones": [{"name": n, "seconds": s} for n, s in plan.seconds.items()],
        "skipped_backbones": [{"name": s.name, "reason": s.reason} for s in plan.shelf.skipped],
        "permissive_only": arguments.get("permissive_only", False),
        "restricted_backbones": plan.shelf.restricted,
        "n_unlabeled": len(split.unlabeled),
        "sources": {s.name: len(s.rows) for s in task.sources},
        "skipped_samples": [{"sample": s.sample, "reason": s.reason} for s in task.skipped],
        "adaptations": plan.adaptations,
        "floors": ["majority", *(f.name for f in features)],
        "budget_seconds": plan.budget_seconds,
        "estimated_seconds": sum(plan.seconds.values()),
        "warnings": task.warnings,
    }
