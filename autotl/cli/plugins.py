"""`autotl plugins`: who brings what, and what went wrong."""

import dataclasses
import warnings

import click

from autotl.cli.group import debug_option
from autotl.cli.options import json_option
from autotl.cli.render import Column, note, print_json, print_table
from autotl.registry import get_registry

__all__ = ["plugins"]


@click.command()
@json_option
@debug_option
def plugins(as_json: bool) -> None:
    """List plugins, what each brings, and what went wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the table says it
        rows = get_registry().plugins
    if as_json:
        print_json({"schema": 1, "plugins": [dataclasses.asdict(r) for r in rows]})
        return
    brings = [", ".join(f"{kind}: {n}" for kind, n in r.counts.items()) for r in rows]
    print_table(
        [
            Column(header="plugin", cells=[r.name for r in rows]),
            Column(header="distribution", cells=[r.distribution for r in rows], rank=1),
            Column(header="status", cells=[r.status for r in rows]),
            Column(header="brings", cells=[b or "-" for b in brings]),
        ],
        emphasis={i: "red" for i, r in enumerate(rows) if r.status == "failed"},
    )
    for row in rows:
        for problem in row.problems:
            click.echo(f"{row.name}: {problem}")
    if not rows:
        note("No plugin is installed, so there is nothing to search. Run: pip install autotl")
