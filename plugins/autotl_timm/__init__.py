"""Backbones from timm: a catalogue, any other model by name, and builders for local weights."""

from collections.abc import Iterator

import autotl


@autotl.hookimpl
def autotl_backbones() -> Iterator[autotl.BackboneSpec]:
    """Describe the catalogue."""
    from autotl_timm.catalogue import catalogue

    yield from catalogue()


@autotl.hookimpl
def autotl_backbone_sources() -> Iterator[autotl.BackboneSourceSpec]:
    """Resolve any pretrained timm model, and build any timm architecture for local weights."""
    from autotl_timm.catalogue import Architectures, resolve

    yield autotl.BackboneSourceSpec(
        name="timm",
        summary="Any pretrained timm model, as timm/<architecture>[.<tag>].",
        reference="https://github.com/huggingface/pytorch-image-models",
        prefix="timm/",
        resolve=resolve,
        architectures=Architectures(),
    )
