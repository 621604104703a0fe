"""Learn to predict of a strongly changed image what is certain of the slightly changed one.

References:
    Sohn et al.: FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence.
    NeurIPS 2020.
"""

from collections.abc import Generator

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import selection
from autotl_adaptation.unlabeled.pseudo_label import PseudoLabels
from autotl_adaptation.unlabeled.training import with_unlabeled

_WEAK, _STRONG = 0.2, 1.0  # strengths of the augmentation


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved probe."""
    term = PseudoLabels(task.params["trade_off"], (_WEAK, _STRONG), task.params["threshold"])
    yield from with_unlabeled(task, state, term, solved_head, selection(task.params))
