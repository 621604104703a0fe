"""The report: one self-contained HTML page made from the content of `result.json`."""

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autotl.errors import InvalidDataError, ModelFormatError
from autotl.result import wording
from autotl.result.classes import classes_section
from autotl.result.domains import domains_section
from autotl.result.finals import finals_section
from autotl.result.guard import guard_section
from autotl.result.mistakes import mistakes_section
from autotl.result.page import Cell, document, listing, more, prose, table, tag, text
from autotl.result.plots import interval_bar
from autotl.result.ranking import backbones_section, ranking_body
from autotl.result.trials import leaderboard_section, search_section

__all__ = ["read_result", "write_ranking", "write_report"]

SCHEMA = 1
_SIDES = {"positive": "good", "negative": "bad"}
_SHOWN_SKIPS = 10

Result = Mapping[str, Any]


def read_result(run: str | Path) -> dict[str, Any]:
    """Read the `result.json` of a run folder.

    Raises:
        InvalidDataError: There is no such folder.
        ModelFormatError: It holds no result that this version can read.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InvalidDataError(
            f"There is no run folder {str(folder)!r}. Give the --out of an `autotl search`."
        )
    path = folder / "result.json"
    if not path.is_file():
        raise ModelFormatError(
            f"{str(folder)!r} has no result.json: it is no run folder, or its search did not "
            "finish. Give the --out of a finished `autotl search`."
        )
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFormatError(
            f"{str(path)!r} is damaged ({error}). Restore it, or search again."
        ) from error
    schema = result.get("schema") if isinstance(result, dict) else None
    if schema != SCHEMA:
        raise ModelFormatError(
            f"{str(path)!r} has schema {schema!r}; this version reads {SCHEMA}. "
            "Use the version of autotl that wrote it."
        )
    checked: dict[str, Any] = result
    return checked


def write_report(result: Result, path: str | Path) -> None:
    """Write the report of a result to a file, replacing it at once or not at all.

    Args:
        result: Content of a `result.json`.
        path: The HTML file; missing folders are made.
    """
    _write(render(result), Path(path))


def write_ranking(ranking: Result, path: str | Path) -> None:
    """Write a ranking as a page, replacing the file at once or not at all.

    Args:
        ranking: What `Ranking.to_dict` returned.
        path: The HTML file; missing folders are made.
    """
    _write(document("autotl: which backbones are close", ranking_body(ranking)), Path(path))


def _write(page: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        partial.chmod(0o644)
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def render(result: Result) -> str:
    """Return the page."""
    sections: list[tuple[str, str, Callable[[Result], str]]] = [
        ("model", "The model", _model_section),
        ("floor", "The floor", _floor_section),
        ("backbones", "Backbones", backbones_section),
        ("search", "The search", search_section),
        ("guard", "The guard", guard_section),
        ("finalists", "Finalists", finals_section),
        ("domains", "Other data", domains_section),
        ("leaderboard", "Leaderboard", leaderboard_section),
        ("classes", "Classes", classes_section),
        ("mistakes", "Most confident mistakes", mistakes_section),
        ("left-out", "Left out", _left_out_section),
        ("reproduce", "To reproduce", _reproduce_section),
    ]
    links, bodies = [], []
    for anchor, title, section in sections:
        content = _guarded(section, result)
        if content:
            links.append(f'<a href="#{anchor}">{text(title)}</a>')
            bodies.append(f'<section id="{anchor}"><h2>{text(title)}</h2>{content}</section>')
    header = f"<header>{_guarded(_summary, result)}</header>"
    nav = f'<nav aria-label="Sections">{"".join(links)}</nav>'
    body = f"{header}<main>{_guarded(_verdict, result)}{nav}{''.join(bodies)}</main>"
    return document(f"autotl: {wording.headline(result)}", body)


def _guarded(section: Callable[[Result], str], result: Result) -> str:
    try:
        return section(result)
    except Exception as error:  # noqa: BLE001  # a report must not cost a run its result
        return f"<p>This part could not be drawn: {text(repr(error))}</p>"


def _metric(result: Result) -> str:
    return str(result.get("metric", ""))


def _summary(result: Result) -> str:
    task = result.get("task") or {}
    classes = len(task.get("classes") or ())
    samples = wording.count(int(task.get("n_samples") or 0), "sample")
    parts = [
        "autotl report",
        f"{samples} ({task.get('modality', '?')})",
        wording.count(classes, "class", "classes"),
    ]
    if task.get("labels_per_class"):
        parts.append(f"{task['labels_per_class']} labels a class to learn from")
    return f"<p>{' · '.join(map(text, parts))}</p>"


def _verdict(result: Result) -> str:
    metric, gap = _metric(result), result.get("gap")
    side = _SIDES.get(str(result.get("verdict")), "open") if gap else "open"
    floor = result.get("floor") or {}
    words = metric.replace("_", " ")
    if wording.is_guess(result):
        words = f"{words}, on the source,"
    facts = [
        (f"Holdout {words} of the model", wording.score_text(result.get("holdout"), metric)),
        (f"Holdout {words} of the floor", wording.score_text(floor.get("holdout"), metric)),
    ]
    if gap:
        unit = " points" if wording.is_share(metric) else ""
        facts.append(("Best model minus floor", wording.gap_text(gap["value"], metric) + unit))
    cells = "".join(
        f"<div><dt>{text(k)}</dt><dd>{text(v).replace('-', '&minus;')}</dd></div>"
        for k, v in facts
    )
    sentence = wording.gap_sentence(result) if gap else result.get("verdict_text") or ""
    bar = ""
    if gap and gap.get("low") is not None and gap.get("high") is not None:
        bar = interval_bar(gap, metric) + _interval_note(result, gap)
    looks, terms = wording.looks_sentence(result), wording.shipped_terms(result)
    notes = [looks, f"Terms of {terms}" if terms else ""]
    below = "".join(f'<p class="note">{text(note)}</p>' for note in notes if note)
    return (
        f'<div class="verdict {side}"><h1>{text(wording.headline(result))}</h1>'
        f'<p>{prose(sentence)}</p>{bar}<dl class="facts">{cells}</dl>{below}</div>'
    )


def _interval_note(result: Result, gap: Mapping[str, Any]) -> str:
    n = int((result.get("task") or {}).get("n_holdout") or 0)
    method = str(gap.get("method", "")).replace("_", " ")
    note = (
        f"{100 * float(gap.get('confidence') or 0.95):g} % interval ({method}) of the paired "
        f"difference on {wording.count(n, 'holdout sample')}. The verdict says on which side of "
        "zero the whole interval lies; where it spans zero, the data cannot tell."
    )
    return f'<p class="note">{prose(note)}</p>'


def _model_section(result: Result) -> str:
    out = result.get("out")
    parts = [f"<p>{prose(wording.shipped_sentence(result))}</p>"]
    if result.get("warnings"):
        parts.append(f"<h3>Warnings</h3>{listing(result['warnings'])}")
    load = f"autotl.load({str(out)!r})" if out else "autotl.load('folder that model.save() wrote')"
    python = (
        f"import autotl\n\nmodel = {load}\nmodel.predict(X_new)\n"
        "model.predict_proba(X_new)   # columns in the order of model.classes"
    )
    parts.append(f"<h3>Use it in Python</h3><pre><code>{text(python)}</code></pre>")
    if out:
        shell = f"autotl predict {shlex.quote(str(out))} NEW_DATA --out predictions.csv"
        parts.append(f"<h3>Use it on the command line</h3><pre><code>{text(shell)}</code></pre>")
    return "".join(parts)


def _floor_section(result: Result) -> str:
    floors, metric = result.get("floors") or [], _metric(result)
    if not floors:
        return ""
    chosen = (result.get("floor") or {}).get("name")
    rows, kinds = [], []
    for floor in floors:
        is_chosen = floor.get("name") == chosen
        state = str(floor.get("state", ""))
        note = tag("the floor", "good") if is_chosen else ""
        if state != "complete":
            note = tag(state, "plain")
        reason = f" {text(floor['reason'])}" if floor.get("reason") else ""
        rows.append(
            [
                Cell.of(floor.get("name")),
                Cell.number(wording.score_text(floor.get("validation"), metric)),
                Cell.number(wording.score_text(floor.get("holdout"), metric)),
                Cell.number(wording.clock(floor.get("seconds") if state == "complete" else None)),
                Cell(note + reason, "w"),
            ]
        )
        kinds.append("shipped" if is_chosen else "")
    headers = [("Without transfer", ""), ("Validation", "n"), ("Holdout", "n"), ("Time", "n")]
    body = table([*headers, ("", "")], rows, label="Floor models", kinds=kinds)
    return (
        "<p>The best that can be had without any pretraining, chosen by cross-validation inside "
        "the training data. Transfer has to beat it. What is called untrained is the finalist's "
        f"own network, its weights drawn at random.</p>{body}"
    )


def _left_out_section(result: Result) -> str:
    backbones = result.get("skipped_backbones") or []
    samples = result.get("skipped_samples") or []
    parts = []
    if backbones:
        rows = [[Cell.of(b.get("name")), Cell.of(b.get("reason"), "w")] for b in backbones]
        parts.append(_folded(("Backbone", "Why it was not tried"), rows, "backbones"))
    if samples:
        rows = [[Cell.of(s.get("sample")), Cell.of(s.get("reason"), "w")] for s in samples]
        parts.append(f"<h3>{text(wording.count(len(samples), 'sample'))} left out</h3>")
        parts.append(_folded(("Sample", "Why it was left out"), rows, "samples"))
    return "".join(parts)


def _folded(titles: tuple[str, str], rows: list[list[Cell]], what: str) -> str:
    """Return a table of what was skipped, all but its first rows folded away."""
    headers = [(title, "") for title in titles]
    shown = table(headers, rows[:_SHOWN_SKIPS], label=f"Skipped {what}", snug=True)
    if len(rows) <= _SHOWN_SKIPS:
        return shown
    rest = table(headers, rows[_SHOWN_SKIPS:], label=f"Further skipped {what}", snug=True)
    return shown + more(f"Show the other {len(rows) - _SHOWN_SKIPS:,}", rest)


def _reproduce_section(result: Result) -> str:
    task, timings = result.get("task") or {}, result.get("timings") or {}
    folds = task.get("n_folds") or 1
    validation = f"{task.get('n_validation', '?')} validation"
    budget = result.get("budget_seconds")
    settings = [
        ("Seed", result.get("seed")),
        ("Budget", wording.clock(budget) if budget else ""),
        ("Trials asked for", result.get("trials")),
        ("Permissive only", "yes" if result.get("permissive_only") else ""),
        ("Device", result.get("device")),
        ("Metric", _metric(result)),
        ("Why this metric", result.get("metric_reason")),
        ("Splits", f"{task.get('n_train', '?')} train, {validation}"
         + (f" in each of {folds} folds" if folds > 1 else "")
         + f", {task.get('n_holdout', '?')} holdout"),
        ("Run folder", result.get("out")),
    ]  # fmt: skip
    rows = [[Cell.of(k), Cell.of(v)] for k, v in settings if v not in (None, "")]
    times = [[Cell.of(k), Cell.number(wording.clock(v))] for k, v in timings.items()]
    versions = [[Cell.of(k), Cell.of(v)] for k, v in (result.get("versions") or {}).items()]
    return (
        "<p>The same seed, data, machine and versions give the same result with a number of "
        "trials in place of a budget. <code>run.json</code> holds the inputs and splits.</p>"
        + table([("Setting", ""), ("Value", "")], rows, label="Settings", snug=True)
        + "<h3>Time</h3>"
        + table([("Stage", ""), ("Time", "n")], times, label="Timings", snug=True)
        + more(
            "Versions",
            table([("Package", ""), ("Version", "")], versions, label="Versions", snug=True),
        )
    )
