"""An Optuna sampler that draws on what is known of backbones and methods.

Loaded by the study when it is created, since it loads Optuna.
"""

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from autotl.search.study.chooser import Start
from autotl.search.study.space import SearchSpace


class TransferSampler(optuna.samplers.BaseSampler):
    """Choose backbone and method by the posterior, and all other parameters by TPE.

    Args:
        choose: Returns what the next trial should be, or None to leave all to TPE.
        space: What there is to choose from.
        seed: Of everything random.
    """

    def __init__(self, choose: Callable[[], Start | None], space: SearchSpace, seed: int) -> None:
        self._choose, self._space = choose, space
        self._chosen: dict[int, Start] = {}
        self._tpe = optuna.samplers.TPESampler(seed=seed, multivariate=False)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is chosen together: backbone and method, and parameters that are fixed."""
        start = self._choose()
        if start is None:
            return {}
        self._chosen = {trial.number: start}
        fixed = start.candidate is not None
        return self._space.distributions(start.pair[1] if fixed else None)

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
        value = self._tpe.sample_independent(study, trial, param_name, param_distribution)
        start = self._chosen.get(trial.number)
        if start is not None and param_name == self._space.key(start.pair[1], "freeze_fraction"):
            return max(value, start.least_frozen)
        return value

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
