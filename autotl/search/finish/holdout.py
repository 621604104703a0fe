"""What the holdout shows of a model besides its score."""

import base64
import io
from typing import Any

import numpy as np

from autotl.data import Task

_MOST_MISTAKES, _SIDE, _LETTERS = 12, 96, 300


def confusion(y: np.ndarray, proba: np.ndarray, n_classes: int) -> list[list[int]]:
    """Count holdout samples by true class (rows) and predicted class (columns)."""
    table = np.zeros((n_classes, n_classes), int)
    np.add.at(table, (y, proba.argmax(axis=1)), 1)
    counts: list[list[int]] = table.tolist()
    return counts


def per_class(table: list[list[int]], labels: list[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each class from a confusion table."""
    counts = np.array(table)
    rows = []
    for i, label in enumerate(labels):
        hit, support, predicted = counts[i, i], counts[i].sum(), counts[:, i].sum()
        precision = float(hit / predicted) if predicted else 0.0
        recall = float(hit / support) if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hit else 0.0
        rows.append(
            {
                "label": label,
                "precision": precision,
                "recall": recall,
                "f1": f1,
                "support": int(support),
            }
        )
    return rows


def mistakes(task: Task, proba: np.ndarray) -> list[dict[str, Any]]:
    """Return the holdout samples that a model was most confidently wrong about, worst first.

    Args:
        task: The task.
        proba: Holdout probabilities of shape (n_holdout, n_classes).

    Returns:
        For each: `sample`, `row`, `true`, `predicted`, `probability` of what was predicted,
        `probability_true`, and `text` or `image` (a small picture as a data address) where the
        sample can be shown.
    """
    rows = task.split.holdout
    y, predicted = task.y[rows], proba.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    confidence = proba[wrong, predicted[wrong]]
    found = []
    for at in wrong[np.argsort(-confidence, kind="stable")][:_MOST_MISTAKES]:
        row = int(rows[at])
        found.append(
            {
                "sample": _name(task, row),
                "row": row,
                "true": str(task.classes[y[at]]),
                "predicted": str(task.classes[predicted[at]]),
                "probability": float(proba[at, predicted[at]]),
                "probability_true": float(proba[at, y[at]]),
                **_shown(task, row),
            }
        )
    return found


def _name(task: Task, row: int) -> str:
    names = getattr(task.samples, "names", None)
    return str(names[row]) if names else f"sample {row}"


def _shown(task: Task, row: int) -> dict[str, str]:
    """Return a sample as a report can show it: its first words, a small picture, or nothing."""
    try:
        sample = task.samples[row]
        if isinstance(sample, str):
            short = sample if len(sample) <= _LETTERS else f"{sample[:_LETTERS]} ..."
            return {"text": short}
        if hasattr(sample, "thumbnail") and hasattr(sample, "convert"):
            return {"image": _thumbnail(sample)}
    except Exception:  # noqa: BLE001  # a picture less must not cost a run its result
        return {}
    return {}


def _thumbnail(image: Any) -> str:
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
