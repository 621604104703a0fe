"""Keep what trials have shown in a folder, for other processes and later runs to go on from."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from autotl.errors import ModelFormatError
from autotl.result.saved import read_state, write_state
from autotl.search.study.candidate import Candidate, Outcome
from autotl.specs import SavedState

_ELSEWHERE = ("proba", "saved", "candidate")


class TrialRecords:
    """Outcomes, the predictors of the best ones, and what paused trials continue from.

    Args:
        folder: Where they are kept; None keeps them in a temporary folder.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="autotl-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, outcome: Outcome) -> None:
        """Write what a trial has shown; its predictor only where it has one."""
        name = _name(outcome.trial)
        if outcome.saved is not None and not outcome.predictor_kept:
            write_state(self.folder, f"{name}-predictor", outcome.saved)
            outcome.predictor_kept = True
        config: dict[str, Any] = {
            f.name: getattr(outcome, f.name) for f in fields(outcome) if f.name not in _ELSEWHERE
        }
        config["candidate"] = asdict(outcome.candidate)
        tensors = {} if outcome.proba is None else {"proba": outcome.proba}
        write_state(self.folder, name, SavedState(tensors=tensors, config=config))

    def read(self, trial: int) -> Outcome:
        """Return what a trial has shown, without its predictor.

        Raises:
            ModelFormatError: The record is missing or damaged.
        """
        stored = read_state(self.folder, _name(trial))
        known = {f.name for f in fields(Outcome)} - {"candidate"}
        try:
            values = {k: v for k, v in stored.config.items() if k in known}
            if "proba" in stored.tensors:
                values["proba"] = np.asarray(stored.tensors["proba"])
            candidate = Candidate(**stored.config["candidate"])
            if values.get("log_loss") is None:  # JSON has no infinity
                values["log_loss"] = float("inf")
            return Outcome(candidate=candidate, **values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ModelFormatError(
                f"The record of trial {trial} in {str(self.folder)!r} is damaged ({error}). "
                "Remove it to run the trial again."
            ) from error

    def trials(self) -> list[int]:
        """Return the numbers of the trials that have a record, ascending."""
        return sorted(int(p.stem) for p in self.folder.glob("[0-9]*.json") if p.stem.isdigit())

    def predictor(self, outcome: Outcome) -> SavedState | None:
        """Return the predictor that was kept of a trial."""
        if outcome.saved is None:
            try:
                outcome.saved = read_state(self.folder, f"{_name(outcome.trial)}-predictor")
            except ModelFormatError:
                return None
        return outcome.saved

    def drop_predictor(self, outcome: Outcome) -> None:
        """Forget the predictor of a trial that others have beaten."""
        outcome.saved = None
        self._remove(f"{_name(outcome.trial)}-predictor")
        outcome.predictor_kept = False

    def pause(self, trial: int, states: Sequence[SavedState]) -> None:
        """Keep what a trial continues from, one state a fold."""
        for fold, state in enumerate(states):
            write_state(self.folder, f"{_name(trial)}-fold{fold}", state)

    def paused(self, trial: int, n_folds: int) -> list[SavedState]:
        """Return what a paused trial continues from.

        Raises:
            ModelFormatError: A state is missing or damaged.
        """
        return [read_state(self.folder, f"{_name(trial)}-fold{k}") for k in range(n_folds)]

    def drop_states(self, trial: int) -> None:
        """Forget what a trial would have continued from."""
        for path in self.folder.glob(f"{_name(trial)}-fold*.json"):
            self._remove(path.stem)

    def _remove(self, name: str) -> None:
        for suffix in (".json", ".safetensors"):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)


def _name(trial: int) -> str:
    return f"{trial:05d}"
