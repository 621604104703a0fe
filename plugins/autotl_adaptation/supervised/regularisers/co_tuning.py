"""Keep the source classifier, and train it on what target classes look like to it.

References:
    You, Kou, Long, Wang: Co-Tuning for Transfer Learning. NeurIPS 2020.
"""

import copy

import numpy as np
import torch

from autotl.adapt import Batch, Network, Term

_TRADE_OFF = 2.3  # as in the paper's largest setting


class CoTuning(Term):
    """Add the source classifier's cross-entropy against each class's mean source probabilities.

    The relation of source and target classes is the paper's direct one: the mean over a class's
    samples of what the pretrained network predicts. Backbones that came without their source
    classifier are tuned as if this term were not there.

    Args:
        strength: Factor on the paper's trade-off.
    """

    at_head_rate = False

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def attach(self, network: Network) -> None:
        """Copy the source classifier and measure the relation on the training samples."""
        head = network.tail.source_head
        if head is None:
            return
        self.module = copy.deepcopy(head).requires_grad_(True)
        task = network.task
        with torch.no_grad():
            features = torch.from_numpy(task.train.features()).to(network.device)
            probs = head(features).softmax(dim=1)
        relation = torch.full((task.n_classes, probs.shape[1]), 1 / probs.shape[1])
        for code in np.unique(task.y):
            rows = torch.from_numpy(np.flatnonzero(task.y == code)).to(network.device)
            relation[code] = probs[rows].mean(dim=0).cpu()
        self._relation = relation.to(network.device)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the penalty."""
        if self.module is None:
            return batch.embedded.new_zeros(())
        log_probs = self.module(batch.embedded).log_softmax(dim=1)
        cross_entropy: torch.Tensor = -(self._relation[batch.y] * log_probs).sum(dim=1).mean()
        return self.strength * _TRADE_OFF * cross_entropy
