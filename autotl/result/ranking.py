"""The part of a report that shows what was expected of each backbone, and why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autotl.result import wording
from autotl.result.page import Cell, more, table, text
from autotl.result.plots import scatter

__all__ = ["backbones_section", "ranking_body"]

_AXES = (
    ("batch_norm_kl", "divergence from the source in the batch norms, log10 (left is closer)"),
    ("frechet", "Fréchet distance from the source's features, log10 (left is closer)"),
)
_LEAST_POINTS = 3

Line = Mapping[str, Any]


def backbones_section(result: Mapping[str, Any]) -> str:
    """Return the section of a search's report, "" where nothing was ranked."""
    lines: Sequence[Line] = (result.get("ranking") or {}).get("backbones") or ()
    return _content(lines) if lines else ""


def ranking_body(ranking: Mapping[str, Any]) -> str:
    """Return the body of a page about a ranking alone."""
    task, lines = ranking["task"], ranking["backbones"]
    samples = wording.count(int(task["n_samples"]), "sample")
    classes = wording.count(int(task["n_classes"]), "class", "classes")
    facts = f"{samples} ({task['modality']}) · {classes} · seed {ranking['seed']}"
    head = f"<header><p>autotl ranking · {text(facts)}</p></header>"
    body = _content(lines) if lines else "<p>No backbone could be looked at.</p>"
    skipped = [[Cell.of(b["name"]), Cell.of(b["reason"], "w")] for b in ranking["skipped"]]
    if skipped:
        headers = [("Backbone", ""), ("Why it was not looked at", "")]
        shown = table(headers, skipped, label="Skipped backbones", snug=True)
        body += more(f"{wording.count(len(skipped), 'backbone')} left out", shown)
    title = "<h1>Which backbones are close to the data?</h1>"
    return f"{head}<main><section>{title}{body}</section></main>"


def _content(lines: Sequence[Line]) -> str:
    intro = (
        "<p>What scores, similarity and known facts let expect of each backbone after transfer, "
        "before any was trained. The spread is one standard deviation. A search decides on "
        "validation, not on this.</p>"
    )
    return intro + _plot(lines) + _table(lines) + more("Scores and similarity", _values(lines))


def _plot(lines: Sequence[Line]) -> str:
    for name, label in _AXES:
        points = [
            (b["rank"], b["name"], math.log10(b["similarity"][name]), b["expected"], b["spread"])
            for b in lines
            if b["similarity"].get(name, 0) > 0
        ]
        if len(points) >= _LEAST_POINTS:
            left_out = len(lines) - len(points)
            words = "Numbers are ranks. Each backbone measures on a scale of its own, so that "
            words += "distances compare for one backbone between data sets rather than here."
            if left_out:
                words += f" {wording.count(left_out, 'backbone')} without this measure not drawn."
            return scatter(points, label, "accuracy") + f'<p class="note">{text(words)}</p>'
    return ""


def _table(lines: Sequence[Line]) -> str:
    rows = [
        [
            Cell.number(str(b["rank"])),
            Cell.of(b["name"]),
            Cell.number(wording.score_text(b["expected"], "accuracy")),
            Cell.number(f"{100 * b['spread']:.1f}"),
            Cell.number(wording.score_text(b["static"], "accuracy")),
            Cell.number(f"{b['seconds_per_1000']:.1f}"),
            Cell.number(str(b["n_samples"])),
            Cell.of(b["license"]),
            Cell.of(b["why"], "w"),
        ]
        for b in lines
    ]
    headers = [
        ("#", "n"), ("Backbone", ""), ("Expected", "n"), ("± points", "n"),
        ("Facts alone", "n"), ("s / 1,000", "n"), ("Seen", "n"), ("License", ""), ("Why", "w"),
    ]  # fmt: skip
    return table(headers, rows, label="Backbones", lead=1)


def _values(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(name for b in lines for name in (*b["scores"], *b["similarity"])))
    rows = [
        [Cell.of(b["name"])]
        + [Cell.number(_value({**b["scores"], **b["similarity"]}.get(name))) for name in names]
        for b in lines
    ]
    headers = [("Backbone", ""), *((name, "n") for name in names)]
    return table(headers, rows, label="Scores and similarity")


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
