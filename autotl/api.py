"""The Python interface: fit, load, and the same from a path for the command line."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl import defaults
from autotl.data import RawData, SkippedSample, read, read_dataset, usable_samples
from autotl.data.labels import as_values
from autotl.errors import InvalidDataError
from autotl.result.model import FittedModel, load
from autotl.result.saved import read_json
from autotl.search import Plan, search
from autotl.search import plan as make_plan

_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")

__all__ = [
    "Predictions",
    "fit",
    "fit_source",
    "load",
    "plan_source",
    "predict_source",
]


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
    out: str | Path | None = None,
    seed: int = defaults.SEED,
    device: str | None = None,
    cache: bool = True,
    views: int = defaults.VIEWS,
    progress: bool = True,
) -> FittedModel:
    """Find, adapt and judge a pretrained backbone for labelled samples.

    Args:
        X: Images (arrays, PIL images, paths), texts (str), or a data set: map-style or a Hugging
            Face `Dataset` or `DatasetDict`.
        y: One label each: any hashable, kept as given. None takes a data set's own labels.
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
        out: Folder for the run's files; None writes nothing.
        seed: Of everything random.
        device: "cpu", "cuda" or "mps"; None picks a GPU when there is one.
        cache: Keep what frozen layers compute on disk, for later trials and runs.
        views: Augmented views of each sample that are kept; epochs take turns with them.
        progress: Show progress on standard error.

    Raises:
        InvalidDataError: The samples or labels cannot be used; the message says which and why.
        UnknownNameError: A backbone, method or metric is not known.
        OutputExistsError: `out` exists and is not empty.
    """
    brought: dict[str, Any] = {}
    if y is None:
        X, y, X_holdout, y_holdout, brought = _read_labels(
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
        out=out,
        seed=seed,
        device=device,
        cache=cache,
        views=views,
        progress=progress,
        **brought,
    )


def _read_labels(
    X: Any, X_holdout: Any, y_holdout: Any, groups: Any, modality: str | None
) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Return samples and labels of a data set, and what else reading it tells."""
    if y_holdout is not None and X_holdout is None:
        raise InvalidDataError(
            f"y_holdout has {len(y_holdout)} labels but X_holdout is None. Give both or neither."
        )
    data = read_dataset(X, modality=modality)
    skipped, notes = list(data.skipped), list(data.notes)
    if X_holdout is not None and data.X_holdout is not None:
        raise InvalidDataError(
            f"X has its own test split of {len(data.X_holdout)} samples, and X_holdout is given "
            "too. Give one of them: X['train'] leaves the test split out."
        )
    held, y_held = data.X_holdout, data.y_holdout
    if X_holdout is not None:
        held, y_held = X_holdout, y_holdout
        if y_holdout is None:
            other = read_dataset(X_holdout, modality=data.modality or modality)
            held, y_held = other.X, other.y
            skipped, notes = skipped + other.skipped, notes + other.notes
    extra = {
        "modality": modality or data.modality,
        "groups": _kept_groups(groups, data),
        "ids": data.ids,
        "skipped": skipped,
        "notes": notes,
    }
    return data.X, data.y, held, y_held, extra


def _kept_groups(groups: Any, data: RawData) -> Any:
    """Return the groups of the samples that reading has kept."""
    if groups is None or data.kept is None or not data.skipped:
        return groups
    values, n_given = as_values(groups), len(data.kept) + len(data.skipped)
    if len(values) != n_given:
        raise InvalidDataError(
            f"groups has {len(values)} values but X has {n_given} samples. "
            "Give one group for each sample."
        )
    return [values[i] for i in data.kept]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions for a source, in input order.

    Args:
        ids: File name or row of each sample.
        labels: Most probable label of each; None where the sample was skipped.
        probabilities: Shape (n_samples, n_classes); NaN where the sample was skipped.
        classes: Labels in the order of the columns.
        score: The model's metric where the source has labels, else None.
        metric: Name of that metric.
        skipped: Samples that could not be used, with reasons.
        note: Why there is no score although there are labels.
    """

    ids: list[str]
    labels: list[Hashable]
    probabilities: np.ndarray
    classes: list[Hashable]
    score: float | None
    metric: str
    skipped: list[SkippedSample]
    note: str = ""


def fit_source(  # noqa: PLR0913  # the flags that name columns
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    image: str | None = None,
    holdout: str | Path | None = None,
    groups_column: str | None = None,
    started: float | None = None,
    **arguments: Any,
) -> FittedModel:
    """Read a folder, table, archive or named data set and fit; see `fit` for the arguments."""
    started = time.monotonic() if started is None else started
    data, extra = _read_source(
        source,
        {"text": text, "label": label, "split": split, "image": image},
        holdout,
        groups_column,
        arguments.get("modality"),
    )
    return search(data.X, data.y, started=started, source=str(source), **(arguments | extra))


def plan_source(  # as fit_source
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    image: str | None = None,
    holdout: str | Path | None = None,
    groups_column: str | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Describe what `fit_source` would do: splits, metric, backbones and estimated seconds."""
    data, extra = _read_source(
        source,
        {"text": text, "label": label, "split": split, "image": image},
        holdout,
        groups_column,
        arguments.get("modality"),
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
        "skipped_samples": [{"sample": s.sample, "reason": s.reason} for s in task.skipped],
        "adaptations": plan.adaptations,
        "floors": ["majority", *(f.name for f in features)],
        "budget_seconds": plan.budget_seconds,
        "estimated_seconds": sum(plan.seconds.values()),
        "warnings": task.warnings,
    }


