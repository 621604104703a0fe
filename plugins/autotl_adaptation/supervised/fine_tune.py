"""Train a new head together with the layer groups above the freeze depth."""

from collections.abc import Generator

from autotl.adapt import train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.regularisers import regularised
from autotl_adaptation.tuning import settings, zero_head


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of training from a head of zeros."""
    yield from train(task, settings(task), zero_head(task), state, regularised(task))
