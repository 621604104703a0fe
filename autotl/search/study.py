"""The Optuna study: what is tried, in which order, and when a trial stops."""

import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.data import Task
from autotl.ranking import Screened
from autotl.result.intervals import QUICK_REPETITIONS, paired_gap
from autotl.search.budget import Budget, OutOfTime
from autotl.search.candidate import Candidate, Outcome
from autotl.search.evaluate import Evaluation
from autotl.search.floor import class_weights, validation_rows
from autotl.search.planner import Planner
from autotl.search.space import SearchSpace
from autotl.specs import AdaptationSpec

if TYPE_CHECKING:
    import optuna

ONE_STANDARD_ERROR = 0.683  # two-sided level of an interval of one standard error
_MOST_WASTED = 50  # proposals in a row that repeat or do not fit: nothing is left to try
_TUNED_BACKBONES = 3
_HELD_BYTES = 2**30  # of networks and prepared inputs between trials


class Study:
    """Try candidates until the budget, the trials or the space end.

    Args:
        task: The task.
        screened: Usable backbones, most promising first.
        adaptations: Admitted methods.
        budget: The clock.
        seed: Of sampler and trials.
        reserve: Returns the seconds to keep for finishing, given the best outcome so far.
        on_outcome: Called after each trial.
        journal: File of the study's journal; None keeps it in memory.
    """

    def __init__(  # noqa: PLR0913  # what the engine hands over
        self,
        task: Task,
        screened: Sequence[Screened],
        adaptations: Sequence[AdaptationSpec],
        *,
        budget: Budget,
        seed: int,
        reserve: Callable[[Outcome | None], float],
        on_outcome: Callable[[Outcome], None],
        journal: Path | None = None,
    ) -> None:
        self.task, self.budget, self.seed = task, budget, seed
        self.screened = {s.name: s for s in screened}
        self.space = SearchSpace([s.name for s in screened], adaptations)
        self.reserve, self.on_outcome = reserve, on_outcome
        self._planner = Planner(task, self.screened, budget)
        self.outcomes: list[Outcome] = []
        self._best: dict[bool, Outcome] = {}
        self.best: Outcome | None = None
        self.stopped_by = "budget"
        self._weights = class_weights(task)
        self._seen: dict[tuple[Any, ...], int] = {}
        self._loaded: list[str] = []
        self._rng = np.random.default_rng(seed)
        self._study = _create_study(self.space, seed, journal)

    def run(self) -> None:
        """Run the default probes, then the tuned methods' defaults, then what the sampler says."""
        queue = deque(self._first_probes())
        portfolio_queued, wasted = False, 0
        try:
            while not self._exhausted():
                if not queue and not portfolio_queued:
                    queue.extend(self._portfolio())
                    portfolio_queued = True
                if not queue:
                    # The sampler knows neither cost nor repeats: after a proposal that could
                    # not be run, the next one starts from a pair that can.
                    open_pairs = self._open_pairs()
                    if not open_pairs or wasted > _MOST_WASTED:
                        self.stopped_by = "space"
                        return
                    if wasted:
                        self._enqueue_pair(open_pairs)
                outcome = self._trial(queue.popleft() if queue else None)
                wasted = 0 if outcome.ran else wasted + 1
        except KeyboardInterrupt:
            self.stopped_by = "interrupt"

    def _open_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of backbone and method that still fit the time and are not used up."""
        left = self.budget.left() - self.reserve(self.best)
        pairs = []
        for backbone in self.space.backbones:
            for spec in self.space.adaptations.values():
                if not self._unseen(backbone, spec):
                    continue
                deepest = self.space.deepest(backbone, spec.name)
                if self._planner.steps_that_fit(spec, deepest, left) > 0:
                    pairs.append((backbone, spec.name))
        return pairs

    def _unseen(self, backbone: str, spec: AdaptationSpec) -> list[Candidate]:
        """Return what is left of a method's choices; ranges never run out."""
        grid = self.space.grid(backbone, spec.name)
        return [c for c in grid if not self.space.discrete(spec.name) or c.key() not in self._seen]

    def _enqueue_pair(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Fix the next trial's pair, better backbones more often; the sampler does the rest."""
        best: dict[str, float] = {}
        for outcome in self.outcomes:
            name, value = outcome.candidate.backbone, outcome.value
            if value is not None:
                best[name] = max(value, best.get(name, value))
        ranked = sorted(pairs, key=lambda pair: -best.get(pair[0], float("-inf")))
        weights = 0.8 ** np.arange(len(ranked))
        backbone, adaptation = ranked[self._rng.choice(len(ranked), p=weights / weights.sum())]
        if self.space.discrete(adaptation):
            candidate = self._unseen(backbone, self.space.adaptations[adaptation])[0]
            self._study.enqueue_trial(self.space.to_optuna(candidate))
        else:
            self._study.enqueue_trial({"backbone": backbone, "adaptation": adaptation})

    def _exhausted(self) -> bool:
        if self.budget.timed:
            return self.budget.left() <= self.reserve(self.best)
        if sum(outcome.ran for outcome in self.outcomes) >= (self.budget.trials or 0):
            self.stopped_by = "trials"
            return True
        return False

    def _first_probes(self) -> list[Candidate]:
        """Return every method that leaves the backbone alone, on every backbone."""
        cheap = [a.name for a in self.space.adaptations.values() if not a.trains_backbone]
        return [self.space.default(b, a) for b in self.space.backbones for a in cheap]

    def _portfolio(self) -> list[Candidate]:
        """Return the tuned methods' defaults on the best backbones, and variants of the probe."""
        ranked: list[str] = []
        for outcome in sorted(self.outcomes, key=_by_value):
            if outcome.value is not None and outcome.candidate.backbone not in ranked:
                ranked.append(outcome.candidate.backbone)
        ranked = ranked or self.space.backbones
        variants = [
            candidate
            for b in ranked[:_TUNED_BACKBONES]
            for spec in self.space.adaptations.values()
            if not spec.trains_backbone
            for candidate in self._unseen(b, spec)
        ]
        return variants + self._tuned_defaults(ranked)

    def _tuned_defaults(self, ranked: Sequence[str]) -> list[Candidate]:
        """Return the tuned methods' defaults on the first few backbones where they fit."""
        methods = [spec for spec in self.space.adaptations.values() if spec.trains_backbone]
        found: list[Candidate] = []
        for backbone in ranked if methods else ():
            if len(found) >= _TUNED_BACKBONES * len(methods):
                break
            if not self._fitting_defaults(backbone, methods):
                continue  # by a guess that is on the safe side
            try:
                self._planner.profile(backbone)
                found += self._fitting_defaults(backbone, methods)
            except Exception:  # noqa: BLE001  # backbones are plugin code; its probe stands
                continue
            finally:
                self._release(backbone)
        return found

    def _fitting_defaults(
        self, backbone: str, methods: Sequence[AdaptationSpec]
    ) -> list[Candidate]:
        left = self.budget.left() - self.reserve(self.best)
        defaults = [self.space.default(backbone, spec.name) for spec in methods]
        return [
            candidate
            for spec, candidate in zip(methods, defaults, strict=True)
            if self._planner.steps_that_fit(spec, candidate, left)
        ]

    def _trial(self, queued: Candidate | None) -> Outcome:
        if queued is not None:
            self._study.enqueue_trial(self.space.to_optuna(queued))
        trial = self._study.ask()
        candidate = self.space.suggest(trial)
        outcome = Outcome(trial=trial.number, candidate=candidate, state="complete")
        try:
            self._run_trial(trial, outcome)
        except KeyboardInterrupt:
            outcome.state = "complete" if outcome.value is not None else "failed"
            outcome.reason = "interrupted"
            raise
        except Exception as error:  # noqa: BLE001  # methods and backbones are plugin code
            outcome.state, outcome.value = "failed", None
            outcome.reason = f"{type(error).__name__}: {error}"
            trial.set_user_attr("traceback", traceback.format_exc())
        finally:
            self._close(trial, outcome)
        return outcome

    def _run_trial(self, trial: "optuna.trial.Trial", outcome: Outcome) -> None:
        candidate = outcome.candidate
        known = self._seen.setdefault(candidate.key(), outcome.trial)
        if known != outcome.trial:
            outcome.state, outcome.reason = "pruned", f"the same as trial {known}"
            return
        spec = self.space.adaptations[candidate.adaptation]
        left = self.budget.left() - self.reserve(self.best)
        n_steps, outcome.reason = self._planner.plan(
            spec, candidate, left, first=self.best is None
        )
        if n_steps == 0:
            outcome.state = "pruned"
            return
        session = self.screened[candidate.backbone].session
        evaluation = Evaluation(
            outcome, spec, session, self.task, self._weights, self.seed * 10_007 + trial.number
        )
        # A probe may use what the screening left; a tuned trial stops when finishing must start.
        until = self.budget.seconds - self.reserve(self.best)
        try:
            with self.budget.stage(until):
                evaluation.run(n_steps, self._reporter(trial, spec, candidate, n_steps))
        except OutOfTime:
            outcome.state, outcome.reason = "pruned", "the budget ended"
        finally:
            self._release(candidate.backbone)
        if not spec.trains_backbone:
            self._planner.learn_probe(candidate, outcome.seconds - outcome.embed_seconds)

    def _release(self, latest: str) -> None:
        """Drop the networks that were not used for longest, until the others are small enough."""
        if latest in self._loaded:
            self._loaded.remove(latest)
        self._loaded.append(latest)
        sessions = [self.screened[name].session for name in self._loaded]
        while len(sessions) > 1 and sum(s.held_bytes for s in sessions) > _HELD_BYTES:
            sessions.pop(0).release()
            self._loaded.pop(0)

    def _reporter(
        self,
        trial: "optuna.trial.Trial",
        spec: AdaptationSpec,
        candidate: Candidate,
        n_steps: int,
    ) -> Callable[[int, float, float], str | None]:
        def report(step: int, value: float, seconds: float) -> str | None:
            if not spec.trains_backbone:
                return None  # solved, not trained: a path of strengths is not a learning curve
            if step > 1 or n_steps == 1:  # the first step also copies and initialises
                self._planner.learn_epoch(spec, candidate, seconds)
            trial.report(value, step)
            if trial.should_prune():
                return f"successive halving after {step} {spec.resource} steps"
            return None

        return report

    def _close(self, trial: "optuna.trial.Trial", outcome: Outcome) -> None:
        """Tell the study and remember the outcome."""
        from optuna.trial import TrialState

        outcome.finished_at = self.budget.elapsed()
        states = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        # In one piece: a journal writes every attribute to the disk by itself.
        kept = ("reason", "seconds", "steps", "freeze_depth")
        trial.set_user_attr("outcome", {key: getattr(outcome, key) for key in kept})
        state = states[outcome.state]
        self._study.tell(trial, outcome.value if outcome.state == "complete" else None, state)
        self.outcomes.append(outcome)
        self._keep_if_best(outcome)
        self.on_outcome(outcome)

    def _keep_if_best(self, outcome: Outcome) -> None:
        """Keep the tensors of the best probe and of the best tuned network only."""
        tuned = self.space.adaptations[outcome.candidate.adaptation].trains_backbone
        before = self._best.get(tuned)
        if outcome.state == "complete" and outcome.beats(before):
            if before is not None:
                before.saved = None
            self._best[tuned] = outcome
            self.best = self._finalist()
        else:
            outcome.saved = None

    def _finalist(self) -> Outcome | None:
        """Return the best probe, unless a tuned network is clearly better on validation.

        Clearly is more than one standard error of the paired difference: of many noisy trials the
        luckiest leads by about that much, and the probe is the simpler model.

        References:
            Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984, 3.4.3
            (the one-standard-error rule).
        """
        probe, tuned = self._best.get(False), self._best.get(True)
        if probe is None or tuned is None:
            return probe or tuned
        if tuned.proba is None or probe.proba is None or not tuned.beats(probe):
            return probe
        rows = validation_rows(self.task)
        metric, groups = self.task.metric, self.task.groups[rows]
        lead = paired_gap(
            metric.kind,
            metric,
            self.task.y[rows],
            tuned.proba,
            probe.proba,
            groups=groups,
            confidence=ONE_STANDARD_ERROR,
            repetitions=QUICK_REPETITIONS,
        )
        return tuned if lead.low > 0 else probe


def _by_value(outcome: Outcome) -> float:
    return -(outcome.value if outcome.value is not None else -np.inf)


def _create_study(space: SearchSpace, seed: int, journal: Path | None) -> "optuna.Study":
    """Create the study in memory or on a journal, with autotl's sampler and pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: Any = None
    if journal is not None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        storage = JournalStorage(JournalFileBackend(str(journal)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed)
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)
    study = optuna.create_study(
        study_name="autotl", direction="maximize", storage=storage, sampler=sampler, pruner=pruner
    )
    study.set_user_attr("space", space.fingerprint())
    return study
