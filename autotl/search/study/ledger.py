"""What one process knows of a study's trials, be they its own, other workers' or earlier."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autotl.errors import ModelFormatError
from autotl.search.study.candidate import (
    GIVEN_UP,
    INTERRUPTED,
    LOST,
    REPEATED,
    Candidate,
    Outcome,
)
from autotl.search.study.records import TrialRecords
from autotl.search.study.space import SearchSpace
from autotl.search.study.storage import N_LOST, note, tell

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_KEPT_NETWORKS = 4  # tuned ones, whose weights may be averaged in the end
_MOST_LOST = 2  # times that a candidate's process may end: one accident, then it is the candidate
_GONE = "its backbone or method is no longer in the space"


class Ledger:
    """Keep what trials have shown, and take up what other processes left.

    Args:
        study: The study in Optuna's storage.
        space: All candidates.
        records: What trials have shown, on the disk.
        usable: Says whether a candidate can be used today, as what is best must be.
        on_outcome: Called after each trial.
        worker: Name of the worker that this is; None where there is but one process. It takes up
            what an earlier one of the name left behind, one without a name everything.
    """

    def __init__(
        self,
        study: "optuna.Study",
        space: SearchSpace,
        records: TrialRecords,
        *,
        usable: Callable[[Candidate], bool],
        on_outcome: Callable[[Outcome], None],
        worker: str | None = None,
    ) -> None:
        self._study, self._space, self._records = study, space, records
        self._usable, self._on_outcome, self._worker = usable, on_outcome, worker
        self._outcomes: dict[int, Outcome] = {}
        self._in_order: list[Outcome] = []
        self._kept: dict[str, list[Outcome]] = {}
        self.seen: dict[tuple[Any, ...], int] = {}
        """The trial that tried a candidate first, by the candidate's key."""
        self.n_begun = self.n_waiting = 0
        """Trials that this process has begun, and those that wait to be run again."""
        self._adopt()

    @property
    def outcomes(self) -> list[Outcome]:
        """What the trials have shown, in the order of their numbers."""
        if not self._in_order:
            self._in_order = [self._outcomes[number] for number in sorted(self._outcomes)]
        return self._in_order

    def _put(self, outcome: Outcome) -> None:
        self._outcomes[outcome.trial] = outcome
        self._in_order = []

    @property
    def best(self) -> Outcome | None:
        """The best probe or tuned network on validation."""
        best: Outcome | None = None
        for kept in self._kept.values():
            best = kept[0] if kept[0].beats(best) else best
        return best

    def reopen(self, outcome: Outcome) -> None:
        """Note that a paused trial runs, for those who find it should this process end."""
        outcome.state = "running"
        self._records.write(outcome)

    def close(self, outcome: Outcome) -> None:
        """Keep what a trial has shown that ended or was paused, and tell the study."""
        self._put(outcome)
        self._keep_if_best(outcome)
        self._records.write(outcome)
        if outcome.state != "paused":
            self._records.drop_states(outcome.trial)
            tell(self._study, outcome)
        self._on_outcome(outcome)

    def sync(self, *, paused: bool = False) -> None:
        """Take in what other workers have shown.

        Args:
            paused: Also of trials that were paused, once all workers have ended.
        """
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        self.n_waiting = sum(t.state == TrialState.WAITING for t in trials)
        for frozen in trials:
            if frozen.number in self._outcomes or frozen.state == TrialState.WAITING:
                continue
            candidate = self._space.from_optuna(frozen.params)
            if candidate is None:
                self._take_in_gone(frozen)
                continue
            self.seen.setdefault(candidate.key(), frozen.number)
            if frozen.state.is_finished():
                self._take_in(self._recorded(frozen.number, candidate, frozen.value))
            elif paused:
                self._take_in_paused(frozen.number)
        own = (t.number for t in trials if t.number in self._outcomes and self._own(t))
        self.n_begun = sum(not self._outcomes[number].lost for number in own)

    def _keep_if_best(self, outcome: Outcome) -> None:
        """Keep the tensors of the best tuned networks, and of each backbone's best probe."""
        if outcome.state == "complete":
            for beaten in self._beaten_by(outcome):
                self._records.drop_predictor(beaten)
        elif outcome.state != "paused":
            self._records.drop_predictor(outcome)

    def _beaten_by(self, outcome: Outcome) -> list[Outcome]:
        """Rank a complete trial among those that are kept; returns those that are no more."""
        if outcome.value is None:
            return [outcome]
        kept = self._kept.setdefault("" if outcome.tuned else outcome.candidate.backbone, [])
        kept.append(outcome)
        kept.sort(key=lambda o: (-(o.value or 0.0), o.log_loss))
        most = _KEPT_NETWORKS if outcome.tuned else 1
        beaten = kept[most:]
        del kept[most:]
        return beaten

    def _own(self, frozen: "FrozenTrial") -> bool:
        """Say whether a trial is this worker's; those that wait are anybody's."""
        if self._worker is None or frozen.state.name == "WAITING":
            return True
        return bool(frozen.user_attrs.get("worker") == self._worker)

    def _record(self, number: int) -> Outcome | None:
        try:
            return self._records.read(number)
        except ModelFormatError:
            return None

    def _recorded(self, number: int, candidate: Candidate, value: float | None) -> Outcome:
        """Return what a trial has shown; without its record, the little that Optuna knows."""
        try:
            return self._records.read(number)
        except ModelFormatError as error:
            return Outcome(
                trial=number, candidate=candidate, state="failed", reason=str(error), value=value
            )

    def _take_in(self, outcome: Outcome) -> None:
        self._put(outcome)
        key = outcome.candidate.key()
        if outcome.lost and self.seen.get(key) == outcome.trial:
            del self.seen[key]  # to be run again is no repeat
        if self._worker is None:  # a worker speaks of its own trials only
            self._on_outcome(outcome)
        if self._usable(outcome.candidate) and outcome.state == "complete":
            self._beaten_by(outcome)  # whose tensors are for the process that ran them to drop

    def _take_in_paused(self, number: int) -> None:
        """Take in a trial that was paused, also where its process ended while it went on."""
        found = self._record(number)
        if found is not None and found.open:
            found.state = "paused"
            self._take_in(found)

    def _take_in_gone(self, frozen: "FrozenTrial") -> None:
        """Keep a row of what has left the space, without letting it decide anything."""
        outcome = self._record(frozen.number) if frozen.state.is_finished() else None
        if outcome is not None:
            outcome.state, outcome.reason = "failed", _GONE
            self._take_in(outcome)

    def _adopt(self) -> None:
        """Take up what an earlier run left: results, paused trials, and those in flight."""
        from optuna.trial import TrialState

        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._own(frozen):
                self._adopt_one(frozen)
        self.sync()
        if self._worker is None:
            for outcome in self.outcomes:
                if outcome.reason == INTERRUPTED:
                    self._run_again(outcome, REPEATED)

    def _adopt_one(self, frozen: "FrozenTrial") -> None:
        """Take up a trial that an earlier process had begun and not told of."""
        from optuna.trial import TrialState

        candidate, found = self._space.from_optuna(frozen.params), self._record(frozen.number)
        if candidate is None:
            self._study.tell(frozen.number, state=TrialState.FAIL)
            return
        self.seen[candidate.key()] = frozen.number
        if found is None or found.state == "running":
            self._adopt_lost(frozen, candidate, found)
            return
        self._take_in(found)
        if not found.open:  # its end was recorded, but not yet told
            tell(self._study, found)

    def _adopt_lost(
        self, frozen: "FrozenTrial", candidate: Candidate, before: Outcome | None
    ) -> None:
        """Take up a trial whose process ended while it ran; the second time, give it up.

        Args:
            frozen: The trial.
            candidate: What it tries.
            before: What it had shown when it was paused; None where it never was.
        """
        from optuna.trial import TrialState

        n_lost = frozen.user_attrs.get(N_LOST, 0) + 1
        outcome = before or Outcome(trial=frozen.number, candidate=candidate, state="failed")
        if n_lost >= _MOST_LOST:
            outcome.state, outcome.reason = "failed", GIVEN_UP
            self._take_in(outcome)
            self._records.drop_predictor(outcome)
            self._records.write(outcome)
            self._records.drop_states(outcome.trial)
            tell(self._study, outcome)
        elif before is None:
            self._run_again(outcome, LOST, n_lost)
            self._study.tell(frozen.number, state=TrialState.FAIL)
        else:
            note(self._study, frozen.number, N_LOST, n_lost)
            before.state = "paused"
            self._records.write(before)
            self._take_in(before)

    def _run_again(self, outcome: Outcome, reason: str, n_lost: int = 0) -> None:
        """Let a trial wait to be run once more."""
        again = f"trial {outcome.trial} was {reason.split(';')[0]}"
        self._study.enqueue_trial(
            self._space.to_optuna(outcome.candidate), user_attrs={"why": again, N_LOST: n_lost}
        )
        outcome.reason = reason
        self._records.write(outcome)
        self._take_in(outcome)
