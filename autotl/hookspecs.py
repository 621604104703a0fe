"""The hooks a plugin may implement: plural, no argument, yielding specs."""

from collections.abc import Iterable

import pluggy

from autotl.specs import (
    AdaptationSpec,
    BackboneSourceSpec,
    BackboneSpec,
    CommandSpec,
    ModalitySpec,
    ScoreSpec,
    SimilaritySpec,
)

PROJECT = "autotl"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def autotl_backbones() -> Iterable[BackboneSpec]:  # type: ignore[empty-body]  # a declaration
    """Yield a fixed listing of backbones."""


@hookspec
def autotl_backbone_sources() -> Iterable[BackboneSourceSpec]:  # type: ignore[empty-body]  # as above
    """Yield families whose backbones are resolved by name."""


@hookspec
def autotl_modalities() -> Iterable[ModalitySpec]:  # type: ignore[empty-body]  # as above
    """Yield kinds of samples."""


@hookspec
def autotl_scores() -> Iterable[ScoreSpec]:  # type: ignore[empty-body]  # as above
    """Yield transferability scores."""


@hookspec
def autotl_similarities() -> Iterable[SimilaritySpec]:  # type: ignore[empty-body]  # as above
    """Yield similarity measures between domains."""


@hookspec
def autotl_adaptations() -> Iterable[AdaptationSpec]:  # type: ignore[empty-body]  # as above
    """Yield ways of fitting backbone and head."""


@hookspec
def autotl_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]  # as above
    """Yield further subcommands of `autotl`."""
