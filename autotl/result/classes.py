"""The report's part on classes: scores of each, and what is mistaken for what."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.result import wording
from autotl.result.page import Cell, more, table, text
from autotl.result.plots import confusion_map

__all__ = ["classes_section", "confused_pairs"]

_LARGEST_TABLE = 30
_SHOWN_PAIRS = 12


def classes_section(result: Mapping[str, Any]) -> str:
    """Return scores of each class and the confusion matrix of the shipped model."""
    scores = result.get("per_class") or []
    matrix = result.get("confusion") or []
    labels = [str(c) for c in (result.get("task") or {}).get("classes") or ()]
    if len(labels) != len(matrix):
        labels = [str(i) for i in range(len(matrix))]
    parts = ["<p>The shipped model on the holdout.</p>"] if scores or matrix else []
    if scores:
        parts.append(_scores(scores))
    if matrix:
        parts.append(f"<h3>Confusion matrix</h3>{_matrix(matrix, labels)}")
    return "".join(parts)


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    headers = [("Class", ""), ("Precision", "n"), ("Recall", "n"), ("F1", "n"), ("Samples", "n")]
    rows = [
        [
            Cell.of(s.get("label")),
            *(Cell.number(wording.score_text(s.get(k), "accuracy")) for k in _SCORES),
            Cell.number(f"{int(s.get('support') or 0):,}"),
        ]
        for s in scores
    ]
    if len(rows) <= _LARGEST_TABLE:
        return table(headers, rows, label="Scores of each class", snug=True)
    order = sorted(range(len(rows)), key=lambda i: scores[i].get("f1") or 0.0)
    lowest = [rows[i] for i in order[:_SHOWN_PAIRS]]
    worst = table(headers, lowest, label="Classes with the lowest F1", snug=True)
    every = table(headers, rows, label="Scores of every class", snug=True)
    return f"<h3>The hardest classes</h3>{worst}{more(f'Show all {len(rows)} classes', every)}"


_SCORES = ("precision", "recall", "f1")


def _matrix(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    pairs = _pairs_table(confused_pairs(matrix, labels))
    if len(matrix) <= _LARGEST_TABLE:
        more_pairs = pairs if len(matrix) > 2 else ""
        return _heat_table(matrix, labels) + more_pairs
    return (
        '<p class="note">Rows are the true classes, columns the predicted ones, in the order of '
        "the table above. Blue is right, red is wrong; stronger is more often.</p>"
        f"{confusion_map(matrix)}{pairs}"
    )


def _heat_table(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    corner = '<td class="note">true \\ predicted</td>'
    head = "".join(f'<th scope="col"><bdi>{text(name)}</bdi></th>' for name in labels)
    body = []
    for i, row in enumerate(matrix):
        total = sum(row) or 1
        cells = "".join(_heat(n, n / total, i == j).render("td") for j, n in enumerate(row))
        body.append(f'<tr><th scope="row"><bdi>{text(labels[i])}</bdi></th>{cells}</tr>')
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Confusion matrix">'
        '<table class="confusion"><caption>Rows are the true classes, columns the predicted '
        f"ones.</caption><thead><tr>{corner}{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _heat(n: int, share: float, hit: bool) -> Cell:
    if not n:
        return Cell("0", "zero")
    # Mistakes are rare, so a light shade must already show; the cap keeps the number readable.
    strength = 0.08 + 0.5 * share if hit else min(0.12 + 2.0 * share, 0.65)
    return Cell(f"{n:,}", "hit" if hit else "miss", f"--v:{strength:.2f}")


def confused_pairs(
    matrix: Sequence[Sequence[int]], labels: Sequence[str]
) -> list[tuple[str, str, int, float]]:
    """Return (true, predicted, samples, share of the true class), most samples first."""
    pairs = [
        (labels[i], labels[j], n, n / sum(row))
        for i, row in enumerate(matrix)
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(pairs, key=lambda p: (-p[2], -p[3]))


def _pairs_table(pairs: Sequence[tuple[str, str, int, float]]) -> str:
    if not pairs:
        return "<p>No sample is mistaken for another class.</p>"
    rows = [
        [Cell.of(true), Cell.of(predicted), Cell.number(f"{n:,}"), Cell.number(f"{100 * s:.1f} %")]
        for true, predicted, n, s in pairs[:_SHOWN_PAIRS]
    ]
    headers = [("True class", ""), ("Taken for", ""), ("Samples", "n"), ("Of the class", "n")]
    return f"<h3>Most confused</h3>{table(headers, rows, label='Most confused pairs', snug=True)}"
