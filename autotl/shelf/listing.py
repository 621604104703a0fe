"""Choose the backbones of a run among all that are listed, local or resolvable by name."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autotl.errors import DuplicateNameError, InvalidDataError, UnknownNameError
from autotl.registry import Catalog, Registry, get_registry
from autotl.shelf.folder import MODALITY, SkippedBackbone, read_weights_folder
from autotl.shelf.terms import restriction
from autotl.specs import BackboneSpec

__all__ = ["Shelf", "open_shelf", "weights_folders"]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The backbones of a run.

    Args:
        usable: In the order in which they were named or registered.
        skipped: Those that cannot be used now, or were not asked for.
        directories: Weights folders that were read, absolute.
        downloads: Names among `usable` whose weights `load` will download.
        restricted: Names among `skipped` that only their terms keep from being used.
    """

    usable: list[BackboneSpec] = field(default_factory=list)
    skipped: list[SkippedBackbone] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    restricted: list[str] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Move a usable backbone to the skipped ones, because it failed when it was run."""
        spec = next((spec for spec in self.usable if spec.name == name), None)
        self.usable[:] = [spec for spec in self.usable if spec.name != name]
        self.skipped.append(SkippedBackbone(name=name, reason=reason, spec=spec))


def open_shelf(
    *,
    modality: str | None = None,
    backbones: Sequence[str] | None = None,
    weights: str | Path | Sequence[str | Path] | None = None,
    download: bool = False,
    permissive_only: bool = False,
    registry: Registry | None = None,
) -> Shelf:
    """List the backbones that can be used now, and those that cannot with the reason.

    Args:
        modality: Keeps the backbones that read such samples; None keeps all.
        backbones: Names or shell patterns; None takes all that are listed.
        weights: Folders of local weights, besides those in AUTOTL_WEIGHTS.
        download: Allows a download for backbones that `backbones` names or matches.
        permissive_only: Skips, with the reason, what is not known to allow commercial use.
        registry: Where plugins are registered; None takes the installed ones.

    Raises:
        UnknownNameError: A name is unknown or a pattern matches nothing.
        InvalidDataError: A weights folder is missing or empty, or a named backbone reads
            another modality.
    """
    registry = registry or get_registry()
    if isinstance(backbones, str):
        backbones = [backbones]
    if backbones is not None and not backbones:
        raise InvalidDataError("backbones is empty; give a name or pattern, or None for all.")
    listed: Catalog[BackboneSpec] = Catalog("backbone")
    for spec in registry.backbones:
        listed.add(spec, registry.backbones.owner(spec.name))
    directories = _directories(weights)
    unreadable = _add_folders(listed, directories, registry)
    if backbones is None:
        chosen = [s for s in listed if modality in (None, s.modality)]
        skipped = unreadable if modality in (None, MODALITY) else []
    else:
        chosen, skipped = _chosen(backbones, modality, registry, listed, unreadable)
    shelf = Shelf(skipped=skipped, directories=[str(d) for d in directories])
    for spec in chosen:
        _place(shelf, spec, download and backbones is not None, permissive_only)
    return shelf


def weights_folders(given: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """Return the folders of local weights that a user names, absolute."""
    folders = [] if given is None else [given] if isinstance(given, str | Path) else given
    return [Path(folder).expanduser().resolve() for folder in folders]


def _directories(weights: str | Path | Sequence[str | Path] | None) -> list[Path]:
    always = filter(None, os.environ.get("AUTOTL_WEIGHTS", "").split(os.pathsep))
    return list(dict.fromkeys([*weights_folders(weights), *weights_folders(list(always))]))


def _add_folders(
    listed: Catalog[BackboneSpec], directories: Sequence[Path], registry: Registry
) -> list[SkippedBackbone]:
    """Add the folders' backbones to the catalogue and return what cannot be used."""
    skipped: list[SkippedBackbone] = []
    for folder in directories:
        specs, unreadable = read_weights_folder(folder, registry.sources)
        skipped += unreadable
        for spec in specs:
            try:
                listed.add(spec, str(folder))
            except DuplicateNameError:
                reason = (
                    f"{folder} describes it again; the one in {listed.owner(spec.name)} counts"
                )
                skipped.append(SkippedBackbone(name=spec.name, reason=reason))
    return skipped


def _chosen(
    names: Sequence[str],
    modality: str | None,
    registry: Registry,
    listed: Catalog[BackboneSpec],
    unreadable: Sequence[SkippedBackbone],
) -> tuple[list[BackboneSpec], list[SkippedBackbone]]:
    """Return what the names and patterns stand for, each once."""
    chosen: dict[str, BackboneSpec] = {}
    skipped: dict[str, SkippedBackbone] = {}
    for name in names:
        skips = [s for s in unreadable if _fits(name)(s.name)]
        specs = (
            _named(name, registry, listed, unreadable) if not skips or _is_pattern(name) else []
        )
        kept = [s for s in specs if modality in (None, s.modality)]
        if specs and not kept and not skips:
            read = ", ".join(sorted({repr(s.modality) for s in specs}))
            raise InvalidDataError(
                f"Backbone {name!r} reads {read} samples, but the data is {modality!r}. Name a "
                f"backbone for {modality!r}; `autotl backbones` lists them."
            )
        chosen |= {s.name: s for s in kept}
        skipped |= {s.name: s for s in skips}
    return list(chosen.values()), [s for s in skipped.values() if s.name not in chosen]


def _is_pattern(name: str) -> bool:
    return any(c in name for c in "*?[")


def _fits(name: str) -> Callable[[str], bool]:
    import fnmatch

    return lambda candidate: candidate == name or fnmatch.fnmatchcase(candidate, name)


def _named(
    name: str,
    registry: Registry,
    listed: Catalog[BackboneSpec],
    unreadable: Sequence[SkippedBackbone],
) -> list[BackboneSpec]:
    known = [*listed.names(), *(s.name for s in unreadable)]
    if _is_pattern(name):
        found = listed.match(name)
        if not found and not any(map(_fits(name), known)):
            raise UnknownNameError("backbone", name, known, "The pattern matches nothing.")
        return found
    try:
        return [listed.get(name)]
    except UnknownNameError:
        pass
    try:
        return [registry.resolve_backbone(name)]
    except UnknownNameError:
        hint = "`autotl backbones` lists all that are known."
        raise UnknownNameError("backbone", name, known, hint) from None


def _place(shelf: Shelf, spec: BackboneSpec, may_download: bool, permissive_only: bool) -> None:
    """Put one backbone among the usable or the skipped ones."""
    reason, downloads = _obstacle(spec, may_download)
    terms = restriction(spec) if permissive_only else None
    if terms is not None and reason is None:
        shelf.restricted.append(spec.name)
    reason = terms or reason
    if reason is not None:
        shelf.skipped.append(SkippedBackbone(name=spec.name, reason=reason, spec=spec))
        return
    shelf.usable.append(spec)
    if downloads:
        shelf.downloads.append(spec.name)


def _obstacle(spec: BackboneSpec, may_download: bool) -> tuple[str | None, bool]:
    """Return why a backbone cannot be used now, or None, and whether its use is a download."""
    try:
        reason = spec.unavailable()
    except Exception as error:  # noqa: BLE001  # a plugin's code may raise anything
        return f"{error!r}", False
    if reason is None or spec.download_bytes <= 0:
        return reason, False
    if may_download:
        return None, True
    return "needs a download; name it with --backbones and --download", False
