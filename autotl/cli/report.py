"""`autotl report`: write a run's report again from its `result.json`."""

from pathlib import Path
from typing import Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import json_option
from autotl.cli.render import print_json
from autotl.errors import OutputExistsError
from autotl.result.report import read_result, write_report

__all__ = ["report"]


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--out", metavar="FILE", help="HTML file to write.  [default: RUN/report.html]")
@click.option("--overwrite", is_flag=True, help="Replace --out where it exists.")
@json_option
@debug_option
def report(run: str, out: str | None, overwrite: bool, as_json: bool) -> None:
    """Write the report of RUN, a folder that a search made, again."""
    result: dict[str, Any] = read_result(run)
    path = Path(run) / "report.html" if out is None else Path(out)
    if path.is_dir():
        raise OutputExistsError(
            f"--out {str(path)!r} is a folder; give a file such as {str(path / 'report.html')!r}."
        )
    if out is not None and path.exists() and not overwrite:
        raise OutputExistsError(
            f"{str(path)!r} exists. Give another --out, or --overwrite to replace it."
        )
    # The folder may have been moved since: the commands in the report should name where it is.
    write_report({**result, "out": run}, path)
    if as_json:
        print_json({"schema": 1, "report": str(path), "verdict": result.get("verdict")})
    else:
        click.echo(str(path))
