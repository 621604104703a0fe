"""What the engine says while it works, and two ways of showing it."""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from autotl.result.wording import clock, gap_text, score_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

__all__ = ["Progress", "RichProgress", "SilentProgress", "make_progress"]

_LINE_SECONDS = 2.0
_LAST_TRIALS = 5
_STATES = {"complete": "done", "pruned": "stopped early", "failed": "failed"}


class Progress(Protocol):
    """Receives what happens, from the engine's thread, in order."""

    def stage(self, name: str, detail: str = "") -> None:
        """Begin a stage such as "Screening"; `detail` says what it works on."""
        ...

    def advance(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Move on within the stage: `done` of `total` pieces where they can be counted."""
        ...

    def trial(self, row: Mapping[str, Any]) -> None:
        """Take a finished leaderboard row."""
        ...

    def message(self, text: str) -> None:
        """Pass on a warning or note to the user."""
        ...

    def close(self) -> None:
        """End the display; may be called more than once."""
        ...


class SilentProgress:
    """Shows nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Begin a stage."""

    def advance(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Move on within the stage."""

    def trial(self, row: Mapping[str, Any]) -> None:
        """Take a finished leaderboard row."""

    def message(self, text: str) -> None:
        """Pass on a warning or note."""

    def close(self) -> None:
        """End the display."""


class RichProgress:
    """Shows a live panel on a terminal, and an occasional plain line anywhere else.

    A display must never cost a run: whatever goes wrong while drawing ends the drawing only.

    Args:
        budget_seconds: Length of the bar; None shows the time that has passed alone.
        console: Where to draw; standard error by default.
    """

    def __init__(self, budget_seconds: float | None, console: "Console | None" = None) -> None:
        self._budget = budget_seconds
        self._started = time.monotonic()
        self._last_line = float("-inf")
        self._lock = threading.Lock()
        self._stage = "Starting"
        self._detail = ""
        self._done: tuple[int, int] | None = None
        self._best: dict[str, Any] | None = None
        self._trials: deque[dict[str, Any]] = deque(maxlen=_LAST_TRIALS)
        self._n_trials = dict.fromkeys(_STATES, 0)
        self._live: Live | None = None
        self._console = console
        self._safely(self._open)

    def _open(self) -> None:
        from rich.console import Console

        if self._console is None:
            self._console = Console(
                stderr=True, markup=False, highlight=False, emoji=False, force_jupyter=False
            )
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            return
        from rich.live import Live

        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )
        self._live.start()

    def _safely(self, draw: Callable[[], object]) -> None:
        try:
            draw()
        except Exception:  # noqa: BLE001  # drawing may fail in any way on an odd terminal
            live, self._live, self._console = self._live, None, None
            if live is not None:
                with contextlib.suppress(Exception):
                    live.stop()

    def stage(self, name: str, detail: str = "") -> None:
        """Begin a stage; always worth a line."""
        with self._lock:
            self._stage, self._detail, self._done = name, detail, None
        self._line(f"{name}: {detail}" if detail else name, force=True)

    def advance(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Move on within the stage."""
        with self._lock:
            self._detail = text
            self._done = None if done is None or not total else (done, total)
        part = f" ({done} of {total})" if self._done else ""
        self._line(f"{self._stage}: {text}{part}")

    def trial(self, row: Mapping[str, Any]) -> None:
        """Take a finished leaderboard row."""
        kept = dict(row)
        state = str(kept.get("state", "complete"))
        with self._lock:
            self._n_trials[state] = self._n_trials.get(state, 0) + 1
            self._trials.append(kept)
            better = state == "complete" and _better(kept, self._best)
            if better:
                self._best = kept
        mark = ", best so far" if better else ""
        self._line(f"Trial {kept.get('trial', '?')}: {_trial_text(kept)}{mark}")

    def message(self, text: str) -> None:
        """Print a warning or note that stays."""
        self._line(text, force=True, stays=True)

    def close(self) -> None:
        """Take the live panel away and give the terminal back."""
        live, self._live, self._console = self._live, None, None
        if live is not None:
            self._safely(live.stop)

    def _line(self, text: str, *, force: bool = False, stays: bool = False) -> None:
        console = self._console
        if console is None or (self._live is not None and not stays):
            return
        now = time.monotonic()
        # Lines grow rarer in a long run, so that a log of an hour stays a page or two.
        pause = max(_LINE_SECONDS, (now - self._started) / 30)
        if not force and now - self._last_line < pause:
            return
        self._last_line = now
        stamp = "" if self._live else f"[{now - self._started:6.1f} s] "
        # soft_wrap: a log line is one line, however narrow its reader seems to be.
        soft_wrap = self._live is None
        self._safely(lambda: console.print(stamp + _printable(text), soft_wrap=soft_wrap))

    def _render(self) -> "RenderableType":
        from rich.console import Group

        try:
            with self._lock:
                return Group(*self._parts())
        except Exception:  # noqa: BLE001  # called from rich's thread, where nobody would catch it
            return ""

    def _parts(self) -> "Iterator[RenderableType]":
        from rich.text import Text

        head = Text.assemble((self._stage, "bold"), no_wrap=True, overflow="ellipsis")
        if self._detail:
            head.append(f"  {_printable(self._detail)}")
        if self._done:
            head.append(f"  {self._done[0]}/{self._done[1]}", style="dim")
        yield head
        yield self._bar()
        if self._best is not None:
            yield self._best_line(self._best)
        if self._trials:
            counts = ", ".join(f"{n} {_STATES.get(s, s)}" for s, n in self._n_trials.items() if n)
            yield Text(f"Trials  {counts}")
        for row in reversed(self._trials):
            text = f"  {row.get('trial', '?'):>4}  {_trial_text(row)}"
            yield Text(text, style="dim", no_wrap=True, overflow="ellipsis")

    def _bar(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        elapsed = time.monotonic() - self._started
        if self._budget is None:
            return Text(f"{clock(elapsed)} so far", style="dim")
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(
            total=self._budget,
            completed=min(elapsed, self._budget),
            width=32,
            complete_style="cyan",
            finished_style="cyan",
        )
        grid.add_row(bar, Text(f"{clock(elapsed)} of {clock(self._budget)}", style="dim"))
        return grid

    def _best_line(self, best: Mapping[str, Any]) -> "RenderableType":
        from rich.text import Text

        text = Text("Best    ", no_wrap=True, overflow="ellipsis")
        gap = best.get("gap")
        style = "bold green" if gap is not None and gap > 0 else "bold"
        text.append(score_text(best.get("validation"), _scale(best)), style=style)
        text.append(f"  {_name(best)}")
        if gap is not None:
            floor = score_text(best["validation"] - gap, _scale(best))
            text.append(f"  ({gap_text(gap, _scale(best))} against the floor's {floor})")
        return text


def make_progress(show: bool, budget_seconds: float | None) -> Progress:
    """Return a display on standard error, or one that shows nothing."""
    return RichProgress(budget_seconds) if show else SilentProgress()


def _better(row: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    value = row.get("validation")
    if value is None or not math.isfinite(value):
        return False
    return best is None or bool(value > best["validation"])


def _scale(row: Mapping[str, Any]) -> str:
    # The metric is not known here: whatever lies in [0, 1] reads well as a percentage.
    value = row.get("validation")
    return "accuracy" if value is not None and 0 <= value <= 1 else "other"


def _name(row: Mapping[str, Any]) -> str:
    return _printable(f"{row.get('backbone', '?')} {row.get('adaptation', '?')}")


def _trial_text(row: Mapping[str, Any]) -> str:
    state = str(row.get("state", "complete"))
    if state != "complete":
        reason = row.get("reason")
        note = f" ({_printable(str(reason))})" if reason else ""
        return f"{_name(row)}  {_STATES.get(state, state)}{note}"
    gap = row.get("gap")
    against = "" if gap is None else f"  {gap_text(gap, _scale(row))}"
    return f"{score_text(row.get('validation'), _scale(row))}{against}  {_name(row)}"


def _printable(text: str) -> str:
    # Names come from files and data: keep escape sequences away from the terminal.
    return "".join(c if c.isprintable() else " " for c in text)
