"""Train one contiguous block of layers and keep what lies before and after it.

References:
    Lee et al.: Surgical Fine-Tuning Improves Adaptation to Distribution Shifts. ICLR 2023.
"""

from collections.abc import Generator, Mapping
from typing import Any

from autotl.adapt import FreezePlan, Layers, Recipe, TrainedGroup, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import settings

_N_BLOCKS = 4
BLOCKS = ("first", "second", "third", "last")


def frozen_before(params: Mapping[str, Any]) -> float:
    """Return the share of the layer groups before the block."""
    return BLOCKS.index(params["block"]) / _N_BLOCKS


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch; the head starts from a solved probe, since most layers stay."""

    def select(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
        share = (BLOCKS.index(task.params["block"]) + 1) / _N_BLOCKS
        after = max(depth + 1, round(share * plan.n_groups))
        return [TrainedGroup(names=tuple(n for g in plan.groups[depth:after] for n in g))]

    layers = Layers(select=select)
    yield from train(task, settings(task, 1.0), solved_head(task), state, Recipe(layers=layers))
