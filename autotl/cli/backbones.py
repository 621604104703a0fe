"""`autotl backbones`: what is on the shelf."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import given, json_option, permissive_option, working
from autotl.cli.render import Column, note, number, print_json, print_table
from autotl.result.wording import yes_or_no

if TYPE_CHECKING:
    from autotl.specs import BackboneSpec

__all__ = ["backbones", "listing"]


@click.command()
@click.option("--modality", metavar="NAME", help="Only those that read this kind of sample.")
@click.option(
    "--weights", multiple=True, metavar="DIR", help="Folder with a backbones.toml; repeatable."
)
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
    if rows:
        _print_rows(rows)
    note(f"{sum(r['usable'] for r in rows)} of {len(rows)} usable now.")


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        [
            Column(header="name", cells=[r["name"] for r in rows]),
            Column(header="reads", cells=[r["modality"] or "-" for r in rows], rank=1),
            Column(header="usable", cells=["yes" if r["usable"] else "no" for r in rows]),
            Column(
                header="params", cells=[number(r["n_params"]) for r in rows], right=True, rank=2
            ),
            Column(
                header="embed_dim",
                cells=[str(r["embed_dim"] or "-") for r in rows],
                right=True,
                rank=5,
            ),
            Column(header="source", cells=[r["source_domain"] or "-" for r in rows], rank=4),
            Column(header="license", cells=[r["license"] or "unknown" for r in rows], rank=2),
            Column(header="permissive", cells=[yes_or_no(r["permissive"]) for r in rows], rank=3),
            Column(header="terms", cells=[r["source_terms"] for r in rows], rank=7),
            Column(header="why not", cells=[r["reason"] or "" for r in rows], rank=6),
        ],
        emphasis={i: "dim" for i, r in enumerate(rows) if not r["usable"]},
    )


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
