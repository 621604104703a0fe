"""What adaptation methods share: predictors that save as tensors, and one training loop."""

from autotl.adapt.blend import blend
from autotl.adapt.heads import LinearHead, as_array, fit_temperature, softmax
from autotl.adapt.logistic import LogisticPanel, LogisticPath, solve_logistic_panel
from autotl.adapt.network import Layers, Network
from autotl.adapt.selection import (
    Selection,
    TrainedGroup,
    above,
    biases,
    decayed,
    norms,
    unfrozen,
)
from autotl.adapt.streams import Stream
from autotl.adapt.terms import Batch, Term
from autotl.adapt.training import Recipe, TrainingSettings, standardiser, train
from autotl.adapt.tuned import TunedNetwork, embed
from autotl.features import FreezePlan

__all__ = [
    "Batch",
    "FreezePlan",
    "Layers",
    "LinearHead",
    "LogisticPanel",
    "LogisticPath",
    "Network",
    "Recipe",
    "Selection",
    "Stream",
    "Term",
    "TrainedGroup",
    "TrainingSettings",
    "TunedNetwork",
    "above",
    "as_array",
    "biases",
    "blend",
    "decayed",
    "embed",
    "fit_temperature",
    "norms",
    "softmax",
    "solve_logistic_panel",
    "standardiser",
    "train",
    "unfrozen",
]
