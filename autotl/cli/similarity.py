"""`autotl similarity`: how close two data sets are, as one backbone sees them."""

from typing import Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import (
    column_options,
    given,
    json_option,
    machine_options,
    split_commas,
    weights_option,
    working,
)
from autotl.cli.render import Column, note, print_facts, print_json, print_table

__all__ = ["similarity"]

_ARGUMENTS = (
    "text", "label", "image", "modality", "backbone", "weights", "similarities", "samples",
    "seed", "device",
)  # fmt: skip


@click.command()
@click.argument("source", metavar="A")
@click.argument("target", metavar="B")
@column_options
@click.option("--modality", metavar="NAME", help="Kind of samples, where the data leaves it open.")
@click.option("--backbone", metavar="NAME", help="Who looks.  [default: the largest usable]")
@weights_option
@click.option(
    "--similarities",
    multiple=True,
    callback=split_commas,
    metavar="NAMES",
    help="Measures, comma-separated.  [default: all]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=10),
    metavar="N",
    help="Most samples of either side.  [default: 1000]",
)
@machine_options
@json_option
@debug_option
@click.pass_context
def similarity(ctx: click.Context, /, source: str, target: str, **options: Any) -> None:
    """Say how close the data sets A and B are, as one backbone sees them.

    A and B are what `autotl search` takes. Values compare between pairs seen through the same
    backbone with as many samples.
    """
    with working("Comparing"):
        from autotl.api import similarity_source

        found = similarity_source(source, target, **given(ctx, _ARGUMENTS))
    if options["as_json"]:
        print_json(found.to_dict())
        return
    print_facts([("Seen by", found.backbone), ("Samples", f"{found.n_samples} of either side")])
    click.echo()
    values = found.measures.values()
    print_table(
        [
            Column(header="measure", cells=list(found.measures)),
            Column(header="value", cells=[f"{v['value']:.4g}" for v in values], right=True),
            Column(
                header="closer is",
                cells=["greater" if v["greater_is_closer"] else "smaller" for v in values],
            ),
        ]
    )
    for name, reason in found.failed.items():
        note(f"{name}: {reason}")
