"""Train on both domains so that a discriminator cannot tell their embeddings apart.

References:
    Ganin et al.: Domain-Adversarial Training of Neural Networks. JMLR 2016.
"""

from collections.abc import Generator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from autotl.adapt import Batch, Network
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.training import TwoDomains, both_domains, ramp

_HIDDEN = 256


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.factor * gradient, None


class Discriminator(TwoDomains):
    """The loss of a discriminator, whose gradient reaches the network the other way round."""

    def attach(self, network: Network) -> None:
        """Make the discriminator."""
        super().attach(network)
        width = self.width(len(network.mean), network.task.n_classes)
        self.module = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, 1),
        ).to(network.device)  # fmt: skip

    def width(self, embed_dim: int, n_classes: int) -> int:
        """Return how many features the discriminator reads."""
        return embed_dim

    def read(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return what the discriminator reads of embeddings."""
        return self.standardised(embedded)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the source's class loss and the discriminator's."""
        # The discriminator learns at full rate from the start; the network hears of it slowly.
        self._factor = self.trade_off * ramp(batch.progress)
        return super().loss(batch)

    def share(self, progress: float) -> float:
        """Return the weight of the divergence: the reversed gradient carries the trade-off."""
        return 1.0

    def divergence(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of telling the domains apart."""
        if self.module is None:
            return target.new_zeros(())
        losses = []
        for embedded, domain in ((source, 1.0), (target, 0.0)):
            reversed_ = _Reversed.apply(self.read(embedded), self._factor)
            logits = self.module(reversed_).squeeze(1)
            losses.append(
                binary_cross_entropy_with_logits(logits, torch.full_like(logits, domain))
            )
        return (losses[0] + losses[1]) / 2


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch."""
    yield from both_domains(task, state, Discriminator(task.params["trade_off"]))
