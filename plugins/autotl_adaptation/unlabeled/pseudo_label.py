"""Learn from the network's own certain predictions on samples without labels.

References:
    Lee: Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method. 2013.
    Berthelot et al.: ReMixMatch. ICLR 2020 (aligning the classes' shares).
"""

from collections.abc import Generator

import torch
from torch.nn.functional import cross_entropy

from autotl.adapt import Batch, Network
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import selection
from autotl_adaptation.unlabeled.training import Unlabeled, with_unlabeled

_MEMORY = 0.95  # of the running mean of predictions, for each batch


class PseudoLabels(Unlabeled):
    """The cross-entropy against certain predictions, whose classes are balanced.

    Predictions are divided by their running mean and multiplied by the labels' shares, so that no
    class takes all of them.

    Args:
        weight: Of the loss.
        strengths: Of the augmentations: labels come from the first stream, the last one learns.
        threshold: Least probability of a prediction that counts.
    """

    def __init__(self, weight: float, strengths: tuple[float, ...], threshold: float) -> None:
        super().__init__(weight, strengths)
        self.threshold = threshold

    def attach(self, network: Network) -> None:
        """Take the classes' shares among the labelled samples."""
        super().attach(network)
        task = network.task
        counts = torch.bincount(torch.as_tensor(task.y), minlength=task.n_classes) + 1.0
        self._share = (counts / counts.sum()).to(network.device)
        self.module = self._mean = _Mean(self._share.clone())

    def of(self, logits: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        """Return the mean loss over the batch; what is not certain counts as nothing."""
        with torch.no_grad():
            probabilities = logits[0].softmax(dim=1)
            mean = self._mean.mean
            mean.mul_(_MEMORY).add_((1 - _MEMORY) * probabilities.mean(dim=0))
            aligned = probabilities * self._share / mean.clamp_min(1e-6)
            aligned = aligned / aligned.sum(dim=1, keepdim=True)
            certainty, labels = aligned.max(dim=1)
            counts = (certainty >= self.threshold).to(logits[-1].dtype)
        return (cross_entropy(logits[-1], labels, reduction="none") * counts).mean()


class _Mean(torch.nn.Module):
    """The running mean of predictions, kept when a trial pauses."""

    mean: torch.Tensor

    def __init__(self, start: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", start)


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved probe."""
    term = PseudoLabels(task.params["trade_off"], (0.0,), task.params["threshold"])
    yield from with_unlabeled(task, state, term, solved_head, selection(task.params))
