"""Shrink what hardly varies in a batch of embeddings: it does not transfer.

References:
    Chen, Wang, Fu, Long, Wang: Catastrophic Forgetting Meets Negative Transfer: Batch Spectral
    Shrinkage for Safe Transfer Learning. NeurIPS 2019.
"""

import torch

from autotl.adapt import Batch, Term

_ETA, _SMALLEST = 1e-3, 1  # as in the paper


class SpectralShrinkage(Term):
    """Add `eta` times the square of the smallest singular value of a batch of embeddings.

    Args:
        strength: Factor on the paper's eta.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the penalty."""
        # Of the smaller Gram matrix: its eigenvalues are the squares that are asked for.
        embedded = batch.embedded
        wide = embedded.shape[0] <= embedded.shape[1]
        gram = embedded @ embedded.T if wide else embedded.T @ embedded
        smallest: torch.Tensor = torch.linalg.eigvalsh(gram)[:_SMALLEST]
        return self.strength * _ETA * smallest.clamp_min(0).sum()
