"""Find plugins, keep the failing ones apart, and answer by name."""

import fnmatch
import functools
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

import pluggy

from autotl import hookspecs
from autotl.errors import AutotlError, DuplicateNameError, PluginError, UnknownNameError
from autotl.specs import (
    AdaptationSpec,
    BackboneSourceSpec,
    BackboneSpec,
    CommandSpec,
    ModalitySpec,
    ScoreSpec,
    SimilaritySpec,
    Spec,
)

GROUP = "autotl"
S = TypeVar("S", bound=Spec)


class Catalog(Generic[S]):
    """The specs of one kind, by name, in order of registration.

    Args:
        kind: What error messages call them.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._specs: dict[str, S] = {}
        self._aliases: dict[str, str] = {}
        self._owners: dict[str, str] = {}

    def add(self, spec: S, owner: str) -> None:
        """Add one spec of a distribution.

        Raises:
            DuplicateNameError: The name is taken; the message names both distributions.
        """
        for name in (spec.name, *spec.aliases):
            taken = self._owners.get(name)
            if taken is not None:
                raise DuplicateNameError(
                    f"{self.kind.capitalize()} {name!r} is registered by {taken} and again by "
                    f"{owner}. The first stays. Uninstall one of them, or set AUTOTL_PLUGINS, "
                    "and tell both authors."
                )
        self._specs[spec.name] = spec
        for name in (spec.name, *spec.aliases):
            self._owners[name] = owner
            self._aliases[name] = spec.name

    def names(self) -> list[str]:
        """List the names without aliases."""
        return list(self._specs)

    def __iter__(self) -> Iterator[S]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: str) -> bool:
        return name in self._aliases

    def owner(self, name: str) -> str:
        """Return the distribution that registered a name."""
        return self._owners[name]

    def get(self, name: str) -> S:
        """Return the spec with this name, alias or unambiguous tail after a slash.

        Raises:
            UnknownNameError: Nothing or more than one thing has this name.
        """
        if name in self._aliases:
            return self._specs[self._aliases[name]]
        tails = [n for n in self._specs if n.endswith("/" + name)]
        if len(tails) == 1:
            return self._specs[tails[0]]
        if tails:
            hint = "More than one name ends like this; give it in full."
            raise UnknownNameError(self.kind, name, tails, hint)
        raise UnknownNameError(self.kind, name, self._specs)

    def match(self, pattern: str) -> list[S]:
        """Return the specs whose name fits a shell pattern such as `embedded/*`."""
        return [s for n, s in self._specs.items() if fnmatch.fnmatchcase(n, pattern)]

    def select(self, patterns: Sequence[str] | str | None) -> list[S]:
        """Return the specs that names or patterns stand for, in order; None stands for all.

        Raises:
            UnknownNameError: A name or pattern fits nothing.
        """
        if patterns is None:
            return list(self)
        chosen: dict[str, S] = {}
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            found = [self.get(pattern)] if pattern in self else self.match(pattern)
            if not found:
                raise UnknownNameError(self.kind, pattern, self.names())
            chosen |= {spec.name: spec for spec in found}
        return list(chosen.values())


@dataclass(kw_only=True)
class PluginRow:
    """What became of one plugin.

    Args:
        name: Entry-point name, which is also the provider in its backbones' names.
        distribution: "name version" of the package that brings it.
        status: "loaded", "failed" (it has problems and registered nothing) or "blocked".
        counts: How many specs of each kind it registered.
        problems: What went wrong, in words.
    """

    name: str
    distribution: str
    status: str = "loaded"
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Registry:
    """All that plugins have registered.

    Args:
        points: Entry points to load.
        only: Names of those that may load; None lets all.
        strict: Raise a plugin's first problem instead of recording it.
    """

    def __init__(
        self,
        points: Iterable[EntryPoint],
        only: frozenset[str] | None = None,
        strict: bool = False,
    ) -> None:
        self.backbones: Catalog[BackboneSpec] = Catalog("backbone")
        self.sources: Catalog[BackboneSourceSpec] = Catalog("backbone source")
        self.modalities: Catalog[ModalitySpec] = Catalog("modality")
        self.scores: Catalog[ScoreSpec] = Catalog("score")
        self.similarities: Catalog[SimilaritySpec] = Catalog("similarity")
        self.adaptations: Catalog[AdaptationSpec] = Catalog("adaptation")
        self.commands: Catalog[CommandSpec] = Catalog("command")
        self.plugins: list[PluginRow] = []
        self._strict = strict
        # First-party plugins first, so that a stranger cannot take their names.
        for point in sorted(points, key=lambda p: (not _is_first_party(p), p.name)):
            self._load(point, only)

    def _load(self, point: EntryPoint, only: frozenset[str] | None) -> None:
        dist = point.dist
        row = PluginRow(
            name=point.name,
            distribution=f"{dist.name} {dist.version}" if dist else point.value,
        )
        self.plugins.append(row)
        if only is not None and point.name not in only:
            row.status = "blocked"
            return
        try:
            self._refuse_twin(row)
            manager = pluggy.PluginManager(hookspecs.PROJECT)
            manager.add_hookspecs(hookspecs)
            manager.register(point.load(), name=point.name)
            manager.check_pending()
        except Exception as error:  # noqa: BLE001  # a plugin's code may raise anything
            self._problem(row, error)
        else:
            for hook, catalog, kind in self._kinds():
                self._collect(row, manager, hook, catalog, kind)
        if row.problems and not row.counts:
            row.status = "failed"

    def _refuse_twin(self, row: PluginRow) -> None:
        """Keep a second distribution from speaking for a provider that is taken."""
        for other in self.plugins:
            if other is not row and other.name == row.name:
                raise DuplicateNameError(
                    f"The entry point {row.name!r} is declared by {other.distribution} and again "
                    f"by {row.distribution}. The first stays. Uninstall one of them and tell "
                    "both authors."
                )

    def _kinds(self) -> "list[tuple[str, Catalog, type[Spec]]]":  # type: ignore[type-arg]  # one loop over all kinds
        return [
            ("autotl_backbones", self.backbones, BackboneSpec),
            ("autotl_backbone_sources", self.sources, BackboneSourceSpec),
            ("autotl_modalities", self.modalities, ModalitySpec),
            ("autotl_scores", self.scores, ScoreSpec),
            ("autotl_similarities", self.similarities, SimilaritySpec),
            ("autotl_adaptations", self.adaptations, AdaptationSpec),
            ("autotl_commands", self.commands, CommandSpec),
        ]

    def _collect(
        self,
        row: PluginRow,
        manager: pluggy.PluginManager,
        hook: str,
        catalog: "Catalog[Spec]",
        kind: type[Spec],
    ) -> None:
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            try:
                for spec in implementation.function():
                    self._add(row, spec, catalog, kind)
            except Exception as error:  # noqa: BLE001  # a plugin's code may raise anything
                self._problem(row, error, f"in {hook}: ")

    def _add(
        self, row: PluginRow, spec: object, catalog: "Catalog[Spec]", kind: type[Spec]
    ) -> None:
        try:
            catalog.add(_checked(spec, kind, row.name), row.distribution)
        except PluginError as error:
            self._problem(row, error)
        else:
            row.counts[catalog.kind] = row.counts.get(catalog.kind, 0) + 1

    def _problem(self, row: PluginRow, error: Exception, where: str = "") -> None:
        if self._strict:
            raise error
        row.problems.append(f"{where}{type(error).__name__}: {error}")
        warnings.warn(
            f"Plugin {row.name!r} ({row.distribution}): {row.problems[-1]} "
            "See `autotl plugins`; AUTOTL_STRICT_PLUGINS=1 shows the traceback.",
            RuntimeWarning,
            stacklevel=2,
        )

    def resolve_backbone(self, name: str) -> BackboneSpec:
        """Return a listed backbone, or ask the sources to resolve its name.

        Raises:
            UnknownNameError: Nobody knows the name.
            PluginError: A source failed on the name.
        """
        if name in self.backbones:
            return self.backbones.get(name)
        for source in self.sources:
            if name.startswith(source.prefix):
                spec = self._ask(source, name)
                if spec is not None:
                    return spec
        return self.backbones.get(name)

    def _ask(self, source: BackboneSourceSpec, name: str) -> BackboneSpec | None:
        try:
            return source.resolve(name)
        except AutotlError:
            raise
        except Exception as error:
            raise PluginError(
                f"Backbone source {source.name!r} ({self.sources.owner(source.name)}) failed on "
                f"{name!r}: {type(error).__name__}: {error}. Tell its authors."
            ) from error


def _checked(spec: object, kind: type[S], provider: str) -> S:
    """Return what a hook yielded if it has the right type and speaks for its own provider."""
    if not isinstance(spec, kind):
        raise PluginError(f"{spec!r} is not a {kind.__name__}; yield {kind.__name__}(...).")
    for name in (spec.name, *spec.aliases) if isinstance(spec, BackboneSpec) else ():
        if not name.startswith(f"{provider}/"):
            raise PluginError(
                f"Backbone {name!r} comes from the entry point {provider!r}; its name and "
                f"aliases must start with '{provider}/'. Rename it."
            )
    return spec


def _is_first_party(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == "autotl"


@functools.cache
def get_registry() -> Registry:
    """Load every installed plugin once per process.

    `AUTOTL_PLUGINS=a,b` loads exactly those (empty loads none); `AUTOTL_STRICT_PLUGINS=1` raises
    a plugin's error instead of recording it.
    """
    named = os.environ.get("AUTOTL_PLUGINS")
    only = None if named is None else frozenset(filter(None, named.replace(" ", "").split(",")))
    strict = os.environ.get("AUTOTL_STRICT_PLUGINS", "") not in ("", "0")
    return Registry(entry_points(group=GROUP), only, strict)
