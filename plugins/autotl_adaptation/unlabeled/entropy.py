"""Tune norms so that predictions on samples without labels become certain.

References:
    Wang, Shelhamer, Liu, Olshausen, Darrell: Tent: Fully Test-Time Adaptation by Entropy
    Minimization. ICLR 2021; here beside the labels that there are (Grandvalet, Bengio 2004).
"""

from collections.abc import Generator

import torch

from autotl.adapt import Batch, norms
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.unlabeled.training import Unlabeled, with_unlabeled


class Entropy(Unlabeled):
    """The mean entropy of predictions, less that of their mean: certain, but not of one class."""

    def of(self, logits: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        """Return the loss, nats."""
        probabilities = logits[0].softmax(dim=1)
        return (
            _entropy(probabilities).mean() - _entropy(probabilities.mean(dim=0, keepdim=True))[0]
        )


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return -(probabilities * probabilities.clamp_min(1e-6).log()).sum(dim=1)


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved probe."""
    term = Entropy(task.params["trade_off"], (0.0,))
    yield from with_unlabeled(task, state, term, solved_head, norms)
