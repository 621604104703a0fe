"""What a search was asked for, checked before anything is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl import defaults
from autotl.data import Task
from autotl.errors import InvalidDataError, OutputExistsError, UnknownNameError
from autotl.registry import get_registry
from autotl.search.limits import Limits
from autotl.search.occupying import LOCK
from autotl.specs import AdaptationSpec


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a search was asked for.

    Args:
        budget_seconds: Wall-clock limit.
        trials: Limit on trials, in place of the clock.
        adaptations: Names or patterns of methods; None takes all.
        out: Run folder; None writes nothing.
        seed: Of everything random.
        device: Where to compute; None picks a GPU when there is one.
        cache: Whether activations of frozen layers are kept on disk.
        views: Augmented views of each sample that are kept.
        workers: Processes that search at once.
        limits: What may win.
        ensemble: Whether a weighted mean of several trials may be shipped.
        cautious: Whether transfer is shipped only where its lead is beyond chance.
        experience: Whether earlier runs say what to try, and this one leaves a record.
        resumes: Whether the run folder holds a study to go on with.
        accept_changes: Whether to go on where its space was another.
        asked: The call's arguments as the user gave them, for `run.json`.
    """

    budget_seconds: float
    trials: int | None = None
    adaptations: Sequence[str] | None = None
    out: Path | None = None
    seed: int = 0
    device: str | None = None
    cache: bool = True
    views: int = defaults.VIEWS
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    ensemble: bool = False
    cautious: bool = False
    experience: bool = False
    resumes: bool = False
    accept_changes: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict)


def open_run_folder(out: str | Path) -> Path:
    """Create a run folder.

    Raises:
        OutputExistsError: It exists and is not empty.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"The output folder {str(folder)!r} is a file. Choose another.")
    if folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise OutputExistsError(
            f"The output folder {str(folder)!r} exists and is not empty. "
            "Choose another one, or move it away."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_adaptations(patterns: Sequence[str] | None) -> None:
    """Check that each name or pattern fits a method, before there is a task.

    Raises:
        UnknownNameError: One fits none.
        InvalidDataError: There are no patterns.
    """
    catalog = get_registry().adaptations
    if patterns is not None and not patterns:
        raise InvalidDataError("adaptations is empty; give a name or pattern, or None for all.")
    for pattern in patterns or ():
        if pattern not in catalog and not catalog.match(pattern):
            raise UnknownNameError("adaptation", pattern, catalog.names())


def select_adaptations(
    patterns: Sequence[str] | None, task: Task | None = None
) -> list[AdaptationSpec]:
    """Return the methods that can be used on a task, or those of them that are named.

    Without a task, these are the methods that need nothing but labelled samples.

    Raises:
        UnknownNameError: A name or pattern fits no method.
        InvalidDataError: A method is named that cannot be used on the task.
    """
    check_adaptations(patterns)
    catalog = get_registry().adaptations
    if patterns is None:
        return _searchable((a for a in catalog if not _obstacle(a, task)), task)
    chosen: dict[str, AdaptationSpec] = {}
    for pattern in patterns:
        if pattern in catalog:
            spec = catalog.get(pattern)
            if reason := _obstacle(spec, task):
                raise InvalidDataError(f"Adaptation {spec.name!r} {reason}")
            chosen[spec.name] = spec
        else:
            chosen |= {a.name: a for a in catalog.match(pattern) if not _obstacle(a, task)}
    if not chosen:
        raise InvalidDataError(
            f"None of the adaptations that fit {', '.join(map(repr, patterns))} can be used on "
            "the data given; `autotl plugins` lists what they need."
        )
    return _searchable(chosen.values(), task)


def _searchable(specs: Iterable[AdaptationSpec], task: Task | None) -> list[AdaptationSpec]:
    if task is not None and task.unsupervised:
        return [spec.without_labels() for spec in specs]
    return list(specs)


_GIVE = {
    "unlabeled": "samples without labels, X_unlabeled= or --unlabeled",
    "source": "labelled samples of another domain with classes of the data, source= or --source",
    "any_source": "labelled samples of another domain, source= or --source",
}


def _obstacle(spec: AdaptationSpec, task: Task | None) -> str:
    """Say why a method cannot be used on a task, or ""."""
    if "classification" not in spec.tasks:
        return f"solves {' and '.join(spec.tasks)}, not classification. Leave it out."
    modality = task.modality.name if task is not None else None
    works_on = spec.modalities
    if works_on is not None and modality is not None and modality not in works_on:
        return f"works on {' and '.join(works_on)}, not on {modality}. Leave it out."
    if task is not None and task.unsupervised and "source" in spec.needs and spec.needs_labels:
        return "needs labels of the data, of which there are none. Give some, or leave it out."
    lacking = [need for need in sorted(spec.needs) if need not in _brought(task)]
    if lacking and task is not None and lacking == ["source"] and task.sources:
        return "needs a source with classes of the data; those given share none. Leave it out."
    if lacking:
        wanted = " and ".join(_GIVE.get(need, need) for need in lacking)
        return f"needs {wanted}. Give these, or leave it out."
    return ""


def _brought(task: Task | None) -> set[str]:
    """Return what a task brings beside its labelled samples."""
    if task is None:
        return set()
    if task.unsupervised:  # its labelled samples are the source's
        return {"unlabeled", "source"}
    there = {
        "unlabeled": len(task.split.unlabeled) > 0,
        "source": any(len(source.shared) for source in task.sources),
        "any_source": len(task.sources) > 0,
    }
    return {need for need, present in there.items() if present}
