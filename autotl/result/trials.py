"""The report's part on trials: plots of the search, and the leaderboard with every loser."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.result import wording
from autotl.result.page import Cell, more, table, tag, text
from autotl.result.plots import dot_rows, history

__all__ = ["leaderboard_section", "search_section"]

_SHOWN_TRIALS = 25
_SHOWN_BACKBONES = 20
_LATENCY = 8  # its place among the columns of the leaderboard


def _complete(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = result.get("leaderboard") or []
    return [r for r in rows if r.get("state") == "complete" and r.get("validation") is not None]


def search_section(result: Mapping[str, Any]) -> str:
    """Return how many trials ended how, and plots of what they reached."""
    metric, complete = str(result.get("metric", "")), _complete(result)
    floor = (result.get("floor") or {}).get("validation")
    counts = result.get("n_trials") or {}
    words = {"complete": "finished", "pruned": "stopped early", "failed": "failed"}
    numbers = ", ".join(f"{n} {words.get(s, s)}" for s, n in counts.items() if n) or "none"
    parts = [f"<p>Trials: {text(numbers)}. {text(_stop_sentence(result))}</p>"]
    if not complete:
        return "".join(parts)
    by_backbone: dict[str, list[float]] = {}
    for row in complete:
        by_backbone.setdefault(str(row["backbone"]), []).append(float(row["validation"]))
    rows = sorted(by_backbone.items(), key=lambda item: -max(item[1]))
    key = (
        ""
        if floor is None
        else (
            f'<p class="note"><span class="key"></span>the floor, '
            f"{text(wording.score_text(floor, metric))}</p>"
        )
    )
    name = text(metric.replace("_", " "))
    parts.append(f"<h3>Validation {name} by backbone</h3>{key}")
    parts.append(dot_rows(rows[:_SHOWN_BACKBONES], floor, metric))
    if len(rows) > _SHOWN_BACKBONES:
        rest = wording.count(len(rows) - _SHOWN_BACKBONES, "weaker backbone")
        parts.append(f'<p class="note">{rest} not drawn; the leaderboard has all.</p>')
    if len(complete) > 1:
        parts.append(f"<h3>Best validation {name} so far</h3>")
        stopped = [r for r in result.get("leaderboard") or () if _stopped(r)]
        parts.append(
            '<p class="note">Each dot is a trial; red ones are below the floor, pale ones were '
            "stopped early. The dashed line is the floor.</p>"
        )
        points, label = _points([*complete, *stopped])
        parts.append(history(points, floor, metric, label))
    return "".join(parts)


def _stopped(row: Mapping[str, Any]) -> bool:
    return row.get("state") == "pruned" and row.get("validation") is not None


def _points(rows: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[float, float, bool]], str]:
    """Return (seconds, or number of the trial, validation, whether complete) in order of time."""
    timed = all(r.get("finished_at") for r in rows)
    key = "finished_at" if timed else "trial"
    points = [(float(r.get(key) or 0), float(r["validation"]), not _stopped(r)) for r in rows]
    return sorted(points), "seconds since the start" if timed else "trial"


def _stop_sentence(result: Mapping[str, Any]) -> str:
    early = result.get("stop_reason") or "nothing beat the floor"
    return {
        "budget": "The search ended because its budget was used.",
        "trials": "The search ended because its number of trials was reached.",
        "space": "The search ended because nothing left promised a gain in the time.",
        "floor": f"The search ended early: {early}.",
        "interrupt": "The search was interrupted.",
    }.get(str(result.get("stopped_by")), "")


def leaderboard_section(result: Mapping[str, Any]) -> str:
    """Return every trial as a row, the floor at its place, and the licences."""
    rows, metric = result.get("leaderboard") or [], str(result.get("metric", ""))
    if not rows:
        return ""
    best = result.get("best") or {}
    shipped = best.get("trial") if result.get("shipped") == "transfer" else None
    cells = [_trial_cells(row, result, row.get("trial") == shipped) for row in rows]
    kinds = ["shipped" if row.get("trial") == shipped else "" for row in rows]
    floor = result.get("floor") or {}
    if floor.get("validation") is not None:
        place = sum(1 for r in _complete(result) if r["validation"] >= floor["validation"])
        cells.insert(place, _floor_cells(floor, metric))
        kinds.insert(place, "floor")
    names = (
        "# Backbone Adaptation Validation vs_floor 95_%_interval Frozen Time ms Note Parameters"
    )
    if all(row.get("latency_ms") is None for row in rows):
        names = names.replace(" ms ", " ")
        cells = [[*line[:_LATENCY], *line[_LATENCY + 1 :]] for line in cells]
    words = {"Backbone", "Adaptation", "Note", "Parameters"}
    headers = [(n.replace("_", " "), "" if n in words else "n") for n in names.split()]

    def part(rows: slice, label: str) -> str:
        return table(headers, cells[rows], label=label, kinds=kinds[rows], lead=1)

    shown = part(slice(0, _SHOWN_TRIALS), "Leaderboard")
    hidden = len(cells) - _SHOWN_TRIALS
    if hidden > 0:
        rest = part(slice(_SHOWN_TRIALS, None), "Rest of the leaderboard")
        shown += more(f"Show the other {wording.count(hidden, 'row')}", rest)
    return (
        "<p>Every trial, the best on validation first. Intervals are those of the difference to "
        "the floor on the same validation samples; they are not corrected for the number of "
        f"trials. {_about_latency(rows)}{text(wording.left_out_sentence(result))}</p>"
        f"{shown}{_licences(rows)}"
    )


def _about_latency(rows: Sequence[Mapping[str, Any]]) -> str:
    if all(row.get("latency_ms") is None for row in rows):
        return ""
    return "ms: median time of the backbone for one sample on the machine of the search. "


def _licences(rows: Sequence[Mapping[str, Any]]) -> str:
    facts = {str(r.get("backbone")): r for r in rows}
    cells = [
        [
            Cell.of(name),
            Cell.of(row.get("license") or "unknown"),
            Cell.of(row.get("source_terms") or "", "w"),
            Cell.of(wording.yes_or_no(row.get("permissive"))),
        ]
        for name, row in facts.items()
    ]
    names = ("Backbone", "Licence of the weights", "Terms of the source data", "Permissive")
    body = table([(name, "") for name in names], cells, label="Licences")
    return (
        "<h3>Licences</h3><p>Permissive: both are stated to allow commercial use; what is unknown "
        f"counts as not.</p>{body}"
    )


def _trial_cells(row: Mapping[str, Any], result: Mapping[str, Any], shipped: bool) -> list[Cell]:
    metric = str(result.get("metric", ""))
    state, reason = str(row.get("state", "")), str(row.get("reason") or "")
    tags = [tag("shipped", "good")] if shipped else []
    if state != "complete":
        tags.append(tag("stopped early" if state == "pruned" else state, "plain"))
    elif row.get("below_floor"):
        tags.append(tag("below floor", "bad"))
    if row.get("permissive") is False:
        tags.append(tag("not permissive", "plain"))
    params = ", ".join(f"{k} {_short(v)}" for k, v in (row.get("params") or {}).items())
    interval = wording.interval_text(row.get("gap_low"), row.get("gap_high"), metric)
    return [
        Cell.number(str(row.get("rank") or "")),
        Cell.of(row.get("backbone")),
        Cell.of(row.get("adaptation")),
        Cell.number(wording.validation_text(result, row.get("validation"))),
        Cell.number(wording.gap_text(row.get("gap"), metric)),
        Cell.number(interval),
        Cell.number(_frozen(row)),
        Cell.number(wording.clock(row.get("seconds"))),
        Cell.number(_milliseconds(row.get("latency_ms"))),
        Cell(f"{' '.join(tags)} <bdi>{text(reason)}</bdi>", "w"),
        Cell.of(params, "w"),
    ]


def _floor_cells(floor: Mapping[str, Any], metric: str) -> list[Cell]:
    cells = [Cell("") for _ in range(11)]
    cells[1] = Cell.of(f"floor: {floor.get('name', '')}")
    cells[3] = Cell.number(wording.score_text(floor["validation"], metric))
    cells[9] = Cell("no transfer")
    return cells


def _frozen(row: Mapping[str, Any]) -> str:
    fraction = row.get("freeze_fraction")
    return "" if fraction is None else f"{100 * fraction:.0f} %"


def _milliseconds(value: Any) -> str:
    return "" if value is None else f"{float(value):.3g}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
