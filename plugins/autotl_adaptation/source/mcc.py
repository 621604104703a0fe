"""Train so that predictions on samples without labels do not mix classes up.

References:
    Jin, Wang, Long, Wang: Minimum Class Confusion for Versatile Domain Adaptation. ECCV 2020.
"""

from collections.abc import Generator

import torch

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.training import TwoDomains, both_domains

_TEMPERATURE = 2.5  # as in the paper


class ClassConfusion(TwoDomains):
    """How often two classes are predicted of the same target sample, certain samples first."""

    def divergence(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean share of a class's confusion that lies with other classes."""
        probabilities = (self.network.logits(target) / _TEMPERATURE).softmax(dim=1)
        entropy = -(probabilities * probabilities.clamp_min(1e-6).log()).sum(dim=1)
        weights = 1 + torch.exp(-entropy.detach())
        weights = len(weights) * weights / weights.sum()
        confusion = (probabilities * weights[:, None]).T @ probabilities
        confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp_min(1e-6)
        return (confusion.sum() - confusion.trace()) / confusion.shape[0]


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch."""
    yield from both_domains(task, state, ClassConfusion(task.params["trade_off"]))
