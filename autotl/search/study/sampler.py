"""An Optuna sampler that draws on what is known of backbones and methods.

Loaded by the study when it is created, since it loads Optuna.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from autotl.search.study.chooser import Start
from autotl.search.study.space import SearchSpace

_KEPT = 0.5  # chance of a parameter to stay as it was in what did best


class TransferSampler(optuna.samplers.BaseSampler):
    """Choose backbone and method by the posterior, and all other parameters around what did best.

    Each of these stays as it was there, or is drawn by TPE: of a dozen parameters that are all
    drawn anew, some are bound to be bad, and the few trials of a search cannot tell which.

    Args:
        choose: Returns what the next trial should be, or None to leave all to TPE.
        space: What there is to choose from.
        seed: Of everything random.
    """

    def __init__(self, choose: Callable[[], Start | None], space: SearchSpace, seed: int) -> None:
        self._choose, self._space = choose, space
        self._chosen: dict[int, Start] = {}
        self._kept: dict[str, Any] = {}
        self._tpe = optuna.samplers.TPESampler(seed=seed, multivariate=False)
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is chosen together: backbone and method, and parameters that are fixed."""
        start = self._choose()
        if start is None:
            return {}
        self._chosen, self._kept = {trial.number: start}, self._what_stays(start)
        return self._space.distributions(start.candidate)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what promises most for its cost."""
        start = self._chosen.get(trial.number)
        if start is None:
            return {}
        if start.candidate is not None:
            return self._space.to_optuna(start.candidate)
        return dict(zip(("backbone", "adaptation"), start.pair, strict=True))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a value of any other parameter; no more layers are trained than fit the time."""
        start = self._chosen.get(trial.number)
        if start is not None and param_name in self._kept:
            value = self._kept[param_name]
        else:
            value = self._tpe.sample_independent(study, trial, param_name, param_distribution)
        if start is not None and param_name == self._space.key(start.pair[1], "freeze_fraction"):
            return max(value, start.least_frozen)
        return value

    def _what_stays(self, start: Start) -> dict[str, Any]:
        """Return the parameters that are not drawn; of the ranges, one always is."""
        if start.near is None:
            return {}
        found = self._space.to_optuna(start.near)
        names = sorted(set(found) - {"backbone", "adaptation"})
        staying = {name for name in names if self._rng.random() < _KEPT}
        ranges = [n for n in names if self._space.is_range(start.pair[1], n)]
        if ranges:
            staying.discard(str(self._rng.choice(ranges)))
        return {name: found[name] for name in staying}

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Let TPE learn of a finished trial."""
        self._tpe.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Draw differently from other workers."""
        self._tpe.reseed_rng()
        self._rng = np.random.default_rng()
