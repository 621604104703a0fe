"""`autotl backbones`: what is on the shelf."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import (
    given,
    json_option,
    permissive_option,
    weights_option,
    working,
)
from autotl.cli.render import Column, note, number, print_json, print_table
from autotl.result.wording import yes_or_no

if TYPE_CHECKING:
    from autotl.specs import BackboneSpec

__all__ = ["backbones", "listing"]

_KNOWN_SIZE_BYTES = 10_000  # below it, a source only says that there is something to download


@click.command()
@click.option("--modality", metavar="NAME", help="Only those that read this kind of sample.")
@weights_option
@permissive_option
@json_option
@debug_option
@click.pass_context
def backbones(ctx: click.Context, /, as_json: bool, **_options: Any) -> None:
    """List pretrained backbones, whether each is usable now, and if not, why."""
    rows, directories = listing(**given(ctx, ("modality", "weights", "permissive_only")))
    if as_json:
        print_json({"schema": 1, "backbones": rows, "directories": directories})
        return
    # The names of those at hand are short: a table of their own has room for all its columns.
    for title, usable in (("Usable now", True), ("Not usable now", False)):
        if chosen := [row for row in rows if row["usable"] is usable]:
            _print_rows(chosen, title)
            click.echo()
    _print_terms(rows)
    note(f"{sum(r['usable'] for r in rows)} of {len(rows)} usable now.{_advice(rows)}")


def _advice(rows: Sequence[dict[str, Any]]) -> str:
    """Say how those that only need a download come into use."""
    n_far = sum(r["download_bytes"] > 0 and not r["usable"] for r in rows)
    return f" {n_far} need a download: name them with --backbones and --download." if n_far else ""


def _usable(row: dict[str, Any]) -> str:
    """Write whether a backbone is usable now, or how much it takes to make it so."""
    if row["usable"] or row["download_bytes"] <= 0:
        return yes_or_no(row["usable"])
    known = row["download_bytes"] >= _KNOWN_SIZE_BYTES
    return f"{max(1, round(row['download_bytes'] / 1e6))} MB away" if known else "download"


def _print_terms(rows: Sequence[dict[str, Any]]) -> None:
    """List the terms of the source data once each, since they are long and repeat."""
    sources: dict[str, list[str]] = {}
    for row in rows:
        known = sources.setdefault(row["source_terms"], [])
        if row["source_domain"] not in known:
            known.append(row["source_domain"])
    sources.pop("", None)
    if sources:
        print_table(
            [
                Column(
                    header="source", cells=[", ".join(filter(None, s)) for s in sources.values()]
                ),
                Column(header="terms of its data", cells=list(sources)),
            ]
        )


def _print_rows(rows: Sequence[dict[str, Any]], title: str) -> None:
    columns = [
        Column(header="name", cells=[r["name"] for r in rows]),
        Column(header="reads", cells=[r["modality"] or "-" for r in rows], rank=4),
        Column(header="params", cells=[number(r["n_params"]) for r in rows], right=True, rank=2),
        Column(
            header="embed_dim",
            cells=[str(r["embed_dim"] or "-") for r in rows],
            right=True,
            rank=5,
        ),
        Column(header="source", cells=[r["source_domain"] or "-" for r in rows], rank=1),
        Column(header="license", cells=[r["license"] or "unknown" for r in rows], rank=2),
        Column(header="permissive", cells=[yes_or_no(r["permissive"]) for r in rows], rank=3),
    ]
    if not rows[0]["usable"]:
        columns.insert(1, Column(header="usable", cells=[_usable(r) for r in rows]))
        columns.append(Column(header="why not", cells=[r["reason"] or "" for r in rows], rank=6))
    print_table(columns, title=title)


def listing(**shelf_arguments: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each backbone, usable ones first, and the folders that were looked at."""
    with working("Looking for backbones"):
        from autotl.registry import get_registry
        from autotl.shelf import open_shelf

        registry = get_registry()
        if shelf_arguments.get("modality"):
            registry.modalities.get(shelf_arguments["modality"])  # raises for an unknown one
        shelf = open_shelf(**shelf_arguments)
        known = registry.backbones
    rows = [_row(spec.name, spec, None) for spec in shelf.usable]
    for skipped in shelf.skipped:
        spec = skipped.spec or (known.get(skipped.name) if skipped.name in known else None)
        rows.append(_row(skipped.name, spec, skipped.reason))
    return rows, [str(d) for d in shelf.directories]


def _row(name: str, spec: "BackboneSpec | None", reason: str | None) -> dict[str, Any]:
    size: Sequence[int] | None = spec.input_size if spec else None
    return {
        "name": name,
        "summary": spec.summary if spec else "",
        "modality": spec.modality if spec else None,
        "n_params": spec.n_params if spec else None,
        "embed_dim": spec.embed_dim if spec else None,
        "input_size": list(size) if size else None,
        "source_domain": spec.source_domain if spec else "",
        "license": spec.license if spec else "",
        "source_terms": spec.source_terms if spec else "",
        "permissive": spec.permissive if spec else None,
        "download_bytes": spec.download_bytes if spec else 0,
        "usable": reason is None,
        "reason": reason,
    }
