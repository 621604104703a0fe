"""What adaptation methods share: predictors that save as tensors, and one training loop."""

from autotl.adapt.heads import LinearHead, as_array, fit_temperature, softmax
from autotl.adapt.logistic import LogisticPanel, LogisticPath, solve_logistic_panel
from autotl.adapt.networks import TunedNetwork
from autotl.adapt.training import TrainingSettings, standardiser, train

__all__ = [
    "LinearHead",
    "LogisticPanel",
    "LogisticPath",
    "TrainingSettings",
    "TunedNetwork",
    "as_array",
    "fit_temperature",
    "softmax",
    "solve_logistic_panel",
    "standardiser",
    "train",
]
