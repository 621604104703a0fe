"""What a frozen backbone makes of the samples, computed once: embeddings, freezing, algebra."""

from autotl.features.decomposition import decompose
from autotl.features.freezing import FreezePlan, freeze_depth
from autotl.features.session import BackboneSession, SessionInputs

__all__ = ["BackboneSession", "FreezePlan", "SessionInputs", "decompose", "freeze_depth"]
