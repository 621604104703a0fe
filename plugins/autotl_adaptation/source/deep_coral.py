"""Train on both domains while the covariances of their embeddings come together.

References:
    Sun, Saenko: Deep CORAL: Correlation Alignment for Deep Domain Adaptation. ECCV 2016.
"""

from collections.abc import Generator

import torch

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.training import TwoDomains, both_domains


class Covariances(TwoDomains):
    """The squared distance of the two covariances, of standardised embeddings."""

    def divergence(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return `|C_s - C_t|^2 / (4 d)`, on features of unit variance."""
        if min(len(source), len(target)) < 2:
            return target.new_zeros(())
        first, second = (torch.cov(self.standardised(x).T) for x in (source, target))
        return (first - second).square().sum() / (4 * source.shape[1])


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch."""
    yield from both_domains(task, state, Covariances(task.params["trade_off"]))
