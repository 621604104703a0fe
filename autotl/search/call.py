"""From the user's arguments to a running search, shared by `fit`, the estimator and the CLI."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from autotl import defaults
from autotl.data import Task
from autotl.errors import InvalidDataError
from autotl.features import BackboneSession
from autotl.ranking import nested_order
from autotl.result.device import pick_device
from autotl.result.model import FittedModel
from autotl.search.budget import Budget
from autotl.search.engine import Search
from autotl.search.occupying import LOCK, occupied
from autotl.search.prepare import SearchArguments, download, limits_of, names_of, prepare
from autotl.search.progress import SilentProgress, make_progress
from autotl.search.resuming import Earlier
from autotl.search.settings import Settings, open_run_folder, select_adaptations
from autotl.shelf import Shelf, weights_folders

_TIMED_SAMPLES = 24  # of each backbone, for a plan


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search would do.

    Args:
        task: The checked task.
        shelf: Usable and skipped backbones.
        adaptations: Names of the methods.
        seconds: Estimated seconds to embed every training sample, by backbone.
        budget_seconds: The limit.
    """

    task: Task
    shelf: Shelf
    adaptations: list[str]
    seconds: dict[str, float]
    budget_seconds: float


def search(X: Any, y: Any, **arguments: Unpack[SearchArguments]) -> FittedModel:
    """Run a whole search; the arguments are those of `autotl.fit`.

    Raises:
        SearchError: Another search is at work in the run folder.
    """
    started = arguments.get("started") or time.monotonic()
    seconds = arguments.get("budget_seconds", defaults.BUDGET_SECONDS)
    budget = Budget(seconds, arguments.get("trials"), started)
    out, resumes = arguments.get("out"), arguments.get("resumes")
    folder = earlier = None
    with ExitStack() as stack:
        if out is not None and resumes is not None:
            folder = Path(out)
            earlier = Earlier.read(folder)
            budget, seconds = earlier.budget(resumes, started)
        elif out is not None:
            folder = stack.enter_context(_new_folder(out))
        show = arguments.get("progress", True)
        progress = make_progress(show, budget.seconds if budget.timed else None)
        stack.callback(progress.close)
        task, shelf = prepare(X, y, progress, arguments, guard=True)
        if earlier is not None:
            earlier.check(task)
        download(shelf, budget, progress)
        settings = Settings(
            budget_seconds=seconds,
            trials=budget.trials,
            adaptations=names_of(arguments.get("adaptations")),
            out=folder,
            seed=arguments.get("seed", defaults.SEED),
            device=arguments.get("device"),
            cache=arguments.get("cache", True),
            views=_checked("views", arguments.get("views", defaults.VIEWS)),
            workers=_checked("workers", arguments.get("workers", 1)),
            limits=limits_of(arguments),
            ensemble=arguments.get("ensemble", False),
            cautious=arguments.get("cautious", False),
            experience=arguments.get("experience", True),
            resumes=earlier is not None,
            accept_changes=arguments.get("accept_changes", False),
            asked=_describe(arguments),
        )
        return Search(task, shelf, settings, budget, progress).run()


@contextmanager
def _new_folder(out: str | Path) -> Iterator[Path]:
    """Make and occupy a run folder; clear it where a run ends that had not begun to search."""
    created = not Path(out).exists()
    folder = open_run_folder(out)
    with occupied(folder):
        try:
            yield folder
        except BaseException:
            if not (folder / "result.json").exists():
                _clear(folder, created=created)
            raise


def _checked(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidDataError(f"{name} is {value!r}; give a whole number of at least 1.")
    return value


def _clear(folder: Path, *, created: bool) -> None:
    """Remove what a run left that had not begun to search, so that it can be run again."""
    if (folder / "study.journal").exists():
        return  # finished trials are worth more than a free folder name
    for name in ("run.json", LOCK):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob(".*.json.*"):
        path.unlink(missing_ok=True)
    if created and not any(folder.iterdir()):
        folder.rmdir()


def _describe(arguments: SearchArguments) -> dict[str, Any]:
    """Return the arguments that JSON can hold, for `run.json`."""
    left_out = {
        "X_holdout", "y_holdout", "groups", "ids", "skipped", "notes", "started", "progress",
        "resumes", "accept_changes", "columns", "X_unlabeled", "source_data",
    }  # fmt: skip
    described = {
        k: str(v) if isinstance(v, Path) else v for k, v in arguments.items() if k not in left_out
    }
    if arguments.get("weights") is not None:  # to be found from wherever the run goes on
        described["weights"] = [str(f) for f in weights_folders(arguments.get("weights"))]
    return described


def plan(X: Any, y: Any, **arguments: Unpack[SearchArguments]) -> Plan:
    """Check data and backbones and time a few samples of each, without searching."""
    progress = SilentProgress()
    task, shelf = prepare(X, y, progress, arguments, guard=True)
    device = arguments.get("device") or pick_device()
    seconds: dict[str, float] = {}
    rows = nested_order(task, arguments.get("seed", defaults.SEED))[:_TIMED_SAMPLES]
    for spec in list(shelf.usable):
        session = BackboneSession(spec, task.samples, task.modality, device=device)
        try:
            session.batch_size = 8
            session.embed(rows)
        except Exception as error:  # noqa: BLE001  # loading and running is plugin code
            shelf.skip(spec.name, f"{type(error).__name__}: {error}")
            continue
        per_sample = session.seconds_per_sample or 0.0
        seconds[spec.name] = per_sample * len(task.split.train_validation)
    names = [a.name for a in select_adaptations(names_of(arguments.get("adaptations")), task)]
    return Plan(
        task=task,
        shelf=shelf,
        adaptations=names,
        seconds=seconds,
        budget_seconds=arguments.get("budget_seconds", defaults.BUDGET_SECONDS),
    )
