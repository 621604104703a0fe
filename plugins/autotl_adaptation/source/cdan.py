"""Train so that a discriminator that knows the predicted classes cannot tell domains apart.

References:
    Long, Cao, Wang, Jordan: Conditional Adversarial Domain Adaptation. NeurIPS 2018.
"""

from collections.abc import Generator

import torch

from autotl.adapt import Network
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.dann import Discriminator
from autotl_adaptation.source.training import both_domains

_MOST = 4096  # features of the outer product; beyond that it is drawn at random


class ConditionalDiscriminator(Discriminator):
    """A discriminator of the outer products of embeddings and predicted probabilities."""

    def attach(self, network: Network) -> None:
        """Draw the random maps that stand for a large outer product."""
        super().attach(network)
        embed_dim, n_classes = len(network.mean), network.task.n_classes
        self._maps = None
        if embed_dim * n_classes > _MOST:
            shapes = ((embed_dim, _MOST), (n_classes, _MOST))
            self._maps = [torch.randn(shape).to(network.device) for shape in shapes]

    def width(self, embed_dim: int, n_classes: int) -> int:
        """Return the size of the outer product, or of its stand-in."""
        return min(_MOST, embed_dim * n_classes)

    def read(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return the outer products; the probabilities pass no gradient on."""
        features = self.standardised(embedded)
        probabilities = self.network.logits(embedded).softmax(dim=1).detach()
        if self._maps is None:
            return (probabilities[:, :, None] * features[:, None, :]).flatten(1)
        drawn = [x @ m for x, m in zip((features, probabilities), self._maps, strict=True)]
        product: torch.Tensor = drawn[0] * drawn[1] / _MOST**0.5
        return product


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch."""
    yield from both_domains(task, state, ConditionalDiscriminator(task.params["trade_off"]))
