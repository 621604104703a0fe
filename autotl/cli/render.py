"""Tables and JSON on standard output."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Column", "note", "number", "print_facts", "print_json", "print_table"]

_PIPE_WIDTH = 10_000


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Args:
        header: Its title.
        cells: Its texts, one a row.
        right: Whether numbers line up on the right.
        rank: Columns of a higher rank go first where the terminal is too narrow; 0 always stays.
    """

    header: str
    cells: Sequence[str]
    right: bool = False
    rank: int = 0


def number(value: float | None) -> str:
    """Write a count in few letters: 942, 340 k, 25.6 M; "-" when unknown."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            digits = 0 if value >= 100 * size else 1
            return f"{value / size:.{digits}f} {unit}"
    return f"{value:.0f}"


def note(text: str) -> None:
    """Say something on standard error that is no result."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print strict JSON: numbers that JSON lacks become null."""
    click.echo(json.dumps(_strict(value), ensure_ascii=False, indent=2, allow_nan=False))


def print_table(
    columns: Sequence[Column], *, title: str = "", emphasis: Mapping[int, str] | None = None
) -> None:
    """Print a table that fits the terminal by leaving out columns, or whole into a pipe.

    Args:
        columns: In the order of display.
        title: Line above it.
        emphasis: Row number to rich style.
    """
    from rich.text import Text

    console = _console()
    shown = list(columns)
    while (
        console.is_terminal and _too_wide(console, shown, emphasis) and any(c.rank for c in shown)
    ):
        shown.remove(max(shown, key=lambda c: c.rank))
    if title:
        _print(console, Text(title, style="bold"))
    _print(console, _table(shown, emphasis))
    hidden = [c.header for c in columns if c not in shown]
    if hidden:
        note(f"(A wider terminal also shows: {', '.join(hidden)}. --json has everything.)")


def print_facts(facts: Sequence[tuple[str, str]], styles: Mapping[str, str] | None = None) -> None:
    """Print names and values, each value wrapped beside its name.

    Args:
        facts: (name, value) pairs.
        styles: Name to rich style of its value.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        style = (styles or {}).get(name, "")
        table.add_row(Text(name, style="bold"), Text(_printable(value), style=style))
    _print(_console(), table)


def _console() -> "Console":
    from rich.console import Console

    return Console(
        file=sys.stdout, markup=False, highlight=False, emoji=False, force_jupyter=False
    )


def _print(console: "Console", renderable: Any) -> None:
    """Print to a terminal as it is, and whole lines without trailing blanks into a pipe."""
    if console.is_terminal:
        console.print(renderable)
        return
    options = console.options.update(width=_PIPE_WIDTH)
    for line in console.render_lines(renderable, options, pad=False):
        click.echo("".join(segment.text for segment in line).rstrip())


def _table(columns: Sequence[Column], emphasis: Mapping[int, str] | None) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        justify: Any = "right" if column.right else "left"
        table.add_column(Text(column.header), justify=justify, overflow="fold")
    for index, row in enumerate(zip(*(c.cells for c in columns), strict=True)):
        style = (emphasis or {}).get(index)
        table.add_row(*(Text(_printable(cell)) for cell in row), style=style)
    return table


def _too_wide(
    console: "Console", columns: Sequence[Column], emphasis: Mapping[int, str] | None
) -> bool:
    from rich.measure import Measurement

    table = _table(columns, emphasis)
    unbounded = console.options.update(max_width=_PIPE_WIDTH)
    return Measurement.get(console, unbounded, table).maximum > console.width


def _printable(text: str) -> str:
    # Labels and paths are untrusted: no escape sequence of theirs reaches the terminal.
    return "".join(c if c.isprintable() else " " for c in text)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_strict(v) for v in value]
    if hasattr(value, "tolist"):  # a NumPy array or scalar
        return _strict(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
