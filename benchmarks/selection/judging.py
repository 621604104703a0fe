"""Judge runs of searchers: regret over time, time to the baseline, runs below the floor."""

import html
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rivals import AUTOTL, BASELINE
from world import score_at

from autotl.guard import upper_limit

TIMES = (60.0, 300.0, 900.0)  # seconds
AS_HIGH = 0.003  # of test accuracy, that count as equal
_LEAST_SECONDS = 1.0  # that reaching anything takes
_COLOURS = ("#0b5fa5", "#c8501e", "#3d8b37", "#8a4fa0", "#a07b00", "#4a4a4a", "#c2185b")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT = 720, 420, 60, 50, 200
Run = Mapping[str, Any]


def judge(runs: Sequence[Run]) -> dict[str, Any]:
    """Return every searcher's figures; sets count alike, and so do the seeds of a set.

    Args:
        runs: Records of `search.py`.
    """
    by_searcher: dict[str, list[Run]] = defaultdict(list)
    for r in runs:
        by_searcher[r["searcher"]].append(r)
    against = {(r["set"], r["seed"]): r for r in by_searcher.get(BASELINE, ())}
    return {name: _figures(own, against) for name, own in by_searcher.items()}


def _figures(runs: Sequence[Run], against: Mapping[tuple[str, int], Run]) -> dict[str, Any]:
    end = min(r["seconds"] for r in runs)
    times = [t for t in TIMES if t < end] + [end]
    found: dict[str, Any] = {
        "runs": len(runs), "sets": len({r["set"] for r in runs}),
        "regret": {f"{t:.0f}": _over_sets(runs, lambda r, t=t: regret(r, t)) for t in times},
    }  # fmt: skip
    pairs = [(r, against[r["set"], r["seed"]]) for r in runs if (r["set"], r["seed"]) in against]
    if pairs:
        own = [{**r, "share": reaching(r, b), "as_high": as_high(r, b)} for r, b in pairs]
        shares = _over_sets(own, lambda r: math.log(r["share"]))
        found["time_to_baseline"] = math.exp(shares)
        found["as_high"] = float(np.mean([r["as_high"] for r in own]))
    judged = [r for r in runs if r["floor_test"] is not None]
    if judged:
        below = sum(r["shipped"][-1][2] < r["floor_test"] for r in judged)
        found["below_floor"] = below / len(judged)
        found["below_floor_limit"] = upper_limit(below, len(judged))
    found["by_set"] = {
        name: {f"{t:.0f}": float(np.mean([regret(r, t) for r in own])) for t in times}
        for name, own in _grouped(runs).items()
    }
    return found


def regret(run: Run, seconds: float) -> float:
    """Return the points that what is shipped lies below the best of the table."""
    return 100 * (run["best"] - score_at(run["shipped"], seconds))


def reaching(run: Run, baseline: Run) -> float:
    """Return the share of the baseline's time after which a run ships what that ends with."""
    target = baseline["shipped"][-1][2]
    at = next((t for t, _, test in run["shipped"] if test >= target), run["seconds"])
    return float(min(max(at, _LEAST_SECONDS) / baseline["seconds"], 1.0))


def as_high(run: Run, baseline: Run) -> bool:
    """Say whether a run ends as high as the baseline, within 0.3 points."""
    return bool(run["shipped"][-1][2] >= baseline["shipped"][-1][2] - AS_HIGH)


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for r in runs:
        found[r["set"]].append(r)
    return dict(sorted(found.items()))


def _over_sets(runs: Sequence[Run], figure: Any) -> float:
    return float(np.mean([np.mean([figure(r) for r in own]) for own in _grouped(runs).values()]))


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as Markdown, the least regret at the end first."""
    times = list(next(iter(figures.values()))["regret"])
    heads = [f"regret at {t} s" for t in times]
    heads += [f"time to {BASELINE}", "ends as high", "below the floor", "runs"]
    lines = ["| search | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in sorted(figures, key=lambda n: figures[n]["regret"][times[-1]]):
        f = figures[name]
        cells = [f"{f['regret'][t]:.2f}" for t in times]
        cells.append(f"{f['time_to_baseline']:.3f}" if "time_to_baseline" in f else "-")
        cells.append(f"{100 * f['as_high']:.0f} %" if "as_high" in f else "-")
        limit = f" (at most {100 * f['below_floor_limit']:.1f} %)" if "below_floor" in f else ""
        cells.append(f"{100 * f['below_floor']:.1f} %{limit}" if "below_floor" in f else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {f['runs']} |")
    return "\n".join(lines)


def set_table(figures: Mapping[str, Mapping[str, Any]], at: str) -> str:
    """Return the regret of each set at a time as Markdown."""
    names = list(figures)
    sets = sorted({s for f in figures.values() for s in f["by_set"]})
    lines = [f"| regret at {at} s | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for s in sets:
        cells = [figures[n]["by_set"].get(s, {}).get(at) for n in names]
        shown = " | ".join("-" if c is None else f"{c:.2f}" for c in cells)
        lines.append(f"| {s} | {shown} |")
    return "\n".join(lines)


def mean_curve(runs: Sequence[Run], at: Sequence[float]) -> list[float]:
    """Return the mean test accuracy of what is shipped at some times."""
    return [_over_sets(runs, lambda r, t=t: score_at(r["shipped"], t)) for t in at]


def plot(runs: Sequence[Run]) -> str:
    """Draw mean test accuracy against seconds, logarithmic, as SVG."""
    end = min(r["seconds"] for r in runs)
    at = np.geomspace(2.0, end, 160)
    groups = {n: [r for r in runs if r["searcher"] == n] for n in {r["searcher"]: 0 for r in runs}}
    curves = {name: mean_curve(own, at) for name, own in groups.items()}
    best = _over_sets(runs, lambda r: r["best"])
    # Guesses before the floor would press everything together.
    low = min(v for c in curves.values() for t, v in zip(at, c, strict=True) if t >= end / 60)
    frame = Frame(at[0], end, low, best, "mean test accuracy of what is shipped")
    y = frame.y(best)
    line = (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#888" '
        f'stroke-dasharray="4 4"/><text x="{_WIDTH - _RIGHT + 6}" y="{y + 4:.1f}">best of the '
        "table</text>"
    )
    return frame.drawn(curves, at, thick=AUTOTL, more=line)


class Frame:
    """Axes of a plot: seconds, logarithmic, and a score.

    Args:
        first: Seconds on the left.
        end: Seconds on the right.
        low: Score at the bottom; what is lower is drawn there.
        high: Score at the top.
        title: What the score is.
    """

    def __init__(self, first: float, end: float, low: float, high: float, title: str) -> None:
        self.first, self.end, self.low, self.high, self.title = first, end, low, high, title

    def x(self, seconds: float) -> float:
        """Return where a time lies."""
        share = math.log(seconds / self.first) / math.log(self.end / self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return where a score lies."""
        share = (max(value, self.low) - self.low) / max(self.high - self.low, 1e-3)
        return 20 + (1 - share) * (_HEIGHT - _BOTTOM - 20)

    def drawn(
        self,
        curves: Mapping[str, Sequence[float]],
        at: Sequence[float] | np.ndarray,
        *,
        thick: str = "",
        more: str = "",
    ) -> str:
        """Return the plot as SVG.

        Args:
            curves: Scores by name.
            at: The seconds that they belong to.
            thick: Name of the curve that is drawn thicker.
            more: Further elements.
        """
        parts = [self._axes(), more]
        for i, (name, values) in enumerate(curves.items()):
            colour = _COLOURS[i % len(_COLOURS)]
            known = [(t, v) for t, v in zip(at, values, strict=True) if not math.isnan(v)]
            points = " ".join(f"{self.x(t):.1f},{self.y(v):.1f}" for t, v in known)
            width = 3 if name == thick else 1.6
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" '
                f'stroke-width="{width}"/><line x1="{_WIDTH - _RIGHT + 15}" '
                f'x2="{_WIDTH - _RIGHT + 40}" y1="{40 + 22 * i}" y2="{40 + 22 * i}" '
                f'stroke="{colour}" stroke-width="{width}"/>'
                f'<text x="{_WIDTH - _RIGHT + 46}" y="{44 + 22 * i}">{html.escape(name)}</text>'
            )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
        )

    def marks(self, values: Sequence[tuple[float, bool]]) -> str:
        """Return a mark at the right for each curve's score: a dot, or a ring for a rival's."""
        parts = []
        for i, (value, own) in enumerate(values):
            colour = _COLOURS[i // 2 % len(_COLOURS)]
            fill = colour if own else "#fff"
            parts.append(
                f'<circle cx="{_WIDTH - _RIGHT + (3 if own else 9)}" cy="{self.y(value):.1f}" '
                f'r="3.5" fill="{fill}" stroke="{colour}" stroke-width="1.6"/>'
            )
        return "".join(parts)

    def _axes(self) -> str:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = []
        ticks = (2, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)
        for seconds in (t for t in ticks if self.first <= t <= self.end):
            parts.append(
                f'<line x1="{self.x(seconds):.1f}" x2="{self.x(seconds):.1f}" y1="20" '
                f'y2="{bottom}" stroke="#ddd"/><text x="{self.x(seconds):.1f}" '
                f'y="{bottom + 18}" text-anchor="middle">{seconds}</text>'
            )
        for value in np.linspace(self.low, self.high, 6):
            parts.append(
                f'<text x="{_LEFT - 6}" y="{self.y(value) + 4:.1f}" text-anchor="end">'
                f"{value:.3f}</text>"
            )
        parts.append(
            f'<text x="{(_LEFT + right) / 2}" y="{bottom + 38}" text-anchor="middle">seconds'
            f'</text><text x="{_LEFT}" y="12">{html.escape(self.title)}</text>'
        )
        return "".join(parts)
