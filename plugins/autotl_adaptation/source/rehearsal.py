"""Fine-tune while a few samples of the source in each batch keep what was known of it.

References:
    Robins: Catastrophic Forgetting, Rehearsal and Pseudorehearsal. Connection Science, 1995.
"""

from collections.abc import Generator

from autotl.adapt import Layers, Recipe, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.multi_task import SourceHeads
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import selection, settings


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved probe."""
    term = SourceHeads(weight=task.params["rehearsed"], share=task.params["rehearsed"])
    recipe = Recipe(layers=Layers(select=selection(task.params)), terms=[term])
    yield from train(task, settings(task, 1.0), solved_head(task), state, recipe)
