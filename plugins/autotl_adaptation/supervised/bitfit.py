"""Train the biases above the freeze depth, and the head.

References:
    Ben Zaken, Goldberg, Ravfogel: BitFit: Simple Parameter-efficient Fine-tuning for
    Transformer-based Masked Language-models. ACL 2022.
"""

from collections.abc import Generator

from autotl.adapt import Layers, Recipe, biases, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import settings


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved logistic probe."""
    layers = Layers(select=biases)
    yield from train(task, settings(task, 1.0), solved_head(task), state, Recipe(layers=layers))
