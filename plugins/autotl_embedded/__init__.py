"""Small backbones that ship with their weights: photographs, glyphs, shapes, words, sentences."""

from collections.abc import Iterator

import autotl
from autotl_embedded.listing import SHELF

__all__ = ["autotl_backbones"]


@autotl.hookimpl
def autotl_backbones() -> Iterator[autotl.BackboneSpec]:
    """Describe the embedded backbones without loading them."""
    yield from SHELF
