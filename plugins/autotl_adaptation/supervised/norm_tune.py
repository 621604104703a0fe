"""Train the scales and shifts of normalisation layers above the freeze depth, and the head.

References:
    Frankle, Schwab, Morcos: Training BatchNorm and Only BatchNorm. ICLR 2021.
"""

from collections.abc import Generator

from autotl.adapt import Layers, Recipe, norms, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import settings


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved logistic probe."""
    layers = Layers(select=norms)
    yield from train(task, settings(task, 1.0), solved_head(task), state, Recipe(layers=layers))
