"""How long a candidate may run in the time that is left."""

from collections.abc import Mapping

import numpy as np

from autotl.data import Task
from autotl.features import CostModel, freeze_depth, planned_steps
from autotl.ranking import Screened
from autotl.search.budget import Budget
from autotl.search.study.candidate import Candidate
from autotl.specs import AdaptationSpec

_TRIAL_SHARE = 0.8  # of the time left, at most, for one tuned trial and its refit
_LEAST_EPOCHS = 4
_PROFILE_SECONDS = 2.0  # for the profile of one backbone, and at most
_PROFILE_SHARE = 0.01  # of the budget
_PROFILE_BATCH = 16
_TIMING_SHARE, _LATE_SHARE = 0.05, 0.2  # of the budget: for timing in doubt, and when it is late
_UNIT_PARAMS = 5e6  # parameters whose embedding counts as much as everything else of a probe


class Planner:
    """What candidates cost on this machine, and what of it fits.

    Args:
        task: The task.
        screened: Usable backbones by name.
        budget: The clock; where trials replace it, everything fits.
    """

    def __init__(self, task: Task, screened: Mapping[str, Screened], budget: Budget) -> None:
        self._task, self._screened, self._budget = task, screened, budget
        self._costs = {name: CostModel(s.session) for name, s in screened.items()}
        self._untimable: set[str] = set()
        self._solved: dict[str, dict[str, float]] = {}
        self._timing = 0.0
        folds = task.split.folds
        self._fold_sizes = sum(len(f.train) for f in folds), sum(len(f.validation) for f in folds)

    def plan(
        self, spec: AdaptationSpec, candidate: Candidate, left: float, *, first: bool
    ) -> tuple[int, str]:
        """Return the steps to lay a schedule out for, or 0 and why.

        Args:
            spec: The candidate's method.
            candidate: Its backbone is timed where it is to be tuned and was not yet.
            left: Seconds that trials may still take.
            first: Whether no model has been found yet.
        """
        wanted, name = spec.max_steps(candidate.params), candidate.backbone
        if not self._budget.timed:
            return wanted, ""
        if spec.trains_backbone:
            self.profile(name)
            n_steps = self.steps_that_fit(spec, candidate, left)
            epoch = self._epoch(spec, candidate)
            words = f"does not fit: about {epoch:.1f} s an epoch, {left:.0f} s left"
            return n_steps, "" if n_steps else words
        missing = self._missing(name, spec)
        # A first model must also get through the holdout; later ones are held to the reserve.
        unseen = self._screened[name].session.missing(self._task.split.holdout) if first else 0
        need = self._probe_seconds(name, spec, missing + unseen)
        if need > left:
            words = f"not reached in time; about {need:.0f} s to embed and solve"
            return 0, words + self._seen(name)
        return wanted, ""

    def cost(
        self, spec: AdaptationSpec, candidate: Candidate, left: float, *, may_time: bool = True
    ) -> float | None:
        """Return what a candidate costs, None where it does not fit into `left` seconds.

        Seconds; where trials replace the clock, a rough number that depends on nothing measured.

        Args:
            spec: The candidate's method.
            candidate: What is to be tried.
            left: Seconds that trials may still take.
            may_time: Whether its backbone may be timed where a guess says that it does not fit.
        """
        name = candidate.backbone
        if not self._budget.timed:
            params = self._screened[name].session.spec.n_params or _UNIT_PARAMS
            tuned = spec.max_steps(candidate.params) if spec.trains_backbone else 0
            passes = 1 + tuned + spec.reads_layers
            return passes * (1 + params / _UNIT_PARAMS)
        n_steps = self.steps_that_fit(spec, candidate, left)
        if n_steps == 0 and spec.trains_backbone and may_time and self._timed_now(name, left):
            n_steps = self.steps_that_fit(spec, candidate, left)
        if n_steps == 0:
            return None
        costs = self._costs[name]
        if not spec.trains_backbone:
            return self._probe_seconds(name, spec, self._missing(name, spec))
        rows, depth = self._rows(spec), self._depth(spec, candidate)
        strength = float(candidate.params.get("augment", 0.0))
        once = costs.extraction(depth, rows, strength)
        once += self._profile_seconds if costs.profile is None else 0.0
        return once + n_steps * self._epoch(spec, candidate)

    def steps_that_fit(self, spec: AdaptationSpec, candidate: Candidate, left: float) -> int:
        """Return how many steps to lay the schedule out for; 0 when it is not worth starting."""
        wanted, costs = spec.max_steps(candidate.params), self._costs[candidate.backbone]
        if not self._budget.timed:
            return wanted
        if not spec.trains_backbone:
            missing = self._missing(candidate.backbone, spec)
            need = self._probe_seconds(candidate.backbone, spec, missing)
            return wanted if need <= left else 0
        rows, depth = self._task.split.train_validation, self._depth(spec, candidate)
        strength = float(candidate.params.get("augment", 0.0))
        seconds = _TRIAL_SHARE * left - costs.extraction(depth, self._rows(spec), strength)
        # Refitting on train and validation costs about one more run of a single fold.
        share = 1 + len(rows) / self._fold_sizes[0]
        n_steps = planned_steps(wanted, self._epoch(spec, candidate) * share, seconds)
        return n_steps if n_steps >= min(_LEAST_EPOCHS, wanted) else 0

    def _epoch(self, spec: AdaptationSpec, candidate: Candidate) -> float:
        """Return the seconds of one step over all folds, validation included."""
        costs, depth = self._costs[candidate.backbone], self._depth(spec, candidate)
        return costs.epoch(depth, *self._sizes(spec))

    def _sizes(self, spec: AdaptationSpec) -> tuple[int, int]:
        """Return how many samples a step trains on and validates on, over all folds."""
        task, n_unlabeled = self._task, len(self._task.split.unlabeled)
        n_source = sum(len(source.learnt) for source in task.sources if source.weight > 0)
        trained = [
            spec.epoch_samples(len(fold.train), n_unlabeled, n_source) for fold in task.split.folds
        ]
        return sum(trained), self._fold_sizes[1]

    def _timed_now(self, backbone: str, left: float) -> bool:
        """Time a backbone that was not: a guess alone does not keep it from being tuned."""
        if self._costs[backbone].profile is not None or backbone in self._untimable:
            return False
        late = left < _LATE_SHARE * self._budget.seconds
        if late or self._timing > _TIMING_SHARE * self._budget.seconds:
            return False
        began = self._budget.elapsed()
        try:
            self.profile(backbone)
        except Exception:  # noqa: BLE001  # networks are plugin code; the guess stands
            self._untimable.add(backbone)
            return False
        finally:
            self._timing += self._budget.elapsed() - began
            self._screened[backbone].session.release()
        return True

    def profile(self, backbone: str) -> None:
        """Time the layers of a backbone that is about to be tuned, once."""
        if self._budget.timed:
            seconds = self._profile_seconds
            self._costs[backbone].measure(batch_size=_PROFILE_BATCH, seconds=seconds)

    @property
    def _profile_seconds(self) -> float:
        return min(_PROFILE_SECONDS, _PROFILE_SHARE * self._budget.seconds)

    def learn_probe(self, candidate: Candidate, seconds: float) -> None:
        """Take in how long a method on frozen features took to solve."""
        self._solved.setdefault(candidate.adaptation, {})[candidate.backbone] = seconds

    def learn_epoch(self, spec: AdaptationSpec, candidate: Candidate, seconds: float) -> None:
        """Take in how long an epoch over all folds took."""
        depth = self._depth(spec, candidate)
        self._costs[candidate.backbone].observe(depth, seconds, *self._sizes(spec))

    def _seen(self, backbone: str) -> str:
        evidence, expectation = (
            self._screened[backbone].evidence,
            self._screened[backbone].expectation,
        )
        if evidence is None or expectation is None:
            return ""
        return f"; {expectation.expected:.3f} accuracy expected after {evidence.n_samples} samples"

    def _probe_seconds(self, backbone: str, spec: AdaptationSpec, n_missing: int) -> float:
        """Return what a method on frozen features takes: embedding, and solving as seen before."""
        known = self._solved.get(spec.name, {})
        solving = known.get(backbone) or (sum(known.values()) / len(known) if known else None)
        return self._costs[backbone].probe(n_missing, solving)

    def _missing(self, backbone: str, spec: AdaptationSpec) -> int:
        """Count the samples that a probe has yet to embed; twice those it reads all layers of."""
        session, rows = self._screened[backbone].session, self._rows(spec)
        layers = session.layers_missing(rows) if spec.reads_layers else 0
        return session.missing(rows) + layers

    def _rows(self, spec: AdaptationSpec) -> np.ndarray:
        """Return the samples that a method reads."""
        split, parts = self._task.split, []
        if spec.needs:
            parts = [s.rows[s.learnt] for s in self._task.sources if s.weight > 0]
            parts.append(split.unlabeled)
        return np.concatenate([split.train_validation, *parts])

    def _depth(self, spec: AdaptationSpec, candidate: Candidate) -> int:
        n_groups = self._screened[candidate.backbone].session.n_groups
        return freeze_depth(candidate.freeze_fraction(spec), n_groups)
