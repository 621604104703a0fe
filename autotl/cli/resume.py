"""`autotl resume`: go on with a run, then show what `autotl search` shows."""

import time
from typing import Any

import click

from autotl.cli.group import EXIT_INTERRUPTED, debug_option
from autotl.cli.options import duration, given, json_option, workers_option, working
from autotl.cli.outcome import show_result
from autotl.cli.render import note, print_json
from autotl.cli.search import interrupted

__all__ = ["resume"]

_PASSED_ON = ("budget_seconds", "trials", "workers", "device", "download", "accept_changes")


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--budget",
    "budget_seconds",
    type=duration,
    metavar="TIME",
    help="Time to go on for.  [default: what was left, or as much again]",
)
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Add N trials.")
@workers_option
@click.option("--device", metavar="NAME", help="cpu, cuda or mps.  [default: as before]")
@click.option("--download", is_flag=True, help="Allow downloading weights.")
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Go on although backbones or methods were added or removed.",
)
@click.option("--progress/--no-progress", default=True, help="Show what happens meanwhile.")
@json_option
@debug_option
@click.pass_context
def resume(ctx: click.Context, /, run: str, **options: Any) -> None:
    """Go on with the search in RUN, after its end, Ctrl-C or a crash.

    The same study continues: finished trials count, and those in flight are run again. The data
    are read again from where they were.
    """
    arguments = given(ctx, _PASSED_ON) | {"progress": options["progress"]}
    started = time.monotonic()
    try:
        with working("Loading libraries"):
            from autotl.api import resume as go_on
        with working():
            result = go_on(run, started=started, **arguments).result
    except KeyboardInterrupt:
        note(interrupted(None, run))
        ctx.exit(EXIT_INTERRUPTED)
    if options["as_json"]:
        print_json(result)
    else:
        show_result(result)
    if result.get("stopped_by") == "interrupt":
        note(interrupted(run))
        ctx.exit(EXIT_INTERRUPTED)
