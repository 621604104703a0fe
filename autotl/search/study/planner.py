"""How long a candidate may run in the time that is left."""

from collections.abc import Mapping

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
            epoch = self._costs[name].epoch(self._depth(spec, candidate), *self._fold_sizes)
            words = f"does not fit: about {epoch:.1f} s an epoch, {left:.0f} s left"
            return n_steps, "" if n_steps else words
        missing = self._missing(name)
        # A first model must also get through the holdout; later ones are held to the reserve.
        unseen = self._screened[name].session.missing(self._task.split.holdout) if first else 0
        need = self._costs[name].probe(missing + unseen)
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
            return (1 + tuned) * (1 + params / _UNIT_PARAMS)
        n_steps = self.steps_that_fit(spec, candidate, left)
        if n_steps == 0 and spec.trains_backbone and may_time and self._timed_now(name, left):
            n_steps = self.steps_that_fit(spec, candidate, left)
        if n_steps == 0:
            return None
        costs = self._costs[name]
        if not spec.trains_backbone:
            return costs.probe(self._missing(name))
        rows, depth = self._task.split.train_validation, self._depth(spec, candidate)
        strength = float(candidate.params.get("augment", 0.0))
        once = costs.extraction(depth, rows, strength)
        once += self._profile_seconds if costs.profile is None else 0.0
        return once + n_steps * costs.epoch(depth, *self._fold_sizes)

    def steps_that_fit(self, spec: AdaptationSpec, candidate: Candidate, left: float) -> int:
        """Return how many steps to lay the schedule out for; 0 when it is not worth starting."""
        wanted, costs = spec.max_steps(candidate.params), self._costs[candidate.backbone]
        if not self._budget.timed:
            return wanted
        if not spec.trains_backbone:
            return wanted if costs.probe(self._missing(candidate.backbone)) <= left else 0
        rows, depth = self._task.split.train_validation, self._depth(spec, candidate)
        strength = float(candidate.params.get("augment", 0.0))
        seconds = _TRIAL_SHARE * left - costs.extraction(depth, rows, strength)
        # Refitting on train and validation costs about one more run of a single fold.
        share = 1 + len(rows) / self._fold_sizes[0]
        n_steps = planned_steps(wanted, costs.epoch(depth, *self._fold_sizes) * share, seconds)
        return n_steps if n_steps >= min(_LEAST_EPOCHS, wanted) else 0

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
        """Take in how long a probe took to solve."""
        self._costs[candidate.backbone].probe_seconds = seconds

    def learn_epoch(self, spec: AdaptationSpec, candidate: Candidate, seconds: float) -> None:
        """Take in how long an epoch over all folds took."""
        depth = self._depth(spec, candidate)
        self._costs[candidate.backbone].observe(depth, seconds, *self._fold_sizes)

    def _seen(self, backbone: str) -> str:
        evidence, expectation = (
            self._screened[backbone].evidence,
            self._screened[backbone].expectation,
        )
        if evidence is None or expectation is None:
            return ""
        return f"; {expectation.expected:.3f} accuracy expected after {evidence.n_samples} samples"

    def _missing(self, backbone: str) -> int:
        return self._screened[backbone].session.missing(self._task.split.train_validation)

    def _depth(self, spec: AdaptationSpec, candidate: Candidate) -> int:
        n_groups = self._screened[candidate.backbone].session.n_groups
        return freeze_depth(candidate.freeze_fraction(spec), n_groups)
