"""Pull trained weights towards the pretrained ones.

References:
    Li, Grandvalet, Davoine: Explicit Inductive Bias for Transfer Learning with Convolutional
    Networks. ICML 2018.
"""

import torch

from autotl.adapt import Batch, Network, Term

_ALPHA, _BETA = 0.1, 0.01  # of the backbone and of the head, as in the paper


class StartingPoint(Term):
    """Add `alpha / 2 * |w - w0|^2` for the backbone and `beta / 2 * |v|^2` for the head.

    Args:
        strength: Factor on the paper's alpha and beta.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def attach(self, network: Network) -> None:
        """Remember the pretrained weights."""
        self._head = network.weight
        trained = network.trained_names
        self._pairs = [
            (parameter, parameter.detach().clone())
            for name, parameter in network.module.named_parameters()
            if name in trained
        ]

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the penalty."""
        total = 0.5 * _BETA * self._head.square().sum()
        for now, before in self._pairs:
            if now.requires_grad:
                total = total + 0.5 * _ALPHA * (now - before).square().sum()
        return self.strength * total
