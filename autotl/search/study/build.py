"""Put the parts of a study together, alike in the main process and in workers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from autotl.data import Task
from autotl.features import ActivationStore, Caching
from autotl.ranking import Screened
from autotl.search.budget import Budget
from autotl.search.floor.measurement import class_weights
from autotl.search.study.candidate import Outcome
from autotl.search.study.chooser import Chooser
from autotl.search.study.guarding import FloorGuard
from autotl.search.study.halving import CostHalving
from autotl.search.study.methods import default_methods
from autotl.search.study.planner import Planner
from autotl.search.study.portfolio import Portfolio, Remembered
from autotl.search.study.posterior import Scale
from autotl.search.study.records import TrialRecords
from autotl.search.study.runner import CandidateRunner
from autotl.search.study.space import SearchSpace, expected_fractions
from autotl.search.study.study import Study
from autotl.specs import AdaptationSpec

_FIRST_RUNG_SHARE = 1 / 54  # of the budget: the third rung is half of it
_OTHER_METRIC_SPREAD = 2.0  # of a task's level around the accuracy that the ranking expects
_FIRST_RUNG_STEPS = 3.0  # where trials replace the clock


def build_study(  # noqa: PLR0913  # what a search hands over
    task: Task,
    screened: Sequence[Screened],
    adaptations: Sequence[AdaptationSpec],
    *,
    listed: Sequence[str],
    budget: Budget,
    seed: int,
    floor: float | None,
    floor_proba: np.ndarray | None,
    reserve: Callable[[Outcome | None], float],
    on_outcome: Callable[[Outcome], None],
    folder: Path | None,
    remembered: Sequence[Remembered] = (),
    worker: str | None = None,
    accept_changes: bool = False,
) -> Study:
    """Return a study of a task on screened backbones.

    Args:
        task: The task.
        screened: Usable backbones, most promising first.
        adaptations: Admitted methods.
        listed: Names of all backbones that the search began with: its space.
        budget: The clock.
        seed: Of the sampler and the trials.
        floor: The floor's validation value, None where nothing could be measured.
        floor_proba: Its probabilities, as the guard reads them.
        reserve: Returns the seconds to keep for finishing, given the best outcome so far.
        on_outcome: Called after each trial.
        folder: Of the run; None keeps nothing.
        remembered: What won on similar data: backbone, method and parameters.
        worker: Name of the worker that this is; None where there is but one process.
        accept_changes: Whether to go on where the space of a stored study was another.

    Raises:
        SpaceChangedError: It was another, and that is not accepted.
    """
    by_name = {s.name: s for s in screened}
    # Not of those that were screened alone: what time or an interrupt left out is no change.
    space = SearchSpace(listed, adaptations)
    planner = Planner(task, by_name, budget)
    portfolio = Portfolio.load(task.modality.name, remembered)
    chooser = Chooser(
        space,
        by_name,
        planner,
        portfolio,
        default_methods(adaptations, task.modality.name),
        Scale(
            share=task.metric.kind != "other",
            n_samples=sum(len(fold.validation) for fold in task.split.folds),
            level_spread=None if task.metric.name == "accuracy" else _OTHER_METRIC_SPREAD,
        ),
    )
    runner = CandidateRunner(
        task, by_name, space.adaptations, planner, budget, weights=class_weights(task), seed=seed
    )
    first = _FIRST_RUNG_SHARE * budget.seconds if budget.timed else _FIRST_RUNG_STEPS
    return Study(
        space=space,
        chooser=chooser,
        runner=runner,
        halving=CostHalving(first),
        guard=FloorGuard(task, floor, floor_proba, runner.predict, seed=seed),
        records=TrialRecords(folder / "trials" if folder else None),
        budget=budget,
        seed=seed,
        floor=floor,
        reserve=reserve,
        on_outcome=on_outcome,
        journal=folder / "study.journal" if folder else None,
        n_folds=len(task.split.folds),
        worker=worker,
        accept_changes=accept_changes,
    )


def make_caching(
    task: Task,
    adaptations: Sequence[AdaptationSpec],
    seed: int,
    views: int,
    on_problem: Callable[[str], None] = lambda text: None,
) -> Caching | None:
    """Say how activations are kept; None where that is not possible.

    Args:
        task: The task.
        adaptations: Admitted methods.
        seed: Of augmented views.
        views: Augmented views of each sample that are kept.
        on_problem: Called with why nothing can be kept.
    """
    store = ActivationStore.from_environment(on_problem)
    if store is None:
        return None
    return Caching(
        store=store,
        digests=task.fingerprints,
        y=task.y,
        views=views,
        seed=seed,
        demand=expected_fractions(adaptations),
    )
