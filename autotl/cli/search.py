"""`autotl search`: fit, then show the leaderboard, the verdict and what to do next."""

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from autotl import defaults
from autotl.cli.group import EXIT_INTERRUPTED, debug_option
from autotl.cli.options import (
    backbones_option,
    cache_option,
    column_options,
    duration,
    experience_option,
    given,
    json_option,
    machine_options,
    named_sources,
    permissive_option,
    split_commas,
    weights_option,
    workers_option,
    working,
)
from autotl.cli.outcome import show_result
from autotl.cli.render import Column, note, print_facts, print_json, print_table
from autotl.result import wording

__all__ = ["search"]

_READING = (
    "text",
    "label",
    "split",
    "image",
    "holdout",
    "groups_column",
    "modality",
    "unlabeled_data",
    "other_sources",
)
_FITTING = (
    "metric",
    "budget_seconds",
    "trials",
    "backbones",
    "adaptations",
    "weights",
    "download",
    "permissive_only",
    "labels_per_class",
    "unlabeled",
    "unlabeled_value",
    "seed",
    "device",
    "cache",
    "views",
    "workers",
    "experience",
    "max_params",
    "max_latency_ms",
    "license",
    "ensemble",
    "cautious",
)


@click.command()
@click.argument("data", metavar="DATA")
@click.option(
    "--budget",
    "budget_seconds",
    type=duration,
    metavar="TIME",
    help="Time for everything, such as 90s, 10m or 1h30m.  "
    f"[default: {defaults.BUDGET_SECONDS:g}s]",
)
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="Run N trials, whatever the time."
)
@click.option("--out", metavar="RUN", help="New folder for the model, leaderboard and report.")
@click.option(
    "--labels-per-class",
    type=click.IntRange(min=1),
    metavar="N",
    help="Learn from N labels of each class and hold out the rest.",
)
@click.option("--holdout", metavar="DATA", help="Data for the final test instead of a fifth.")
@click.option("--groups", "groups_column", metavar="COLUMN", help="Keep equal values together.")
@click.option(
    "--unlabeled",
    "unlabeled_data",
    metavar="DATA",
    help="Samples without labels to learn from too.",
)
@click.option(
    "--source",
    "other_sources",
    multiple=True,
    callback=named_sources,
    metavar="[NAME=]DATA",
    help="Labelled samples of another domain to learn from too; repeatable.",
)
@click.option(
    "--use-unlabeled",
    "unlabeled",
    flag_value="use",
    help="Learn from rows whose label is empty, as samples without labels.",
)
@click.option(
    "--unlabeled-value",
    metavar="LABEL",
    help="Another label that stands for an empty one, with --use-unlabeled.",
)
@click.option("--split", metavar="COLUMN", help="Column that says which rows are for the test.")
@column_options
@click.option("--modality", metavar="NAME", help="Kind of samples, where DATA leaves it open.")
@click.option(
    "--metric", metavar="NAME", help="scikit-learn scorer.  [default: accuracy, or balanced]"
)
@backbones_option
@click.option(
    "--adaptations",
    multiple=True,
    callback=split_commas,
    metavar="NAMES",
    help="Names or patterns, comma-separated.  [default: all]",
)
@weights_option
@click.option("--download", is_flag=True, help="Allow downloading weights.")
@permissive_option
@click.option(
    "--max-params",
    type=click.IntRange(min=1),
    metavar="N",
    help="Backbones of N parameters at most.",
)
@click.option(
    "--max-latency-ms",
    type=float,
    metavar="MS",
    help="Backbones that take MS milliseconds a sample at most, measured here.",
)
@click.option(
    "--license",
    multiple=True,
    callback=split_commas,
    metavar="NAMES",
    help="Licences that weights may have, such as mit,apache*.",
)
@click.option(
    "--ensemble",
    is_flag=True,
    help="Ship a weighted mean of several trials where it is clearly better.",
)
@click.option(
    "--cautious",
    is_flag=True,
    help="Ship transfer only where its lead over the floor is beyond chance.",
)
@machine_options
@cache_option
@click.option(
    "--views",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Augmented views of each sample that are kept.  [default: {defaults.VIEWS}]",
)
@workers_option
@experience_option
@click.option("--plan", is_flag=True, help="Show what would be done and for how long, and stop.")
@click.option("--progress/--no-progress", default=True, help="Show what happens meanwhile.")
@json_option
@debug_option
@click.pass_context
def search(ctx: click.Context, /, data: str, **options: Any) -> None:
    """Choose and adapt a backbone for DATA, and say whether transfer helps.

    DATA is a folder with one folder of images or .txt files for each class, a CSV, TSV or Parquet
    table of texts or images, an .npz file with X and y, or sklearn:digits.
    """
    arguments = given(ctx, _READING + _FITTING)
    if options["plan"]:
        _plan(data, arguments, options["as_json"])
        return
    out = options["out"]
    if out is None:
        note("Note: without --out, neither the model nor the report is kept.")
    result = _fit(ctx, data, {**arguments, "out": out, "progress": options["progress"]})
    if options["as_json"]:
        print_json(result)
    else:
        if not options["progress"]:
            for warning in result.get("warnings") or ():
                note(f"Warning: {warning}")
        show_result(result, command=_command_without_out(data, arguments))
    if result.get("stopped_by") == "interrupt":
        note(interrupted(out))
        ctx.exit(EXIT_INTERRUPTED)


