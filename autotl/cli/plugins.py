"""`autotl plugins`: who brings what, and what went wrong."""

import dataclasses
import warnings
from typing import Any

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
    """List plugins, what each brings and what went wrong with it, and ways to adapt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the table says it
        rows = get_registry().plugins
    if as_json:
        content = [dataclasses.asdict(r) for r in rows]
        print_json({"schema": 1, "plugins": content, "adaptations": _adaptations()})
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
    methods = _adaptations()
    if methods:
        click.echo()
        print_table(
            [
                Column(header="adaptation", cells=[m["name"] for m in methods]),
                Column(header="needs", cells=[", ".join(m["needs"]) or "labels" for m in methods]),
                Column(header="trains", cells=[m["trains"] for m in methods], rank=2),
                Column(header="what it does", cells=[m["summary"] for m in methods], rank=1),
            ]
        )
    if not rows:
        note("No plugin is installed, so there is nothing to search. Run: pip install autotl")


_NEEDS = {"unlabeled": "--unlabeled", "source": "--source", "any_source": "--source"}


def _adaptations() -> list[dict[str, Any]]:
    """Return each method with what it needs beside labelled samples, and what it trains."""
    return [
        {
            "name": spec.name,
            "needs": sorted({_NEEDS.get(need, need) for need in spec.needs}),
            "needs_labels": spec.needs_labels,
            "trains": "layers" if spec.trains_backbone else "head",
            "modalities": sorted(spec.modalities) if spec.modalities is not None else None,
            "summary": spec.summary,
        }
        for spec in get_registry().adaptations
    ]
