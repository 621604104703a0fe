"""The clock of one search: how much is left, and when the running stage must stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from autotl.errors import BudgetTooSmallError
from autotl.features import Stopped


class OutOfTime(Stopped):
    """The running stage has used its time."""


class Budget:
    """Wall-clock seconds or a number of trials; with trials, the clock decides nothing.

    Args:
        seconds: Wall-clock limit, positive.
        trials: Limit on trials, positive; `seconds` is then not used.
        started: `time.monotonic()` when the first sample was read; None is now.
        earlier: Seconds that earlier runs of the same search took.

    Raises:
        BudgetTooSmallError: A limit is not positive.
    """

    def __init__(
        self,
        seconds: float,
        trials: int | None = None,
        started: float | None = None,
        earlier: float = 0.0,
    ) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise BudgetTooSmallError(
                f"budget_seconds is {seconds!r}; give a number of seconds such as 60."
            )
        if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int)):
            raise BudgetTooSmallError(f"trials is {trials!r}; give a whole number such as 20.")
        if trials is None and not seconds > 0:
            raise BudgetTooSmallError(
                f"budget_seconds is {seconds!r}; give a positive number of seconds such as 60."
            )
        if trials is not None and trials < 1:
            raise BudgetTooSmallError(f"trials is {trials!r}; give at least 1.")
        self.trials, self.earlier = trials, earlier
        self.seconds = float("inf") if trials is not None else float(seconds)
        self._started = time.monotonic() if started is None else started
        self._stage_end = float("inf")

    @property
    def timed(self) -> bool:
        """Whether the clock decides anything."""
        return self.trials is None

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def left(self) -> float:
        """Return the seconds left in all."""
        return self.seconds - self.elapsed()

    def exclude(self, seconds: float) -> None:
        """Leave seconds that have passed, such as those of a download, out of account."""
        self._started += seconds

    def check(self) -> None:
        """Raise OutOfTime when the running stage has used its time; called between batches."""
        if self.elapsed() > self._stage_end:
            raise OutOfTime

    @contextmanager
    def stage(self, until: float) -> Iterator[None]:
        """Let the work inside run until `until` seconds after the start, within outer limits."""
        before = self._stage_end
        self._stage_end = min(before, until)
        try:
            yield
        finally:
            self._stage_end = before
