"""`autotl.resume`: go on with a run that has ended, was interrupted or was killed."""

import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotl.api.reading import read_source
from autotl.errors import InvalidDataError
from autotl.result.model import FittedModel
from autotl.search import occupied, read_run, search
from autotl.shelf import weights_folders

__all__ = ["resume"]

_LIMITS = ("budget_seconds", "trials")
_CHANGEABLE = ("budget_seconds", "trials", "workers", "device", "download", "accept_changes")


def resume(  # noqa: PLR0913  # the data again, and what may change
    run: str | Path,
    X: Any = None,
    y: Sequence[Hashable] | None = None,
    *,
    X_holdout: Any = None,
    y_holdout: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
    X_unlabeled: Any = None,
    source: Any = None,
    budget_seconds: float | None = None,
    trials: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    download: bool | None = None,
    accept_changes: bool = False,
    progress: bool = True,
    started: float | None = None,
) -> FittedModel:
    """Go on with the search of a run folder, from the results that it holds.

    The same study continues: finished trials count, paused ones may go on from where they were,
    and those in flight when the process ended are run again.

    Args:
        run: The run folder.
        X: The samples of the run, where they were passed from Python; read again where they came
            from a folder, table or archive.
        y: Their labels.
        X_holdout: The holdout samples of the run, where it was given some.
        y_holdout: Their labels.
        groups: The groups of the run, where it was given some.
        X_unlabeled: The samples without labels, where it was given some from Python.
        source: The labelled samples of other domains, where it was given some from Python.
        budget_seconds: Seconds to go on for; None takes what was left, or after a normal end as
            many as before.
        trials: Trials to add, for a run that counts trials.
        workers: Processes that search at once; None takes as many as before.
        device: Where to compute; None as before.
        download: Allow downloading weights; None as before.
        accept_changes: Go on although backbones or methods were added or removed since.
        progress: Show progress on standard error.
        started: `time.monotonic()` when the call began; None is now.

    Raises:
        ModelFormatError: `run` is no run folder, or a damaged one.
        InvalidDataError: The data are not those of the run.
        SpaceChangedError: Backbones or methods were added or removed since the run began.
        SearchError: Another search is at work in the run folder.
    """
    started = time.monotonic() if started is None else started
    asked = read_run(run)["asked"]
    given = locals()
    changes = {k: given[k] for k in _CHANGEABLE if given[k] is not None}
    arguments = {**asked, **changes, "progress": progress, "started": started, "out": run}
    if X is not None and y is None and source is None:
        raise InvalidDataError("y is None. Pass the labels of the run along with X.")
    _check_weights(asked)
    with occupied(run):  # before the data are read, which may take long
        if X is None:
            X, y, brought = _read_again(asked, run)
            arguments |= brought
        else:
            arguments |= {
                "X_holdout": X_holdout,
                "y_holdout": y_holdout,
                "groups": groups,
                "X_unlabeled": X_unlabeled,
                "source_data": source,
            }
        return search(X, y, resumes={k: changes[k] for k in _LIMITS if k in changes}, **arguments)


def _check_weights(asked: Mapping[str, Any]) -> None:
    """Refuse to go on without weights that the run was given."""
    for folder in weights_folders(asked.get("weights")):
        if not folder.is_dir():
            raise InvalidDataError(
                f"The run was given the weights folder {str(folder)!r}, which is not there. Put "
                "it back, or a link to where it is now, to resume."
            )


def _read_again(asked: Mapping[str, Any], run: str | Path) -> tuple[Any, Any, dict[str, Any]]:
    reading = asked.get("reading")
    if not reading:
        raise InvalidDataError(
            f"The run in {str(run)!r} was given its samples from Python, so there is nothing to "
            "read them from. Pass the same X and y: autotl.resume(run, X, y)."
        )
    others = reading.get("others") or {}
    named = (reading["source"], reading.get("holdout"), reading.get("unlabeled"))
    for source in filter(None, (*named, *others.values())):
        # Absolute is what was found on the disk; the rest are names of data sets.
        if Path(source).is_absolute() and not Path(source).exists():
            raise InvalidDataError(
                f"The run was given the data {source!r}, which are not there. Put them back, or "
                "a link to where they are now; or pass the samples and labels from Python: "
                "autotl.resume(run, X, y)."
            )
    columns = {k: reading.get(k) for k in ("text", "label", "split", "image")}
    data, extra = read_source(
        reading["source"],
        columns,
        reading.get("holdout"),
        reading.get("groups_column"),
        asked.get("modality"),
        unlabeled=reading.get("unlabeled"),
        others=others,
    )
    return data.X, data.y, extra
