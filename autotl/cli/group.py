"""The `autotl` group: subcommands are imported when they run, and errors become exit codes."""

import contextlib
import difflib
import importlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from autotl.errors import AutotlError, PluginError

if TYPE_CHECKING:
    from autotl.registry import Catalog
    from autotl.specs import CommandSpec

__all__ = ["EXIT_ERROR", "EXIT_INTERRUPTED", "LazyGroup", "debug_option"]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130

_DEBUG = "autotl.debug"
_F = TypeVar("_F", bound=Callable[..., Any])


def debug_option(function: _F) -> _F:
    """Add `--debug`, which may stand before or after the subcommand."""

    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        # `meta` is shared by the contexts of group and subcommand.
        ctx.meta[_DEBUG] = ctx.meta.get(_DEBUG, False) or value

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show the traceback of an error.",
    )(function)


class LazyGroup(click.Group):
    """A group that knows its subcommands' help without importing them.

    Args:
        commands_table: Name to ("module:attribute", one line of help).
    """

    def __init__(
        self, *args: Any, commands_table: Mapping[str, tuple[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._table = dict(commands_table)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the own commands in the order of use, then those of plugins."""
        own = list(self._table)
        return own + sorted(n for n in _plugin_commands().names() if n not in self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one subcommand; the own ones cannot be shadowed by a plugin."""
        if cmd_name in self._table:
            return _imported(self._table[cmd_name][0])
        catalog = _plugin_commands()
        if cmd_name not in catalog:
            return None
        spec = catalog.get(cmd_name)
        try:
            return _imported(spec.target)
        except Exception as error:
            raise PluginError(
                f"Command {spec.name!r} of {catalog.owner(spec.name)} could not be loaded from "
                f"{spec.target!r}: {type(error).__name__}: {error}. Update or uninstall it."
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of subcommands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])
        catalog = _plugin_commands()
        rows = [(spec.name, spec.summary) for spec in catalog if spec.name not in self._table]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(sorted(rows))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; an unknown name is a usage error that suggests the nearest."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        """Run the subcommand and turn what users can cause into an error of one line."""
        try:
            super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader, such as `head`, has seen enough; click ends quietly
        except (AutotlError, OSError) as error:
            if ctx.meta.get(_DEBUG):
                traceback.print_exc()
            raise click.ClickException(str(error)) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; in standalone mode, exit with 0, 1, 2 or 130."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        with _short_warnings():
            code = self._exit_code(args, prog_name, complete_var, **extra)
        sys.exit(code)

    def _exit_code(
        self,
        args: Sequence[str] | None,
        prog_name: str | None,
        complete_var: str | None,
        **extra: Any,
    ) -> int:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):  # a replaced stream may lack it
                # A terminal that cannot show a letter gets a "?", never a crash.
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        try:
            # Only `ctx.exit` gives a value here, since `invoke` returns nothing.
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except click.Abort:
            click.echo("Interrupted. Run the same command again to start over.", err=True)
            return EXIT_INTERRUPTED
        except Exception:  # noqa: BLE001  # a bug: the traceback is what its report needs
            traceback.print_exc()
            click.echo("Error: this is a bug in autotl or a plugin; please report it.", err=True)
            return EXIT_ERROR
        return code or 0


def _plugin_commands() -> "Catalog[CommandSpec]":
    from autotl.registry import get_registry

    return get_registry().commands


def _imported(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    if not isinstance(command, click.Command):
        raise PluginError(f"{target!r} is {command!r}; expected a click.Command.")
    return command


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Show warnings of autotl and its plugins as one line, and keep other packages' quiet."""

    def show(message: Warning | str, category: type[Warning], filename: str, *_: Any) -> None:
        if _is_ours(filename):
            click.echo(f"Warning: {message}", err=True)

    with warnings.catch_warnings():
        setattr(warnings, "showwarning", show)  # noqa: B010  # typed as if all arguments mattered
        yield


def _is_ours(filename: str) -> bool:
    parts: Sequence[str] = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            rest = parts[parts.index(folder) + 1 :]
            return bool(rest) and rest[0].startswith("autotl")
    return True
