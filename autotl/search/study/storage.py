"""Where Optuna keeps a study: in memory, or in a journal that later runs and workers share."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from autotl.errors import ModelFormatError
from autotl.search.study.candidate import Outcome
from autotl.search.study.chooser import Start
from autotl.search.study.space import SearchSpace

if TYPE_CHECKING:
    import optuna

N_LOST = "n_lost"
"""Attribute of a trial: how often a process has ended while it ran its candidate."""

_NAME = "autotl"
_KEPT = ("reason", "why", "seconds", "steps", "freeze_depth")


def open_study(
    space: SearchSpace,
    seed: int,
    journal: Path | None,
    choose: Callable[[], Start | None],
    *,
    accept_changes: bool = False,
    worker: str | None = None,
) -> "optuna.Study":
    """Create the study, or take up the newest one that the journal holds.

    Args:
        space: All candidates.
        seed: Of what is drawn: otherwise by each worker, and after the study was taken up.
        journal: File of the journal; None keeps the study in memory.
        choose: Returns what the next trial should be, or None to leave all to TPE.
        accept_changes: Whether to go on where the space of the stored study was another.
        worker: Name of the worker that this is.

    Raises:
        SpaceChangedError: The stored study belongs to another space.
        ModelFormatError: The journal has lost its beginning or its trials.
    """
    import optuna

    from autotl.search.study.sampler import TransferSampler

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _open(space, journal, accept_changes=accept_changes)
    n_trials = len(study.get_trials(deepcopy=False))
    own = np.random.default_rng([seed, n_trials, crc32((worker or "").encode())])
    study.sampler = TransferSampler(choose, space, int(own.integers(2**32)))
    return study


def _open(space: SearchSpace, journal: Path | None, *, accept_changes: bool) -> "optuna.Study":
    import optuna

    storage = _storage(journal)
    names = optuna.get_all_study_names(storage) if storage is not None else []
    if not names:
        return _create(space, _NAME, storage)
    name = names[-1]
    with _quiet():
        study = optuna.load_study(
            study_name=name, storage=storage, pruner=optuna.pruners.NopPruner()
        )
    if "space" not in study.user_attrs:
        _check_unused(journal)  # a process was killed as it created the study
        study.set_user_attr("space", space.described())
    stored = study.user_attrs["space"]
    if accept_changes and stored != space.described():
        renewed = _create(space, f"{_NAME}-{len(names) + 1}", storage)
        _copy(study, renewed, space)
        return renewed
    space.check(stored)
    return study


def _check_unused(journal: Path | None) -> None:
    """Raise where a journal has lost trials that still have records."""
    if journal is not None and any((journal.parent / "trials").glob("[0-9]*.json")):
        raise ModelFormatError(
            f"{str(journal)!r} is damaged: it ends before the trials that have records beside it. "
            "Restore it, or run the search again with another --out."
        )


def tell(study: "optuna.Study", outcome: Outcome) -> None:
    """Tell a study how a trial has ended."""
    from optuna.trial import TrialState

    trial = _trial(study, outcome.trial)
    # In one piece: a journal writes every attribute to the disk by itself.
    trial.set_user_attr("outcome", {key: getattr(outcome, key) for key in _KEPT})
    for step, at in enumerate(outcome.history if outcome.tuned else (), start=1):
        trial.report(at, step)
    if outcome.gap is not None:
        # Once, at the end: Optuna keeps the first value of a constraint.
        trial.set_constraint("negative_transfer", -outcome.gap)
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    state = states.get(outcome.state, TrialState.FAIL)
    value = outcome.value if outcome.state == "complete" else None
    study.tell(outcome.trial, value, state)


def note(study: "optuna.Study", number: int, key: str, value: Any) -> None:
    """Keep something about a trial that has not ended."""
    _trial(study, number).set_user_attr(key, value)


def _trial(study: "optuna.Study", number: int) -> "optuna.Trial":
    from optuna.trial import Trial

    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def _storage(journal: Path | None) -> Any:
    if journal is None:
        return None
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with _quiet():
        return JournalStorage(JournalFileBackend(str(journal)))


def _create(space: SearchSpace, name: str, storage: Any) -> "optuna.Study":
    import optuna

    with _quiet():
        study = optuna.create_study(
            study_name=name,
            direction="maximize",
            storage=storage,
            pruner=optuna.pruners.NopPruner(),  # what stops trials is autotl's own
        )
    study.set_user_attr("space", space.described())
    return study


def _copy(old: "optuna.Study", new: "optuna.Study", space: SearchSpace) -> None:
    """Add the old trials under their numbers; what is no longer in the space, as failed.

    Trials in flight and paused ones stay so, for the study to take up; those that wait go on
    waiting.
    """
    from optuna.trial import TrialState, create_trial

    for trial in old.get_trials(deepcopy=False):
        params = trial.params or trial.system_attrs.get("fixed_params", {})  # of one that waits
        candidate = space.from_optuna(params)
        if candidate is None:
            new.add_trial(create_trial(state=TrialState.FAIL))
            continue
        if trial.state == TrialState.WAITING:
            new.enqueue_trial(space.to_optuna(candidate), user_attrs=trial.user_attrs)
            continue
        new.add_trial(
            create_trial(
                state=trial.state,
                value=trial.value,
                params=space.to_optuna(candidate),
                distributions=space.distributions(candidate),
                user_attrs=trial.user_attrs,
                intermediate_values=trial.intermediate_values,
            )
        )


@contextmanager
def _quiet() -> Iterator[None]:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
