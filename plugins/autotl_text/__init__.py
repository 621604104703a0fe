"""Text encoders of transformers and sentence-transformers, from the hub or from a folder."""

from collections.abc import Iterator

import autotl


@autotl.hookimpl
def autotl_backbones() -> Iterator[autotl.BackboneSpec]:
    """Describe good encoders of the hub."""
    from autotl_text.catalogue import catalogue

    yield from catalogue()


@autotl.hookimpl
def autotl_backbone_sources() -> Iterator[autotl.BackboneSourceSpec]:
    """Resolve encoders by hub name and by folder."""
    from autotl_text.catalogue import resolve_folder, resolve_hub

    yield autotl.BackboneSourceSpec(
        name="text-hub",
        summary="Any encoder of the hub, as text/<hub name>[@layers].",
        reference="https://huggingface.co/models?library=sentence-transformers",
        prefix="text/",
        resolve=resolve_hub,
    )
    yield autotl.BackboneSourceSpec(
        name="text-folder",
        summary="Any encoder in a local folder, as text:<folder>[@layers].",
        reference="https://sbert.net",
        prefix="text:",
        resolve=resolve_folder,
    )
