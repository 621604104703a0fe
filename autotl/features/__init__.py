"""What a frozen backbone makes of the samples, computed once."""

from autotl.features.activations import Caching
from autotl.features.cost import CostModel, CostProfile, measure, planned_steps
from autotl.features.decomposition import decompose
from autotl.features.extraction import Stopped
from autotl.features.freezing import FreezePlan, freeze_depth
from autotl.features.inputs import SessionInputs
from autotl.features.layers import cut_features, layer_average, layer_means
from autotl.features.session import BackboneSession
from autotl.features.source import norm_moments, source_probs
from autotl.features.store import ActivationStore

__all__ = [
    "ActivationStore",
    "BackboneSession",
    "Caching",
    "CostModel",
    "CostProfile",
    "FreezePlan",
    "SessionInputs",
    "Stopped",
    "cut_features",
    "decompose",
    "freeze_depth",
    "layer_average",
    "layer_means",
    "measure",
    "norm_moments",
    "planned_steps",
    "source_probs",
]
