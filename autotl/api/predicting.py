"""Predict everything in a source."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data import SkippedSample, read, usable_samples
from autotl.result.model import FittedModel, load
from autotl.result.saved import read_json

_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


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
