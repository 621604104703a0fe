"""Write probe accuracies as the tables of docs/backbones/index.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from common import WEIGHTS

__all__ = ["Row", "write_card", "write_page"]

LABELS = (10, 50, None)
NATURAL = ("cifar10_small", "clothing10", "trashnet6", "dtd10")
GLYPHS = ("omniglot100", "da_digits_mnist", "da_digits_usps", "da_digits_mnistm")
GERMAN = "germeval18_de"
TEACHER = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        name: What is shown.
        kind: "raw", "embedded", "untrained" or "zoo".
        source: Spec that the features come from.
        digest: Of the weights, where they may change.
    """

    name: str
    kind: str
    source: Any
    digest: str = ""


class Accuracies(Protocol):
    """What was measured."""

    def get(self, row: Row, name: str, labels: int | None) -> float | None:
        """Return an accuracy, or None where there is none."""


def write_page(
    page: Path,
    rows: Mapping[str, Sequence[Row]],
    sets: Mapping[str, Sequence[str]],
    scores: Mapping[str, Accuracies],
    speeds: Mapping[str, float],
) -> None:
    """Replace what stands between the two markers of the page.

    Args:
        page: Markdown with the markers.
        rows: Lines of the tables, by modality.
        sets: Columns, by modality.
        scores: Accuracies, by modality.
        speeds: Texts a second, by name.
    """
    parts = ["## Targets", _targets(rows, sets, scores, speeds)]
    for modality in rows:
        for labels in LABELS:
            count = "all labels" if labels is None else f"{labels} labels per class"
            parts.append(f"## {modality.capitalize()}s, {count}")
            parts.append(_table(rows[modality], sets[modality], scores[modality], labels))
    parts += ["## Speed of the text encoders", _speed_table(speeds)]
    _replace(page, "measured", "\n\n".join(parts))
    _replace(page, "shelf", _shelf([row for listed in rows.values() for row in listed]))
    print(parts[1])


def write_card(
    card: Path, row: Row, rows: Sequence[Row], names: Sequence[str], scores: Any
) -> None:
    """Replace what stands between the two markers of one backbone's card.

    Args:
        card: Markdown with the markers.
        row: The backbone.
        rows: All lines of its modality.
        names: Sets.
        scores: Accuracies of its modality.
    """
    copy = _find(rows, f"{row.name}, untrained")
    floors = [other for other in rows if other.kind == "raw"]
    lines = [
        [
            name,
            *(_number(scores.get(row, name, labels)) for labels in LABELS),
            _number(scores.get(copy, name, None)),
            _number(max(scores.get(floor, name, None) or 0.0 for floor in floors)),
        ]
        for name in names
    ]
    header = ["", "10", "50", "all", "untrained, all", "best without transfer, all"]
    _replace(card, "measured", _markdown(header, lines))


