"""Train the last layer group first and let one more in after each part of the schedule.

References:
    Howard, Ruder: Universal Language Model Fine-tuning for Text Classification. ACL 2018.
"""

from collections.abc import Generator

from autotl.adapt import Layers, Recipe, train, unfrozen
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.tuning import settings, zero_head

_SHARE = 0.6  # of the schedule; all groups train together in the rest


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch; the head trains alone only where all groups are frozen."""
    layers = Layers(select=unfrozen(task.params["layer_decay"], _SHARE))
    yield from train(task, settings(task), zero_head(task), state, Recipe(layers=layers))
