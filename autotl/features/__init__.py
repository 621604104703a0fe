"""What a frozen backbone makes of the samples, computed once."""

from autotl.features.activations import Caching
from autotl.features.cost import CostModel, CostProfile, measure, planned_steps
from autotl.features.decomposition import decompose
from autotl.features.freezing import FreezePlan, freeze_depth
from autotl.features.inputs import SessionInputs
from autotl.features.session import BackboneSession
from autotl.features.store import ActivationStore

__all__ = [
    "ActivationStore",
    "BackboneSession",
    "Caching",
    "CostModel",
    "CostProfile",
    "FreezePlan",
    "SessionInputs",
    "decompose",
    "freeze_depth",
    "measure",
    "planned_steps",
]
