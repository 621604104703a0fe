"""Choose, adapt and judge pretrained backbones for a small labelled data set."""

from typing import TYPE_CHECKING, Any

from autotl.hookspecs import hookimpl
from autotl.specs import (
    AdaptationSpec,
    AdaptationTask,
    BackboneSourceSpec,
    BackboneSpec,
    Choice,
    CommandSpec,
    LayerStatistics,
    LoadedBackbone,
    ModalitySpec,
    Range,
    RawFeatureSpec,
    SavedState,
    ScoreSpec,
    SimilaritySpec,
    SourceFingerprint,
    SourceNetwork,
    Step,
)

if TYPE_CHECKING:
    from autotl.api import fit, load, rank, resume, similarity
    from autotl.estimator import TransferClassifier
    from autotl.shelf.images import image_preprocess

__version__ = "0.2.0"

__all__ = [
    "AdaptationSpec",
    "AdaptationTask",
    "BackboneSourceSpec",
    "BackboneSpec",
    "Choice",
    "CommandSpec",
    "LayerStatistics",
    "LoadedBackbone",
    "ModalitySpec",
    "Range",
    "RawFeatureSpec",
    "SavedState",
    "ScoreSpec",
    "SimilaritySpec",
    "SourceFingerprint",
    "SourceNetwork",
    "Step",
    "TransferClassifier",
    "__version__",
    "fit",
    "hookimpl",
    "image_preprocess",
    "load",
    "rank",
    "resume",
    "similarity",
]

# Loaded on first use: each pulls in numpy at least.
_LAZY = {
    "TransferClassifier": "autotl.estimator",
    "fit": "autotl.api",
    "image_preprocess": "autotl.shelf.images",
    "load": "autotl.api",
    "rank": "autotl.api",
    "resume": "autotl.api",
    "similarity": "autotl.api",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'autotl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
