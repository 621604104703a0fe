"""What an earlier run of a search has left, and how to go on from it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl import defaults
from autotl.data import Split, Task
from autotl.errors import BudgetTooSmallError, InvalidDataError, ModelFormatError
from autotl.result.saved import read_json
from autotl.search.budget import Budget
from autotl.search.study.records import TrialRecords

_LEAST_LEFT = 0.1  # of the budget: with less, a run counts as having used it up


def read_run(run: str | Path) -> dict[str, Any]:
    """Return `run.json` of a run folder.

    Raises:
        ModelFormatError: It is none, or a damaged one.
    """
    content = read_json(Path(run) / "run.json")
    if not isinstance(content, dict) or not isinstance(content.get("asked"), dict):
        raise ModelFormatError(
            f"{str(Path(run) / 'run.json')!r} does not say what was asked for; it is damaged. "
            "Search again into a new folder."
        )
    return content


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What is known of the earlier part of a search.

    Args:
        asked: The arguments of the run.
        samples: Digest of each sample.
        labels: Class code of each sample.
        splits: Which sample went where.
        others: What came beside the labelled samples, by `describe_others`.
        seconds: How long it took.
        n_trials: How many trials it has begun and recorded.
    """

    asked: Mapping[str, Any]
    samples: list[str]
    labels: list[int]
    splits: Mapping[str, Any]
    others: Mapping[str, Any]
    seconds: float
    n_trials: int

    @classmethod
    def read(cls, run: str | Path) -> "Earlier":
        """Read it from a run folder.

        Raises:
            ModelFormatError: It is none, or a damaged one.
        """
        content, folder = read_run(run), Path(run) / "trials"
        numbers: list[int] = []
        seconds = 0.0
        if folder.is_dir():
            records = TrialRecords(folder)
            numbers = records.trials()
            for number in records.trials():
                # A damaged record costs its own trial, not the run.
                with suppress(ModelFormatError):
                    outcome = records.read(number)
                    seconds = max(seconds, outcome.finished_at)
                    if outcome.lost:
                        numbers.remove(number)
        try:
            return cls(
                asked=content["asked"],
                samples=content["samples"],
                labels=content["labels"],
                splits=content["splits"],
                others=content["others"],
                seconds=seconds,
                n_trials=len(numbers),
            )
        except KeyError as error:
            raise ModelFormatError(
                f"{str(Path(run) / 'run.json')!r} lacks {error}; it is damaged, or of a version "
                "that could not resume. Search again into a new folder."
            ) from error

    def budget(self, given: Mapping[str, Any], started: float) -> tuple[Budget, float]:
        """Return the clock of what follows, and its seconds.

        Args:
            given: What the user says to go on for, as far as they do.
            started: `time.monotonic()` when the call began.

        Raises:
            BudgetTooSmallError: The run counted trials, has done them, and no more are asked for.
        """
        before = self.asked.get("budget_seconds", defaults.BUDGET_SECONDS)
        seconds = given.get("budget_seconds")
        trials = self._trials(given.get("trials"), timed=seconds is not None)
        if seconds is None:
            left = before - self.seconds
            seconds = left if left > _LEAST_LEFT * before else before
        return Budget(seconds, trials, started, self.seconds), seconds

    def _trials(self, more: int | None, *, timed: bool) -> int | None:
        before = self.asked.get("trials")
        if more is None and (before is None or timed):
            return None
        if more is None and before is not None:
            more = max(0, before - self.n_trials)
        if not more:
            raise BudgetTooSmallError(
                f"The run has done the {self.n_trials} trials that it was asked for. "
                "Say how many to add with --trials (trials=), or how long with --budget."
            )
        return self.n_trials + more

    def check(self, task: Task) -> None:
        """Compare the data with those of the run.

        Raises:
            InvalidDataError: They are others.
        """
        if task.fingerprints == self.samples:
            self._check_splits(task)
            return
        before, now = set(self.samples), set(task.fingerprints)
        if before == now:
            words = "they are in another order"
        else:
            words = f"{len(now - before)} samples are new and {len(before - now)} are gone"
        raise InvalidDataError(
            f"The data are not those of the run: {words}. Restore them to resume, or search anew "
            "into another folder."
        )

    def _check_splits(self, task: Task) -> None:
        """Compare what labels, groups and the seed decide: else a holdout would be trained on."""
        labels = task.y.tolist()
        if len(labels) != len(self.labels):
            words = f"{len(labels)} samples are labelled where {len(self.labels)} were"
        elif labels != self.labels:
            n_other = sum(a != b for a, b in zip(labels, self.labels, strict=True))
            words = f"the labels of {n_other} samples have changed"
        elif describe_split(task.split) != self.splits:
            words = "they are divided otherwise, as by other groups or another seed"
        elif describe_others(task) != self.others:
            words = "the sources are others, or their labels"
        else:
            return
        raise InvalidDataError(
            f"The data are not those of the run: {words}. Pass what the run was given to resume, "
            "or search anew into another folder."
        )


def describe_split(split: Split) -> dict[str, Any]:
    """Return which sample goes where, for `run.json`."""
    return {
        "folds": [
            {"train": f.train.tolist(), "validation": f.validation.tolist()} for f in split.folds
        ],
        "guard": split.guard.tolist(),
        "holdout": split.holdout.tolist(),
    }


def describe_others(task: Task) -> dict[str, Any]:
    """Return which samples lack labels, and those of the sources, for `run.json`."""
    return {
        "unlabeled": task.split.unlabeled.tolist(),
        "sources": [
            {"name": s.name, "samples": s.rows.tolist(), "labels": s.y.tolist()}
            for s in task.sources
        ],
    }
