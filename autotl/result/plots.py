"""Small SVG plots without a script or a library.

Horizontal positions are percentages and there is no viewBox, so that a plot is as wide as its
place while its text keeps its size, on a phone as on a desk. Colours come from the page's classes.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from autotl.result import wording

__all__ = ["Scale", "confusion_map", "dot_rows", "history", "interval_bar", "scatter"]


class Scale:
    """Maps values to percentages of the width, and knows round values for ticks.

    Args:
        low: Smallest value to show.
        high: Greatest value to show.
        margin: Percentages left free at either side.
    """

    def __init__(self, low: float, high: float, margin: float = 4.0) -> None:
        span = high - low
        if not span > 0:  # one value only: give it room
            span = abs(high) or 1.0
            low, high = low - span / 2, high + span / 2
        self.low, self.high, self.margin = low, high, margin

    def __call__(self, value: float) -> float:
        """Return the position of a value in percent, kept inside the plot."""
        share = (value - self.low) / (self.high - self.low)
        share = min(max(share, 0.0), 1.0)
        return round(self.margin + share * (100 - 2 * self.margin), 3)

    def ticks(self, n: int = 5) -> list[float]:
        """Return about `n` round values inside the range."""
        raw = (self.high - self.low) / n
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * min((1, 2, 5, 10), key=lambda m: abs(m * power - raw))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def interval_bar(gap: Mapping[str, Any], metric: str) -> str:
    """Draw a gap with its interval against zero."""
    value, low, high = (float(gap[k]) for k in ("value", "low", "high"))
    reach = max(abs(low), abs(high), 1e-9) * 1.15
    scale = Scale(-reach, reach)
    side = "good" if low > 0 else "bad" if high < 0 else "open"
    ticks = "".join(
        f'<line x1="{scale(t)}%" x2="{scale(t)}%" y1="44" y2="49" class="axis"/>'
        f'<text x="{scale(t)}%" y="63" class="tick">'
        f"{wording.gap_text(t, metric).replace('-', '&minus;')}</text>"
        for t in scale.ticks(4)
    )
    label = (
        f"Gap to the floor {wording.gap_text(value, metric)}, interval "
        f"{wording.interval_text(low, high, metric)}"
    )
    return (
        f'<svg class="plot" height="70" role="img" aria-label="{html.escape(label)}">'
        f'<text x="1%" y="12" class="side">floor is better</text>'
        f'<text x="99%" y="12" class="side end">transfer is better</text>'
        f'<line x1="2%" x2="98%" y1="44" y2="44" class="axis"/>{ticks}'
        f'<line x1="{scale(0)}%" x2="{scale(0)}%" y1="18" y2="50" class="zero"/>'
        f'<line x1="{scale(low)}%" x2="{scale(high)}%" y1="31" y2="31" class="band {side}"/>'
        f'<circle cx="{scale(value)}%" cy="31" r="7" class="mark {side}"/></svg>'
    )


def dot_rows(rows: Sequence[tuple[str, Sequence[float]]], floor: float | None, metric: str) -> str:
    """Draw one line of dots for each name, the greatest filled, with the floor as a line.

    Args:
        rows: (name, values) with at least one value each.
        floor: The floor's value.
        metric: Decides how values are written.
    """
    values = [v for _, dots in rows for v in dots] + ([floor] if floor is not None else [])
    scale = Scale(min(values), max(values))
    at = "" if floor is None else f'x1="{scale(floor)}%" x2="{scale(floor)}%"'
    parts = ['<div class="dots">']
    for name, dots in rows:
        best = max(dots)
        side = "good" if floor is None or best >= floor else "bad"
        line = f'<line {at} y1="0" y2="26" class="floor"/>' if at else ""
        small = "".join(
            f'<circle cx="{scale(v)}%" cy="13" r="3.5" class="faint {side}"/>'
            for v in sorted(dots)[:-1]
        )
        score = wording.score_text(best, metric)
        parts.append(
            f'<div class="name"><bdi>{html.escape(name)}</bdi></div>'
            f'<svg class="plot" height="26" role="img" aria-label="best {score} of '
            f'{wording.count(len(dots), "trial")}">'
            f'<line x1="0" x2="100%" y1="13" y2="13" class="grid"/>{line}{small}'
            f'<circle cx="{scale(best)}%" cy="13" r="6" class="mark {side}"/></svg>'
            f'<div class="value">{score}</div>'
        )
    ticks = "".join(
        f'<text x="{scale(t)}%" y="14" class="tick">{wording.score_text(t, metric)}</text>'
        for t in scale.ticks(4)
    )
    parts.append(f'<div></div><svg class="plot" height="18" aria-hidden="true">{ticks}</svg>')
    return "".join([*parts, "<div></div></div>"])


def history(
    points: Sequence[tuple[float, float, bool]], floor: float | None, metric: str, x_label: str
) -> str:
    """Draw trials as dots and the best complete one so far as a line.

    Args:
        points: (seconds or number of trial, validation, whether complete) in order of time; one
            at least is complete.
        floor: The floor's value.
        metric: Decides how values are written.
        x_label: What the horizontal axis counts.
    """
    height, top = 200.0, 10.0
    values = [v for _, v, _ in points] + ([floor] if floor is not None else [])
    across = Scale(0.0, points[-1][0], margin=0.0)
    up = Scale(min(values), max(values), margin=5.0)

    def x(value: float) -> float:
        return round(11 + 0.87 * across(value), 3)

    def y(value: float) -> float:
        return round(top + height * (1 - up(value) / 100), 1)

    best = next((time, value) for time, value, complete in points if complete)
    line, dots = [], []
    for time, value, complete in points:
        side = "bad" if floor is not None and value < floor else "good"
        size, kind = (4, "mark") if complete else (3, "faint")
        dots.append(f'<circle cx="{x(time)}%" cy="{y(value)}" r="{size}" class="{kind} {side}"/>')
        if complete and value > best[1]:
            line.append(_segment(x(best[0]), x(time), y(best[1]), y(best[1])))
            line.append(_segment(x(time), x(time), y(best[1]), y(value)))
            best = (time, value)
    line.append(_segment(x(best[0]), x(points[-1][0]), y(best[1]), y(best[1])))
    axes = "".join(
        f'<line x1="11%" x2="98%" y1="{y(t)}" y2="{y(t)}" class="grid"/>'
        f'<text x="10%" y="{y(t) + 4}" class="tick end">{wording.score_text(t, metric)}</text>'
        for t in up.ticks(4)
    ) + "".join(
        f'<text x="{x(t)}%" y="{top + height + 22}" class="tick">{t:g}</text>'
        for t in across.ticks(5)
    )
    level = (
        ""
        if floor is None
        else (f'<line x1="11%" x2="98%" y1="{y(floor)}" y2="{y(floor)}" class="floor"/>')
    )
    label = f"Best validation after each trial, up to {wording.score_text(best[1], metric)}"
    return (
        f'<svg class="plot" height="{height + 50:g}" role="img" aria-label="{html.escape(label)}">'
        f"{axes}{level}{''.join(dots)}{''.join(line)}"
        f'<text x="55%" y="{top + height + 38}" class="tick">{html.escape(x_label)}</text></svg>'
    )


def scatter(
    points: Sequence[tuple[int, str, float, float, float]], x_label: str, metric: str
) -> str:
    """Draw numbered points with a spread upwards and downwards.

    Args:
        points: (number, name, x, y, spread of y) each.
        x_label: What the horizontal axis shows, and which side is which.
        metric: Decides how y is written.
    """
    height, top = 260.0, 10.0
    across = Scale(min(p[2] for p in points), max(p[2] for p in points), margin=6.0)
    up = Scale(min(p[3] - p[4] for p in points), max(p[3] + p[4] for p in points), margin=4.0)

    def x(value: float) -> float:
        return round(11 + 0.87 * across(value), 3)

    def y(value: float) -> float:
        return round(top + height * (1 - up(value) / 100), 1)

    axes = "".join(
        f'<line x1="11%" x2="98%" y1="{y(t)}" y2="{y(t)}" class="grid"/>'
        f'<text x="10%" y="{y(t) + 4}" class="tick end">{wording.score_text(t, metric)}</text>'
        for t in up.ticks(4)
    ) + "".join(
        f'<text x="{x(t)}%" y="{top + height + 20}" class="tick">{t:g}</text>'
        for t in across.ticks(5)
    )
    marks = []
    for place, name, at, value, spread in points:
        words = f"{place}. {name}: {wording.score_text(value, metric)}"
        marks.append(
            f'<line x1="{x(at)}%" x2="{x(at)}%" y1="{y(value - spread)}" '
            f'y2="{y(value + spread)}" class="axis"/>'
            f'<circle cx="{x(at)}%" cy="{y(value)}" r="5" class="mark good">'
            f"<title>{html.escape(words)}</title></circle>"
            f'<text x="{x(at)}%" y="{y(value) - 8}" dx="10" class="tick">{place}</text>'
        )
    label = f"Expected accuracy of {wording.count(len(points), 'backbone')} against similarity"
    return (
        f'<svg class="plot" height="{height + 50:g}" role="img" aria-label="{html.escape(label)}">'
        f'{axes}{"".join(marks)}<text x="55%" y="{top + height + 38}" class="tick">'
        f"{html.escape(x_label)}</text></svg>"
    )


def _segment(x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line x1="{x1}%" x2="{x2}%" y1="{y1}" y2="{y2}" class="best"/>'


def confusion_map(table: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix too large for numbers: rows are true, columns predicted."""
    n = len(table)
    cells = []
    for i, row in enumerate(table):
        total = sum(row) or 1
        cells += [
            f'<rect x="{j}" y="{i}" width="1" height="1" '
            f'class="{"hit" if i == j else "miss"}" opacity="{max(v / total, 0.3):.2f}"/>'
            for j, v in enumerate(row)
            if v
        ]
    label = f"Confusion matrix of {n} classes; the table below lists the most confused pairs"
    return (
        f'<svg class="map" viewBox="0 0 {n} {n}" role="img" aria-label="{label}">'
        f'<rect width="{n}" height="{n}" class="paper"/>{"".join(cells)}</svg>'
    )
