"""What adaptation methods share: predictors that save as tensors, and one training loop."""

from autotl.adapt.heads import LinearHead, as_array, fit_temperature, softmax
from autotl.adapt.logistic import LogisticPath
from autotl.adapt.networks import TunedNetwork
from autotl.adapt.training import TrainingSettings, standardiser, train

__all__ = [
    "LinearHead",
    "LogisticPath",
    "TrainingSettings",
    "TunedNetwork",
    "as_array",
    "fit_temperature",
    "softmax",
    "standardiser",
    "train",
]