def _read_source(
    source: str | Path,
    columns: dict[str, Any],
    holdout: str | Path | None,
    groups_column: str | None,
    modality: str | None,
) -> tuple[RawData, dict[str, Any]]:
    data = read(source, modality=modality, groups=groups_column, **columns)
    X_holdout, y_holdout, skipped = data.X_holdout, data.y_holdout, list(data.skipped)
    notes: list[str] = []
    if holdout is not None:
        if X_holdout is not None:
            raise InvalidDataError(
                f"{str(source)!r} has its own test split and --holdout {str(holdout)!r} names "
                "another; give one of them. Leave --holdout out, or remove the test split."
            )
        other = read(holdout, modality=data.modality, require_labels=False, **columns)
        X_holdout, y_holdout = other.X, other.y
        skipped += other.skipped
        notes = other.notes
    extra = {
        "modality": modality or data.modality,
        "X_holdout": X_holdout,
        "y_holdout": y_holdout,
        "groups": data.groups,
        "ids": data.ids,
        "skipped": skipped,
        "notes": [*data.notes, *notes],
        "columns": data.columns,
    }
    return data, extra


def predict_source(
    run: str | Path,
    source: str | Path,
    *,
    text: str | None = None,
    image: str | None = None,
    label: str | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
) -> Predictions:
    """Predict everything in a source with a run's model, skipping what cannot be used."""
    model = load(run, weights=weights, device=device)
    modality = model.modality
    columns: dict[str, Any] = {"text": text, "image": image, "label": label}
    if str(source).lower().endswith(_TABLES) and text is None and image is None:
        columns |= _columns_of_run(Path(run), columns)
    data = read(source, modality=modality.name, require_labels=False, **columns)
    usable = usable_samples(modality, data.X, ids=data.ids)
    good = usable.kept
    proba = np.full((usable.n_given, len(model.classes)), np.nan)
    proba[good] = model.predict_proba_samples(usable.samples)
    labels: list[Hashable] = [None] * usable.n_given
    for i, label in zip(good, model.labels_of(proba[good]).tolist(), strict=True):
        labels[i] = label
    score, note = None, ""
    if data.y is not None and good:
        score, note = _score(model, proba[good], [data.y[i] for i in good])
    return Predictions(
        ids=data.ids,
        labels=labels,
        probabilities=proba,
        classes=model.classes,
        score=score,
        metric=model.metric,
        skipped=[*data.skipped, *usable.skipped],
        note=note,
    )


def _columns_of_run(run: Path, given: dict[str, Any]) -> dict[str, str]:
    """Return the sample column that the run was read from, where the run says so."""
    if not (run / "run.json").exists():
        return {}
    known = read_json(run / "run.json")
    for key in ("asked", "columns"):
        known = known.get(key) if isinstance(known, dict) else None
    if not isinstance(known, dict):
        return {}
    return {flag: known[flag] for flag in ("text", "image") if flag in known and flag in given}


def _score(model: FittedModel, proba: np.ndarray, y: list[Hashable]) -> tuple[float | None, str]:
    """Score against labels, which may be written as text where the model's are numbers."""
    by_text = {str(label): label for label in model.classes}
    given = [v if v in model.classes else by_text.get(str(v), v) for v in y]
    try:
        return model.score_proba(proba, given), ""
    except ValueError as error:  # the predictions stand, whatever the labels are
        return None, f"No score: {error}"
