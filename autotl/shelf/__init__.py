"""Which backbones are at hand: listed ones, local weights, names that sources resolve."""

from autotl.shelf.folder import SkippedBackbone, read_weights_folder
from autotl.shelf.listing import Shelf, open_shelf, weights_folders
from autotl.shelf.terms import terms_text

__all__ = [
    "Shelf",
    "SkippedBackbone",
    "open_shelf",
    "read_weights_folder",
    "terms_text",
    "weights_folders",
]
