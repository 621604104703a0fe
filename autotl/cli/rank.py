"""`autotl rank`: order backbones by how promising they are, without training any."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotl.cli.group import EXIT_INTERRUPTED, debug_option
from autotl.cli.options import (
    backbones_option,
    cache_option,
    column_options,
    experience_option,
    given,
    json_option,
    machine_options,
    permissive_option,
    split_commas,
    weights_option,
    working,
)
from autotl.cli.render import Column, note, print_json, print_table
from autotl.result import wording

if TYPE_CHECKING:
    from autotl.ranking import Ranking

__all__ = ["rank"]

_ARGUMENTS = (
    "text", "label", "split", "image", "groups_column", "source", "modality", "backbones",
    "weights", "download", "permissive_only", "scores", "similarities", "samples", "seed",
    "device", "cache", "experience",
)  # fmt: skip
_PREVIEW = 5  # lines of what is known after the first rung
_FIRST_SHOWN = ("ridge_loo", "knn_loo", "logme", "h_score")


@click.command()
@click.argument("data", metavar="DATA")
@click.option("--source", metavar="DATA", help="Samples of a source domain, labelled or not.")
@click.option("--groups", "groups_column", metavar="COLUMN", help="Keep equal values together.")
@click.option("--split", metavar="COLUMN", help="Column that says which rows are for the test.")
@column_options
@click.option("--modality", metavar="NAME", help="Kind of samples, where DATA leaves it open.")
@backbones_option
@weights_option
@click.option("--download", is_flag=True, help="Allow downloading weights.")
@permissive_option
@click.option(
    "--scores",
    multiple=True,
    callback=split_commas,
    metavar="NAMES",
    help="Transferability scores, comma-separated.  [default: all]",
)
@click.option(
    "--similarities",
    multiple=True,
    callback=split_commas,
    metavar="NAMES",
    help="Similarity measures, comma-separated.  [default: all]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=4),
    metavar="N",
    help="Most samples to look at through one backbone.  [default: 1000]",
)
@machine_options
@cache_option
@experience_option
@click.option("--report", "report", metavar="FILE", help="Also write table and plot as HTML.")
@click.option("--progress/--no-progress", default=True, help="Show what happens meanwhile.")
@json_option
@debug_option
@click.pass_context
def rank(ctx: click.Context, /, data: str, **options: Any) -> None:
    """Order backbones by the accuracy to expect on DATA, with reasons. Nothing is trained.

    DATA is what `autotl search` takes; what is computed here, a search finds again.
    """
    arguments = given(ctx, _ARGUMENTS)
    if options["progress"] and not options["as_json"]:
        arguments["on_ranking"] = _Preview()
    try:
        with working("Loading libraries"):
            from autotl.api import rank_source
        with working():
            found = rank_source(data, progress=options["progress"], **arguments)
    except KeyboardInterrupt:
        note("Interrupted before anything was known.")
        ctx.exit(EXIT_INTERRUPTED)
    # A page that cannot be written must not cost what was computed.
    if options["as_json"]:
        print_json(found.to_dict())
    else:
        show_ranking(found.to_dict())
        _notes(found, options)
    if options["report"]:
        from autotl.result.report import write_ranking

        write_ranking(found.to_dict(), Path(options["report"]))
        note(f"Report: {options['report']}")
    if found.interrupted:
        ctx.exit(EXIT_INTERRUPTED)


def _notes(found: "Ranking", options: Mapping[str, Any]) -> None:
    """Say what is no line of the table."""
    if not options["progress"]:
        for warning in found.warnings:
            note(f"Warning: {warning}")
    if found.interrupted:
        note("Interrupted: backbones were seen on fewer samples than usual, or not at all.")


class _Preview:
    """Says what is known after the first rung, since the last one takes a while."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, ranking: "Ranking") -> None:
        if self._done or not len(ranking):
            return
        self._done = True
        n_samples = max(line.n_samples for line in ranking)
        note(f"After {n_samples} samples and {ranking.seconds:.0f} s:")
        for line in list(ranking)[:_PREVIEW]:
            note(f"  {line.rank}. {_expected(vars(line))}  {line.name}")


def show_ranking(ranking: Mapping[str, Any]) -> None:
    """Print the table of a ranking, and why the first few stand where they stand.

    Args:
        ranking: What `Ranking.to_dict` returned.
    """
    lines = ranking["backbones"]
    print_table(
        [
            Column(header="#", cells=[str(b["rank"]) for b in lines], right=True),
            Column(header="backbone", cells=[b["name"] for b in lines]),
            Column(header="expected", cells=[_expected(b) for b in lines], right=True),
            *_values(lines, "scores", rank=3),
            *_values(lines, "similarity", rank=4),
            Column(
                header="static", cells=[f"{100 * b['static']:.0f} %" for b in lines],
                right=True, rank=5,
            ),
            Column(
                header="s/1000", cells=[_seconds(b["seconds_per_1000"]) for b in lines],
                right=True, rank=2,
            ),
            Column(header="seen", cells=[str(b["n_samples"]) for b in lines], right=True, rank=6),
            Column(header="license", cells=[b["license"] for b in lines], rank=5),
            Column(header="why", cells=[b["why"] for b in lines], rank=1),
        ],
        title="Backbones by the accuracy to expect after transfer",
    )  # fmt: skip
    for backbone in ranking["skipped"]:
        click.echo(f"{backbone['name']} was skipped: {backbone['reason']}")
    if not lines:
        click.echo("No backbone could be looked at.")


def _values(lines: Sequence[Mapping[str, Any]], key: str, rank: int) -> list[Column]:
    """Return a column for each score or measure, the common ones first."""
    names = {name: None for line in lines for name in line[key]}
    ordered = sorted(names, key=lambda name: name not in _FIRST_SHOWN)
    return [
        Column(
            header=name,
            cells=[_value(line[key].get(name)) for line in lines],
            right=True,
            rank=rank if name in _FIRST_SHOWN else rank + 4,
        )
        for name in ordered
    ]


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _expected(line: Mapping[str, Any]) -> str:
    return f"{wording.score_text(line['expected'], 'accuracy')} ± {100 * line['spread']:.1f}"
