"""The Optuna study: what is tried, in which order, and when a trial stops."""

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from autotl.errors import ModelFormatError
from autotl.search.budget import Budget
from autotl.search.interrupts import delayed
from autotl.search.study.candidate import INTERRUPTED, Outcome
from autotl.search.study.chooser import Chooser, Start
from autotl.search.study.evaluate import Signal
from autotl.search.study.guarding import FloorGuard
from autotl.search.study.halving import CostHalving
from autotl.search.study.ledger import Ledger
from autotl.search.study.pausing import Continue, best_paused
from autotl.search.study.records import TrialRecords
from autotl.search.study.runner import Runner
from autotl.search.study.space import SearchSpace
from autotl.search.study.storage import open_study

_NO_GAIN = "nothing that fits into the time left promises a gain that is worth it"
_MOST_WASTED = 50  # proposals in a row that repeat or do not fit: nothing is left to try


class Again:
    """A trial that was in flight when an earlier run ended waits to be run again."""


class Study:
    """Try candidates until the budget, the trials, the space or the hope of a gain end.

    Args:
        space: All candidates.
        chooser: Ranks what could be started.
        runner: Runs trials.
        halving: Rungs of cost.
        guard: Stops what is worse than the floor.
        records: What trials have shown, kept.
        budget: The clock.
        seed: Of the sampler.
        floor: The floor's validation value, None where nothing could be measured.
        reserve: Returns the seconds to keep for finishing, given the best outcome so far.
        on_outcome: Called after each trial.
        journal: File of the study's journal; None keeps it in memory.
        n_folds: Fits of one trial.
        worker: Name of the worker that this is; None where there is but one process. It goes on
            with what an earlier one of the name left behind, one without a name with everything.
        accept_changes: Whether to go on where the space of a stored study was another.

    Raises:
        SpaceChangedError: It was another, and that is not accepted.
    """

    def __init__(  # noqa: PLR0913  # the parts of a search, put together in one place
        self,
        *,
        space: SearchSpace,
        chooser: Chooser,
        runner: Runner,
        halving: CostHalving,
        guard: FloorGuard,
        records: TrialRecords,
        budget: Budget,
        seed: int,
        floor: float | None,
        reserve: Callable[[Outcome | None], float],
        on_outcome: Callable[[Outcome], None],
        journal: Path | None = None,
        n_folds: int = 1,
        worker: str | None = None,
        accept_changes: bool = False,
    ) -> None:
        self.space, self.chooser, self.runner, self.halving = space, chooser, runner, halving
        self.guard, self.records, self.budget = guard, records, budget
        self.floor, self.reserve = floor, reserve
        self.n_folds = n_folds
        self.stopped_by, self.stop_reason = "budget", ""
        self._start: Start | None = None
        self.worker = worker
        self._study = open_study(
            space, seed, journal, self._chosen, accept_changes=accept_changes, worker=worker
        )
        self.ledger = Ledger(
            self._study, space, records, usable=chooser.knows, on_outcome=on_outcome, worker=worker
        )

    @property
    def outcomes(self) -> list[Outcome]:
        """What the trials have shown, in the order of their numbers."""
        return self.ledger.outcomes

    @property
    def best(self) -> Outcome | None:
        """The best probe or tuned network on validation."""
        return self.ledger.best

    def sync(self, *, paused: bool = False) -> None:
        """Take in what other workers have shown.

        Args:
            paused: Also of trials that were paused, once all workers have ended.
        """
        self.ledger.sync(paused=paused)

    def run(self) -> None:
        """Take the most promising action for its cost, again and again."""
        wasted = 0
        try:
            while wasted <= _MOST_WASTED:
                # In turns, or two workers would choose the same.
                with delayed(), self._turn():
                    action = self._next()
                    begun = None if isinstance(action, Continue) else self._ask(action)
                if isinstance(action, Continue):
                    outcome = self._continue(action.outcome)
                elif begun is not None:
                    outcome = self._begin(begun)
                else:
                    return
                wasted = 0 if outcome.ran and outcome.state != "failed" else wasted + 1
            self.stopped_by = "space"
        except KeyboardInterrupt:
            self.stopped_by = "interrupt"

    def _next(self) -> Start | Continue | Again | None:
        """Return what to do next; None when the search is over."""
        self.sync()
        best, left = self.best, self._left()
        if left <= 0:
            return None
        if self.ledger.n_waiting:
            return Again()
        bar = self._bar(best)
        paused = best_paused(self.outcomes, bar, left, self.chooser.extrapolation)
        if paused and bar is not None:
            worth = self.chooser.promises(paused.gain, paused.cost, bar, left)
            paused = paused if worth else None
        if self.trials_left == 0:
            self.stopped_by = "trials"
            return paused
        starts = self.chooser.starts(self.outcomes, self.ledger.seen, self.floor, left)
        if self._gives_up(starts, paused):
            return None
        if not starts and paused is None:
            self.stopped_by, self.stop_reason = "space", _NO_GAIN
        if not starts:
            return paused
        return paused if paused is not None and paused.rate >= starts[0].rate else starts[0]

    def _left(self) -> float:
        return self.budget.left() - self.reserve(self.best)

    def _bar(self, best: Outcome | None) -> float | None:
        """Return what a trial must beat to be of any use."""
        known = best.value if best is not None else None
        if known is None or self.floor is None:
            return self.floor if known is None else known
        return max(known, self.floor)

    @property
    def trials_left(self) -> int | None:
        """How many trials may still be begun; None where the clock decides."""
        limit = self.budget.trials
        return None if limit is None else max(0, limit - self.ledger.n_begun)

    def _gives_up(self, starts: list[Start], paused: Continue | None) -> bool:
        """Say whether nothing is left that could beat the floor."""
        if self.floor is None or not self.budget.timed:
            return False
        used = self.budget.elapsed() / self.budget.seconds
        chance = paused.chance if paused is not None else 0.0
        reason = self.chooser.hopeless(self.outcomes, self.floor, used, starts, chance)
        if reason:
            self.stopped_by, self.stop_reason = "floor", reason
        return bool(reason)

    def _chosen(self) -> Start | None:
        """Return what was chosen for the trial that is being asked for, once."""
        start, self._start = self._start, None
        return start

    def _turn(self) -> AbstractContextManager[Any]:
        if self.worker is None:
            return nullcontext()
        return FileLock(self.records.folder / ".turn.lock")

    def _ask(self, action: Start | Again | None) -> Outcome | None:
        """Ask Optuna for a trial; one that waits to be run again goes first."""
        if action is None:
            return None
        self._start = action if isinstance(action, Start) else None
        trial = self._study.ask()
        if self.worker is not None:
            trial.set_user_attr("worker", self.worker)
        candidate = self.space.suggest(trial)
        why = trial.user_attrs.get("why") or (action.why if isinstance(action, Start) else "")
        return Outcome(trial=trial.number, candidate=candidate, state="running", why=why)

    def _begin(self, outcome: Outcome) -> Outcome:
        """Run a trial, unless it is a repeat or does not fit."""
        candidate = outcome.candidate
        known = self.ledger.seen.setdefault(candidate.key(), outcome.trial)
        if known != outcome.trial:
            outcome.state, outcome.reason = "pruned", f"the same as trial {known}"
            self._close(outcome)
            return outcome
        try:
            steps, outcome.reason = self.runner.plan(
                candidate, self._left(), first=self.best is None
            )
        except KeyboardInterrupt:
            outcome.state, outcome.reason = "failed", INTERRUPTED
            with delayed():
                self._close(outcome)
            raise
        except Exception as error:  # noqa: BLE001  # a backbone is timed here
            _fail(outcome, error)
            self._close(outcome)
            return outcome
        outcome.planned_steps = steps
        if steps == 0:
            outcome.state = "pruned"
            self._close(outcome)
            return outcome
        return self._run(outcome)

    def _continue(self, outcome: Outcome) -> Outcome:
        """Run a paused trial on from where it was."""
        try:
            states = self.records.paused(outcome.trial, self.n_folds)
        except ModelFormatError as error:
            outcome.state, outcome.reason = "pruned", f"its state could not be read: {error}"
            self._close(outcome)
            return outcome
        self.records.predictor(outcome)
        return self._run(outcome, states)

    def _run(self, outcome: Outcome, states: Any = None) -> Outcome:
        # A probe may use what the screening left; a tuned trial stops when finishing must start.
        until = self.budget.seconds - self.reserve(self.best)
        try:
            if states is not None:
                self.ledger.reopen(outcome)
            kept = self.runner.run(outcome, until, lambda _: self._watch(outcome), states)
            if outcome.state == "complete" and outcome.value is None:  # not a single step
                outcome.state = "failed"
            if outcome.state == "paused":
                self.records.pause(outcome.trial, kept)
        except KeyboardInterrupt:
            outcome.state = "complete" if outcome.value is not None else "failed"
            outcome.reason, outcome.unselected = INTERRUPTED, False
            raise
        except Exception as error:  # noqa: BLE001  # methods and backbones are plugin code
            _fail(outcome, error)
        finally:
            with delayed():
                self._close(outcome)
        return outcome

    def _watch(self, outcome: Outcome) -> Signal | None:
        """Say whether a trial that has taken a step is to end, and why."""
        spec = self.space.adaptations[outcome.candidate.adaptation]
        if not spec.trains_backbone or len(outcome.history) >= outcome.planned_steps:
            return None  # solved, not trained: a path of strengths is not a learning curve
        reason = self.guard.watch(outcome, self.outcomes)
        if reason:
            return "pruned", reason
        if self.guard.spares(outcome.trial) or not self.halving.crossed(outcome):
            return None
        if not self.halving.holds(outcome, self.outcomes):
            rung = self.halving.cost(self.halving.rung(outcome.costs[-1]))
            return "paused", f"others were better at a cost of {rung:.3g}"
        return None

    def _close(self, outcome: Outcome) -> None:
        """Tell the study and remember the outcome."""
        outcome.finished_at = self.budget.earlier + self.budget.elapsed()
        if outcome.value is not None and self.floor is not None:
            outcome.gap = outcome.value - self.floor
        if outcome.state == "complete":
            self.guard.judge(outcome)
        self.ledger.close(outcome)


def _fail(outcome: Outcome, error: Exception) -> None:
    outcome.state, outcome.value = "failed", None
    outcome.reason = f"{type(error).__name__}: {error}"
    outcome.traceback = traceback.format_exc()
