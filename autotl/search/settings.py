"""What a search was asked for, checked before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl import defaults
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


def select_adaptations(patterns: Sequence[str] | None) -> list[AdaptationSpec]:
    """Return the methods that need nothing but labelled data, or those named.

    Raises:
        UnknownNameError: A name or pattern fits no method.
    """
    catalog = get_registry().adaptations
    if patterns is None:
        return [a for a in catalog if not a.needs and "classification" in a.tasks]
    if not patterns:
        raise InvalidDataError("adaptations is empty; give a name or pattern, or None for all.")
    chosen: dict[str, AdaptationSpec] = {}
    for pattern in patterns:
        if pattern in catalog:
            found = [_usable(catalog.get(pattern))]
        else:
            found = [a for a in catalog.match(pattern) if not a.needs]
        if not found:
            raise UnknownNameError("adaptation", pattern, catalog.names())
        chosen |= {a.name: a for a in found}
    return list(chosen.values())


def _usable(spec: AdaptationSpec) -> AdaptationSpec:
    if spec.needs:
        raise InvalidDataError(
            f"Adaptation {spec.name!r} needs {', '.join(sorted(spec.needs))} data, which a search "
            "cannot be given yet. Leave it out."
        )
    return spec
