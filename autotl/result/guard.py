"""The report's part on the guard: what it stopped, what it may have got wrong, what it can see."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from autotl.result import wording
from autotl.result.page import Cell, prose, table, text

__all__ = ["guard_section"]

_SHOWN_REASONS = 10
_NUMBER = re.compile(r"\d[\d.,]*(?<![.,])")


def guard_section(result: Mapping[str, Any]) -> str:
    """Return how reliable the guard was, which trials it flagged, and why trials were stopped."""
    guard = result.get("guard")
    parts = []
    if isinstance(guard, Mapping) and guard.get("kind") != "none":
        parts.append(f"<p>{prose(_kind(guard))} {prose(_power(guard, result))}</p>")
        parts.append(f"<p>{prose(_errors(guard))}</p>")
        parts.append(_flags(guard, result))
    reasons = _stop_reasons(result.get("leaderboard") or [])
    if reasons:
        parts.append(f"<h3>Why trials were stopped</h3>{_reasons_table(reasons)}")
    return "".join(parts)


def _kind(guard: Mapping[str, Any]) -> str:
    alpha = 100 * float(guard.get("alpha") or 0.05)
    if guard.get("kind") == "certificate":
        return (
            "A trial is stopped as negative transfer when its evidence against the floor, on "
            "examples kept for nothing else, is stronger than what chance gives in "
            f"{alpha:g} % of trials that are as good as the floor."
        )
    return (
        "The guard is advisory here: it looks at the examples that candidates are chosen on too, "
        f"so that its error rate of {alpha:g} % a trial is aimed at rather than guaranteed."
    )


def _power(guard: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    n, gap = guard.get("n_examples"), guard.get("detectable_gap")
    if not n or gap is None:
        return ""
    size = wording.gap_text(gap, str(result.get("metric", ""))).lstrip("+")
    unit = " points" if wording.is_share(str(result.get("metric", ""))) else ""
    examples = wording.count(int(n), "guard example")
    return f"With {examples}, only gaps of about {size}{unit} could have been detected."


def _errors(guard: Mapping[str, Any]) -> str:
    stopped = int(guard.get("n_stopped") or 0)
    audited, false = int(guard.get("n_audited") or 0), int(guard.get("false_prunes") or 0)
    first = f"It stopped {wording.count(stopped, 'trial')}."
    if not audited:
        return f"{first} No trial was left to run on for an audit."
    limit, doubted = guard.get("false_prune_limit"), guard.get("n_doubted")
    would = "" if doubted is None else f" Of them it would have stopped {int(doubted)}."
    bound = "" if limit is None else f", at most {100 * float(limit):.0f} % with 95 % confidence"
    ran = "ran on whatever it said" if audited > 1 else "was left to run on whatever it said"
    return (
        f"{first} To check it, {wording.count(audited, 'trial')} chosen at random {ran}.{would} "
        "The share that would have been stopped and reached the floor after all, the false-prune "
        f"rate, is {100 * false / audited:.0f} %{bound}."
    )


def _flags(guard: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    flags = [int(trial) for trial in guard.get("flags") or ()]
    if not flags:
        return "<p>No trial is flagged as negative transfer.</p>"
    rows = {row.get("trial"): row for row in result.get("leaderboard") or ()}
    names = [
        f"trial {trial} ({wording.recipe(rows[trial])})" if trial in rows else f"trial {trial}"
        for trial in flags[:_SHOWN_REASONS]
    ]
    rest = f" and {len(flags) - len(names)} more" if len(flags) > len(names) else ""
    alpha = 100 * float(guard.get("alpha") or 0.05)
    return (
        f"<p>Flagged as negative transfer, {alpha:g}&nbsp;% of such flags being false at most: "
        f"<bdi>{text(', '.join(names))}</bdi>{rest}.</p>"
    )


def _stop_reasons(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Count the reasons of trials that were not run to the end, alike but for their numbers."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in rows:
        if row.get("state") not in ("pruned", "failed") or not row.get("reason"):
            continue
        reason = str(row["reason"])
        kind = _NUMBER.sub("…", reason)
        counts[kind] += 1
        first.setdefault(kind, reason)
    return [
        (first[k] if n == 1 or k == first[k] else f"such as: {first[k]}", n)
        for k, n in counts.most_common()
    ]


def _reasons_table(reasons: Sequence[tuple[str, int]]) -> str:
    rows = [[Cell.of(reason, "w"), Cell.number(f"{n:,}")] for reason, n in reasons]
    shown = table(
        [("Reason", ""), ("Trials", "n")],
        rows[:_SHOWN_REASONS],
        label="Why trials were stopped",
        snug=True,
    )
    hidden = len(rows) - _SHOWN_REASONS
    if hidden <= 0:
        return shown
    rest = wording.count(hidden, "rarer reason")
    return f'{shown}<p class="note">{rest} not listed; the leaderboard has all.</p>'