def _fit(ctx: click.Context, data: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    started = time.monotonic()  # to the user, loading libraries is a part of the wait
    try:
        with working("Loading libraries"):
            from autotl.api import fit_source
        with working():
            return fit_source(data, started=started, **arguments).result
    except KeyboardInterrupt:
        # Too early for a model, or pressed twice: the engine could not finish cleanly.
        note(interrupted(None, arguments.get("out")))
        ctx.exit(EXIT_INTERRUPTED)


def interrupted(out: str | None, run: str | None = None) -> str:
    """Say what an interrupt has left and how to go on.

    Args:
        out: Run folder with a model; None where there is none.
        run: Run folder with trials at most.
    """
    if out is not None:
        name = shlex.quote(out)
        return (
            f"Interrupted. The best model until then is in {out}: use it with "
            f"`autotl predict {name} DATA`, or go on with `autotl resume {name}`."
        )
    if run is not None and (Path(run) / "study.journal").exists():
        return (
            f"Interrupted before a model was ready. Go on with `autotl resume {shlex.quote(run)}`."
        )
    return "Interrupted before a model was ready. Run the command again."


def _command_without_out(data: str, arguments: Mapping[str, Any]) -> str:
    budget = arguments.get("budget_seconds")
    limit = "" if budget is None else f" --budget {budget:g}s"
    permissive = " --permissive-only" if arguments.get("permissive_only") else ""
    return f"autotl search {shlex.quote(data)}{limit}{permissive} --out RUN"


def _plan(data: str, arguments: Mapping[str, Any], as_json: bool) -> None:
    with working("Planning"):
        from autotl.api import plan_source

        plan = plan_source(data, **arguments)
    if as_json:
        print_json(plan)
        return
    task = plan.get("task") or {}
    facts = [
        ("Task", _task_text(task)),
        ("Splits", _splits_text(task)),
        *_further(plan),
        ("Metric", str(plan.get("metric", ""))),
        ("Floors", ", ".join(_floor_name(f) for f in plan.get("floors") or ()) or "-"),
        ("Budget", wording.clock(plan.get("budget_seconds"))),
        ("One pass", wording.clock(plan.get("estimated_seconds"))),
    ]
    print_facts(facts)
    click.echo()
    backbones = plan.get("backbones") or []
    print_table(
        [
            Column(header="backbone", cells=[str(b.get("name", "")) for b in backbones]),
            Column(
                header="screening",
                cells=[wording.clock(b.get("seconds")) for b in backbones],
                right=True,
            ),
        ]
    )
    for sentence in wording.skipped_sentences(plan):
        click.echo(sentence)
    if wording.left_out_sentence(plan):
        click.echo(wording.left_out_sentence(plan))
    for warning in plan.get("warnings") or ():
        click.echo(f"Warning: {warning}")
    click.echo("Nothing was run. Leave --plan out to search.")


def _further(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what comes beside the labelled samples."""
    facts = []
    if plan.get("n_unlabeled"):
        facts.append(("Unlabelled", wording.count(int(plan["n_unlabeled"]), "sample")))
    sources = plan.get("sources") or {}
    for name, n_samples in sources.items():
        facts.append(("Source", f"{name}, {wording.count(int(n_samples), 'sample')}"))
    return facts


def _floor_name(floor: Any) -> str:
    return str(floor.get("name", "")) if isinstance(floor, Mapping) else str(floor)


def _task_text(task: Mapping[str, Any]) -> str:
    classes = task.get("classes") or []
    names = ", ".join(map(str, classes[:6])) + (" ..." if len(classes) > 6 else "")
    samples = wording.count(int(task.get("n_samples") or 0), "sample")
    kinds = wording.count(len(classes), "class", "classes")
    return f"{samples} ({task.get('modality', '?')}) in {kinds}: {names}"


def _splits_text(task: Mapping[str, Any]) -> str:
    folds = task.get("n_folds") or 1
    text = f"{task.get('n_train', '?')} train, {task.get('n_validation', '?')} validation"
    if folds > 1:
        text += f" ({folds} folds)"
    return f"{text}, {task.get('n_holdout', '?')} holdout"