def _replace(page: Path, part: str, body: str) -> None:
    """Put a body between the two markers of one part of a page."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}", encoding="utf-8")


def _shelf(rows: Sequence[Row]) -> str:
    """Return the facts about each embedded backbone."""
    lines = []
    for row in rows:
        if row.kind != "embedded":
            continue
        spec, name = row.source, row.name.split("/")[1]
        size = sum(path.stat().st_size for path in (WEIGHTS / name).iterdir())
        lines.append(
            [
                f"[{row.name}]({name}.md)",
                f"{spec.n_params / 1e6:.2f} M",
                str(spec.embed_dim),
                f"{size / 1e6:.2f} MB",
                spec.source_domain,
                spec.source_terms,
                "yes" if spec.permissive else "no",
            ]
        )
    header = ["", "parameters", "embed_dim", "on disk", "source domain", "terms", "permissive"]
    return _markdown(header, lines)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".removeprefix("0")


def _mean(
    scores: Accuracies, row: Row, names: Sequence[str], labels: Sequence[int | None]
) -> float | None:
    values = [scores.get(row, name, count) for name in names for count in labels]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _table(
    rows: Sequence[Row], names: Sequence[str], scores: Accuracies, labels: int | None
) -> str:
    """Return one line per representation; the best embedded backbone of each column is bold."""
    lines = []
    for row in rows:
        cells = []
        for name in names:
            value = scores.get(row, name, labels)
            best = max(
                (scores.get(r, name, labels) or 0.0 for r in rows if r.kind == "embedded"),
                default=0.0,
            )
            bold = row.kind == "embedded" and value == best
            cells.append(f"**{_number(value)}**" if bold else _number(value))
        lines.append([row.name, *cells, _number(_mean(scores, row, names, [labels]))])
    shown = [name.removeprefix("da_digits_").removeprefix("sentiment/") for name in names]
    return _markdown(["", *shown, "mean"], lines)


def _speed_table(speeds: Mapping[str, float]) -> str:
    slowest = speeds[TEACHER]
    lines = [[name, f"{speed:,.0f}", f"{speed / slowest:.1f}"] for name, speed in speeds.items()]
    return _markdown(["", "texts a second, one thread", f"times {TEACHER}"], lines)


def _targets(
    rows: Mapping[str, Sequence[Row]],
    sets: Mapping[str, Sequence[str]],
    scores: Mapping[str, Accuracies],
    speeds: Mapping[str, float],
) -> str:
    """Return a table of what the shelf is judged by."""
    lines = [
        *_natural(rows["image"], sets["image"], scores["image"]),
        *_glyphs(rows["image"], scores["image"]),
        *_sentences(rows["text"], sets["text"], scores["text"], speeds),
        *_best_everywhere(rows, sets, scores),
    ]
    return _markdown(["target", "measured", "met"], lines)


def _line(target: str, measured: str, met: bool) -> list[str]:
    return [target, measured, "yes" if met else "no"]


def _find(rows: Sequence[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


def _natural(rows: Sequence[Row], names: Sequence[str], scores: Accuracies) -> list[list[str]]:
    lines = []
    pixels = _mean(scores, _find(rows, "pixels"), NATURAL, [None]) or 0.0
    for row in rows:
        if row.kind != "embedded" or "natural" not in row.name:
            continue
        mean = _mean(scores, row, NATURAL, [None]) or 0.0
        lines.append(
            _line(
                f"{row.name}: 10 points above pixels, mean of {', '.join(NATURAL)}, all labels",
                f"{mean:.3f} against {pixels:.3f}",
                mean >= pixels + 0.10,
            )
        )
        copy = _find(rows, f"{row.name}, untrained")
        worse = [
            f"{name} ({count or 'all'})"
            for name in names
            for count in LABELS
            if (scores.get(row, name, count) or 0.0) <= (scores.get(copy, name, count) or 0.0)
        ]
        lines.append(
            _line(
                f"{row.name}: above its untrained copy everywhere",
                f"not on {', '.join(worse)}" if worse else "on every set, at every count",
                not worse,
            )
        )
    return lines


def _glyphs(rows: Sequence[Row], scores: Accuracies) -> list[list[str]]:
    embedded = [row for row in rows if row.kind == "embedded"]
    glyphs = _find(rows, "embedded/glyphs")
    lost = [
        f"{name} ({count or 'all'})"
        for name in GLYPHS
        for count in LABELS
        if max(scores.get(row, name, count) or 0.0 for row in embedded)
        > (scores.get(glyphs, name, count) or 0.0)
    ]
    digits = scores.get(glyphs, "sklearn_digits", 10) or 0.0
    return [
        _line(
            f"embedded/glyphs: best embedded one on {', '.join(GLYPHS)}",
            f"not on {', '.join(lost)}" if lost else "on each, at every count",
            not lost,
        ),
        _line(
            "embedded/glyphs: .94 on scikit-learn's digits with ten labels per class",
            _number(digits),
            digits >= 0.94,
        ),
    ]


def _sentences(
    rows: Sequence[Row], names: Sequence[str], scores: Accuracies, speeds: Mapping[str, float]
) -> list[list[str]]:
    english = [name for name in names if name != GERMAN]
    student, teacher = _find(rows, "embedded/sentences"), _find(rows, TEACHER)
    lines = []
    for count in LABELS:
        own = _mean(scores, student, english, [count]) or 0.0
        other = _mean(scores, teacher, english, [count]) or 1.0
        shown = f"{count} labels per class" if count else "all labels"
        lines.append(
            _line(
                f"embedded/sentences: 90 % of {TEACHER}, mean of the English sets, {shown}",
                f"{own:.3f} of {other:.3f}: {own / other:.1%}",
                own >= 0.9 * other,
            )
        )
    ratio = speeds["embedded/sentences"] / speeds[TEACHER]
    lines.append(
        _line(f"embedded/sentences: 3 times the speed of {TEACHER}", f"{ratio:.1f}", ratio >= 3.0)
    )
    return lines


def _best_everywhere(
    rows: Mapping[str, Sequence[Row]],
    sets: Mapping[str, Sequence[str]],
    scores: Mapping[str, Accuracies],
) -> list[list[str]]:
    lines = []
    for modality, listed in rows.items():
        embedded = [row for row in listed if row.kind == "embedded"]
        wins = dict.fromkeys((row.name for row in embedded), 0)
        for name in sets[modality]:
            best = max(embedded, key=lambda r: scores[modality].get(r, name, None) or 0.0)
            wins[best.name] += 1
        shown = ", ".join(f"{name.split('/')[1]} {count}" for name, count in wins.items())
        lines.append(
            _line(
                f"{modality}: no embedded backbone is best everywhere",
                f"sets won with all labels: {shown}",
                max(wins.values()) < len(sets[modality]),
            )
        )
    return lines
