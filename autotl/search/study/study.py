"""The Optuna study: what is tried, in which order, and when a trial stops."""

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from autotl.errors import ModelFormatError
from autotl.search.budget import Budget
from autotl.search.interrupts import delayed
from autotl.search.study.candidate import INTERRUPTED, LOST, REPEATED, Candidate, Outcome
from autotl.search.study.chooser import Chooser, Start
from autotl.search.study.evaluate import Signal
from autotl.search.study.guarding import FloorGuard
from autotl.search.study.halving import CostHalving
from autotl.search.study.pausing import Continue, best_paused
from autotl.search.study.records import TrialRecords
from autotl.search.study.runner import Runner
from autotl.search.study.space import SearchSpace
from autotl.search.study.storage import open_study, tell

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_MOST_WASTED = 50  # proposals in a row that repeat or do not fit: nothing is left to try
_GONE = "its backbone or method is no longer in the space"


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
        self.floor, self.reserve, self.on_outcome = floor, reserve, on_outcome
        self.n_folds = n_folds
        self.stopped_by, self.stop_reason = "budget", ""
        self._outcomes: dict[int, Outcome] = {}
        self._best: dict[bool, Outcome] = {}
        self._seen: dict[tuple[Any, ...], int] = {}
        self._start: Start | None = None
        self.worker = worker
        self._n_begun = self._n_waiting = 0
        self._study = open_study(
            space, seed, journal, self._chosen, accept_changes=accept_changes, worker=worker
        )
        self._adopt()

    @property
    def outcomes(self) -> list[Outcome]:
        """What the trials have shown, in the order of their numbers."""
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    @property
    def best(self) -> Outcome | None:
        """The best probe or tuned network on validation."""
        best: Outcome | None = None
        for outcome in self._best.values():
            best = outcome if outcome.beats(best) else best
        return best

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
        if self._n_waiting:
            return Again()
        bar = self._bar(best)
        paused = best_paused(self.outcomes, self.halving, bar, left)
        if self.trials_left == 0:
            self.stopped_by = "trials"
            return paused
        if self._gives_up():
            return None
        starts = self.chooser.starts(self.outcomes, self._seen, bar, left)
        if not starts:
            self.stopped_by = "space" if paused is None else self.stopped_by
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
        return None if limit is None else max(0, limit - self._n_begun)

    def _gives_up(self) -> bool:
        """Say whether nothing is left that could beat the floor."""
        if self.floor is None or self.budget.trials is not None:
            return False
        used = self.budget.elapsed() / self.budget.seconds
        reason = self.chooser.hopeless(self.outcomes, self.floor, used)
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
        known = self._seen.setdefault(candidate.key(), outcome.trial)
        if known != outcome.trial:
            outcome.state, outcome.reason = "pruned", f"the same as trial {known}"
            self._close(outcome)
            return outcome
        try:
            steps, outcome.reason = self.runner.plan(
                candidate, self._left(), first=self.best is None
            )
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
        self._outcomes[outcome.trial] = outcome
        self._keep_if_best(outcome)
        self.records.write(outcome)
        if outcome.state != "paused":
            self.records.drop_states(outcome.trial)
            tell(self._study, outcome)
        self.on_outcome(outcome)

    def _keep_if_best(self, outcome: Outcome) -> None:
        """Keep the tensors of the best probe, of the best tuned network and of paused trials."""
        before = self._best.get(outcome.tuned)
        if outcome.state == "complete" and outcome.beats(before):
            if before is not None:
                self.records.drop_predictor(before)
            self._best[outcome.tuned] = outcome
        elif outcome.state != "paused":
            self.records.drop_predictor(outcome)

    def sync(self, *, paused: bool = False) -> None:
        """Take in what other workers have shown.

        Args:
            paused: Also of trials that were paused, once all workers have ended.
        """
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        self._n_waiting = sum(t.state == TrialState.WAITING for t in trials)
        for frozen in trials:
            if frozen.number in self._outcomes or frozen.state == TrialState.WAITING:
                continue
            candidate = self.space.from_optuna(frozen.params)
            if candidate is None:
                self._take_in_gone(frozen)
                continue
            self._seen.setdefault(candidate.key(), frozen.number)
            if frozen.state.is_finished() or (paused and self._is_paused(frozen.number)):
                self._take_in(self._recorded(frozen.number, candidate, frozen.value))
        own = (t.number for t in trials if t.number in self._outcomes and self._own(t))
        self._n_begun = sum(not self._outcomes[number].lost for number in own)

    def _own(self, frozen: "FrozenTrial") -> bool:
        """Say whether a trial is this worker's; those that wait are anybody's."""
        if self.worker is None or frozen.state.name == "WAITING":
            return True
        return bool(frozen.user_attrs.get("worker") == self.worker)

    def _is_paused(self, number: int) -> bool:
        found = self._record(number)
        return found is not None and found.state == "paused"

    def _record(self, number: int) -> Outcome | None:
        try:
            return self.records.read(number)
        except ModelFormatError:
            return None

    def _take_in_gone(self, frozen: "FrozenTrial") -> None:
        """Keep a row of what has left the space, without letting it decide anything."""
        outcome = self._record(frozen.number) if frozen.state.is_finished() else None
        if outcome is not None:
            outcome.state, outcome.reason = "failed", _GONE
            self._take_in(outcome)

    def _take_in(self, outcome: Outcome) -> None:
        self._outcomes[outcome.trial] = outcome
        key = outcome.candidate.key()
        if outcome.lost and self._seen.get(key) == outcome.trial:
            del self._seen[key]  # to be run again is no repeat
        if self.worker is None:  # a worker speaks of its own trials only
            self.on_outcome(outcome)
        before, usable = self._best.get(outcome.tuned), self.chooser.knows(outcome.candidate)
        if usable and outcome.state == "complete" and outcome.beats(before):
            self._best[outcome.tuned] = outcome

    def _recorded(self, number: int, candidate: Candidate, value: float | None) -> Outcome:
        """Return what a trial has shown; without its record, the little that Optuna knows."""
        try:
            return self.records.read(number)
        except ModelFormatError as error:
            return Outcome(
                trial=number, candidate=candidate, state="failed", reason=str(error), value=value
            )

    def _adopt(self) -> None:
        """Take up what an earlier run left: results, paused trials, and those in flight."""
        from optuna.trial import TrialState

        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._own(frozen):
                self._adopt_one(frozen)
        self.sync()
        if self.worker is None:
            for outcome in self.outcomes:
                if outcome.reason == INTERRUPTED:
                    self._run_again(outcome, REPEATED)

    def _adopt_one(self, frozen: "FrozenTrial") -> None:
        """Take up a trial that an earlier process had begun and not told of."""
        from optuna.trial import TrialState

        candidate, found = self.space.from_optuna(frozen.params), self._record(frozen.number)
        if candidate is None:
            self._study.tell(frozen.number, state=TrialState.FAIL)
        elif found is None:
            lost = Outcome(trial=frozen.number, candidate=candidate, state="failed")
            self._run_again(lost, LOST)
            self._study.tell(frozen.number, state=TrialState.FAIL)
        else:
            self._take_in(found)
            self._seen[candidate.key()] = frozen.number
            if not found.open:  # its end was recorded, but not yet told
                tell(self._study, found)

    def _run_again(self, outcome: Outcome, reason: str) -> None:
        """Let a trial wait to be run once more."""
        again = f"trial {outcome.trial} was {reason.split(';')[0]}"
        self._study.enqueue_trial(
            self.space.to_optuna(outcome.candidate), user_attrs={"why": again}
        )
        outcome.reason = reason
        self.records.write(outcome)
        self._take_in(outcome)


def _fail(outcome: Outcome, error: Exception) -> None:
    outcome.state, outcome.value = "failed", None
    outcome.reason = f"{type(error).__name__}: {error}"
    outcome.traceback = traceback.format_exc()
