"""Option types and options that several commands share."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from autotl import defaults

__all__ = [
    "backbones_option",
    "cache_option",
    "column_options",
    "duration",
    "experience_option",
    "given",
    "json_option",
    "machine_options",
    "named_sources",
    "permissive_option",
    "split_commas",
    "weights_option",
    "workers_option",
    "working",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s?)?")


def duration(value: str) -> float:
    """Return the seconds of a time such as 90s, 10m, 1h30m or a plain number.

    Raises:
        click.BadParameter: It is no such time; the message shows the value.
    """
    match = _DURATION.fullmatch(value.strip().lower())
    parts = match.groups() if match else ()
    if not any(parts):
        raise click.BadParameter(
            f"{value!r} is not a duration; give one such as 90s, 10m or 1h30m."
        )
    hours, minutes, seconds = (float(p or 0) for p in parts)
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise click.BadParameter(f"{value!r} is no time at all; give at least 1s.")
    return total


def json_option(function: _F) -> _F:
    """Add `--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    )(function)


def column_options(function: _F) -> _F:
    """Add the options that name columns of a table."""
    for name, text in (
        ("image", "Column that holds images or their paths, where DATA is a table."),
        ("label", "Column that holds the labels, where DATA is a table."),
        ("text", "Column that holds the texts, where DATA is a table."),
    ):
        function = click.option(f"--{name}", metavar="COLUMN", help=text)(function)
    return function


def backbones_option(function: _F) -> _F:
    """Add `--backbones`."""
    return click.option(
        "--backbones",
        multiple=True,
        callback=split_commas,
        metavar="NAMES",
        help="Names or patterns such as 'embedded/*', comma-separated.  [default: all usable]",
    )(function)


def weights_option(function: _F) -> _F:
    """Add `--weights`."""
    return click.option(
        "--weights", multiple=True, metavar="DIR", help="Folder with a backbones.toml; repeatable."
    )(function)


def machine_options(function: _F) -> _F:
    """Add `--seed` and `--device`."""
    function = click.option(
        "--device", metavar="NAME", help="cpu, cuda or mps.  [default: the best there is]"
    )(function)
    return click.option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help=f"Of everything random.  [default: {defaults.SEED}]",
    )(function)


def cache_option(function: _F) -> _F:
    """Add `--cache` and `--no-cache`."""
    return click.option(
        "--cache/--no-cache",
        default=True,
        help="Keep what frozen layers compute on disk; see `autotl cache`.  [default: cache]",
    )(function)


def permissive_option(function: _F) -> _F:
    """Add `--permissive-only`."""
    return click.option(
        "--permissive-only",
        is_flag=True,
        help="Leave out what is not known to allow commercial use.",
    )(function)


def split_commas(
    _ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> list[str] | None:
    """Turn repeated and comma-separated values into one list; None when there are none."""
    names = [name.strip() for value in values for name in value.split(",")]
    if values and not all(names):
        raise click.BadParameter(f"{','.join(values)!r} has an empty name in it.", param=param)
    return names or None


def named_sources(
    _ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> dict[str, str] | None:
    """Turn values such as "photos=DIR" or "DIR" into places by name; None when there are none."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, place = value.partition("=")
        if not equals or Path(value).exists():  # a path may hold an equals sign
            name, place = Path(value).stem, value
        if not name or not place or name in found:
            problem = f"has the name {name!r} of another" if name in found else "lacks one or data"
            raise click.BadParameter(
                f"{value!r} {problem}; give NAME=DATA, each name once.", param=param
            )
        found[name] = place
    return found or None


experience_option = click.option(
    "--experience/--no-experience",
    default=True,
    help="Start from what worked on similar data, and leave a record for later runs.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that search at once, the cores shared out among them.  [default: 1]",
)


def given(ctx: click.Context, names: Sequence[str]) -> dict[str, Any]:
    """Return the options that the user gave, so that all others keep the function's defaults."""
    default = click.core.ParameterSource.DEFAULT
    return {n: ctx.params[n] for n in names if ctx.get_parameter_source(n) is not default}


@contextlib.contextmanager
def working(what: str = "") -> Iterator[None]:
    """Keep standard output for results, and a terminal's reader company.

    What a library prints meanwhile goes to standard error.

    Args:
        what: Shown with a spinner on a terminal, since heavy imports take seconds; "" shows none.
    """
    with contextlib.ExitStack() as stack:
        if what and sys.stderr.isatty():
            from rich.console import Console

            stack.enter_context(Console(stderr=True, force_jupyter=False).status(what))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield
