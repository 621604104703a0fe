"""The plugin contract: frozen keyword-only dataclasses that hooks yield.

Behaviour is carried by functions in fields, not by subclassing, and fields are only ever added
with defaults. Nothing heavy is imported here: numpy and torch types appear in annotations only.
"""

from autotl.specs.adaptations import (
    AdaptationSpec,
    AdaptationTask,
    Inputs,
    Predictor,
    SourceData,
    Step,
)
from autotl.specs.algebra import SpectralDecomposition
from autotl.specs.backbones import (
    BackboneSourceSpec,
    BackboneSpec,
    Cuts,
    LoadedBackbone,
    SourceNetwork,
    check_part,
)
from autotl.specs.base import CommandSpec, SavedState, Spec
from autotl.specs.fingerprints import LayerStatistics, SourceFingerprint
from autotl.specs.modalities import ModalitySpec, RawFeatureSpec
from autotl.specs.scores import DomainSample, ScoreInput, ScoreSpec, SimilaritySpec
from autotl.specs.spaces import Choice, Range, Space, matters

__all__ = [
    "AdaptationSpec",
    "AdaptationTask",
    "BackboneSourceSpec",
    "BackboneSpec",
    "Choice",
    "CommandSpec",
    "Cuts",
    "DomainSample",
    "Inputs",
    "LayerStatistics",
    "LoadedBackbone",
    "ModalitySpec",
    "Predictor",
    "Range",
    "RawFeatureSpec",
    "SavedState",
    "ScoreInput",
    "ScoreSpec",
    "SimilaritySpec",
    "SourceData",
    "SourceFingerprint",
    "SourceNetwork",
    "Space",
    "Spec",
    "SpectralDecomposition",
    "Step",
    "check_part",
    "matters",
]
