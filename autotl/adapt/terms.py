"""What can be added to the loss of a batch: regularisers, and losses on other data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from autotl.adapt.network import Network

__all__ = ["Batch", "Term"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch of labelled samples after its way through the network.

    Args:
        rows: Positions in the training samples, shape (n_samples,).
        inputs: What the tail of the backbone has read.
        y: Class codes, shape (n_samples,).
        embedded: Embeddings, shape (n_samples, embed_dim).
        logits: Shape (n_samples, n_classes).
        class_loss: The task's own loss on it, which is in the sum already; 0 without labels.
        progress: Share of the schedule that is behind, in [0, 1].
    """

    rows: np.ndarray
    inputs: Any
    y: "torch.Tensor"
    embedded: "torch.Tensor"
    logits: "torch.Tensor"
    class_loss: "torch.Tensor"
    progress: float


class Term:
    """Something that is added to the loss of each batch.

    `module` holds parameters of its own, if it has some; they train at the head's rate, or at the
    backbone's, and are saved when a trial pauses.
    """

    module: "torch.nn.Module | None" = None
    at_head_rate: bool = True

    def attach(self, network: "Network") -> None:
        """Look at the network before training: its parameters are the pretrained ones."""

    def begin(self, epoch: int, seed: int) -> None:
        """Prepare for an epoch; everything random depends on the seed alone."""

    def loss(self, batch: Batch) -> "torch.Tensor":
        """Return what to add to the loss of a batch, a scalar."""
        raise NotImplementedError
