"""What a search came to: the leaderboard, the verdict and what to do next."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from autotl.cli.render import Column, print_facts, print_table
from autotl.result import wording

__all__ = ["show_result"]

_TOP_ROWS = 12
_STYLES = {"positive": "bold green", "negative": "bold red", "inconclusive": "bold yellow"}


def show_result(result: Mapping[str, Any], command: str = "") -> None:
    """Print the leaderboard, the verdict and the next steps.

    Args:
        result: Content of a `result.json`.
        command: What would have kept the run, shown where it was not kept.
    """
    metric = str(result.get("metric", ""))
    _leaderboard(result, metric)
    click.echo()
    floor, out = result.get("floor") or {}, result.get("out")
    verdict = wording.headline(result)
    facts = [("Verdict", verdict), ("", wording.gap_sentence(result))]
    if not result.get("gap") and result.get("verdict_text"):
        facts[1] = ("", str(result["verdict_text"]))
    facts.append(("Shipped", wording.shipped_sentence(result)))
    if not (result.get("best") or {}).get("permissive") and wording.shipped_terms(result):
        facts.append(("Terms", wording.shipped_terms(result)))
    floor_score = wording.score_text(floor.get("holdout"), metric)
    holdout = wording.score_text(result.get("holdout"), metric)
    words = metric.replace("_", " ")
    if wording.is_guess(result):
        words = f"{words} on the source"
    facts.append(("Holdout", f"{holdout} {words} (floor: {floor_score})"))
    if wording.beside_sentence(result):
        facts.append(("Beside", wording.beside_sentence(result)))
    if wording.looks_sentence(result):
        facts.append(("", wording.looks_sentence(result)))
    if out:
        facts.append(("Report", str(Path(out) / "report.html")))
        facts.append(("Next", f"autotl predict {shlex.quote(os.fspath(out))} NEW_DATA"))
    elif command:
        facts.append(("Next", f"keep the model: {command}"))
    print_facts(facts, {"Verdict": _STYLES.get(str(result.get("verdict")), "bold")})


def _leaderboard(result: Mapping[str, Any], metric: str) -> None:
    rows: Sequence[Mapping[str, Any]] = result.get("leaderboard") or []
    ranked = [r for r in rows if r.get("state") == "complete"]
    top = ranked[:_TOP_ROWS]
    floor = result.get("floor") or {}
    score = floor.get("validation")
    entries: list[Mapping[str, Any] | None] = list(top)
    if score is not None:
        place = sum(1 for r in top if (r.get("validation") or float("-inf")) >= score)
        entries.insert(place, None)
    floor_row = {"backbone": "the floor", "validation": score}
    shown = [floor_row if e is None else e for e in entries]
    print_table(
        [
            Column(header="#", cells=[str(r.get("rank") or "") for r in shown], right=True),
            Column(header="backbone", cells=[str(r["backbone"]) for r in shown]),
            Column(header="adaptation", cells=[str(r.get("adaptation", "")) for r in shown]),
            Column(header="frozen", cells=[_frozen(r) for r in shown], right=True, rank=2),
            Column(
                header="validation",
                cells=[wording.validation_text(result, r["validation"]) for r in shown],
                right=True,
            ),
            Column(header="vs floor", cells=[_gap(r, metric) for r in shown], right=True),
            Column(header="95 % interval", cells=[_interval(r, metric) for r in shown], rank=1),
            Column(header="time", cells=[_time(r) for r in shown], right=True, rank=3),
            Column(header="license", cells=[str(r.get("license", "")) for r in shown], rank=4),
            Column(
                header="permissive",
                cells=[wording.yes_or_no(r.get("permissive")) for r in shown],
                rank=5,
            ),
            Column(header="terms", cells=[str(r.get("source_terms", "")) for r in shown], rank=6),
        ],
        title=f"Leaderboard, by {_measure(result, metric)}",
        emphasis={i: "cyan" for i, e in enumerate(entries) if e is None},
    )
    _rest(rows, ranked)
    if wording.left_out_sentence(result):
        click.echo(wording.left_out_sentence(result))


def _rest(rows: Sequence[Mapping[str, Any]], ranked: Sequence[Mapping[str, Any]]) -> None:
    parts = []
    if len(ranked) > _TOP_ROWS:
        parts.append(f"{len(ranked) - _TOP_ROWS} more finished")
    for state, words in (("pruned", "stopped early"), ("failed", "failed")):
        n = sum(1 for r in rows if r.get("state") == state)
        if n:
            parts.append(f"{n} {words}")
    if parts:
        click.echo(f"Not shown: {', '.join(parts)}; the report lists every trial.")


def _frozen(row: Mapping[str, Any]) -> str:
    fraction = row.get("freeze_fraction")
    return "" if fraction is None else f"{100 * fraction:.0f} %"


def _gap(row: Mapping[str, Any], metric: str) -> str:
    return wording.gap_text(row["gap"], metric) if row.get("gap") is not None else ""


def _interval(row: Mapping[str, Any], metric: str) -> str:
    return wording.interval_text(row.get("gap_low"), row.get("gap_high"), metric)


def _time(row: Mapping[str, Any]) -> str:
    return wording.clock(row["seconds"]) if row.get("seconds") is not None else ""


def _measure(result: Mapping[str, Any], metric: str) -> str:
    if wording.is_unsupervised(result):
        return "the mean of validators that see no label"
    return f"validation {metric.replace('_', ' ')}"
