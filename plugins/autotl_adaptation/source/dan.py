"""Train on both domains while the means of their embeddings agree in many kernels' spaces.

References:
    Long, Cao, Wang, Jordan: Learning Transferable Features with Deep Adaptation Networks. ICML
    2015.
"""

from collections.abc import Generator

import torch

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.training import TwoDomains, both_domains

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the mean squared distance, as in the paper


class MeanDiscrepancy(TwoDomains):
    """The squared maximum mean discrepancy under a sum of Gaussian kernels."""

    def divergence(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the discrepancy, each sample's kernel with itself left out."""
        if min(len(source), len(target)) < 2:
            return target.new_zeros(())
        n_source = len(source)
        both = torch.cat([self.standardised(source), self.standardised(target)])
        squared = torch.cdist(both, both).square()
        scale = squared.detach().sum() / (len(both) * (len(both) - 1))
        kernel = sum(torch.exp(-squared / (width * scale + 1e-12)) for width in _WIDTHS)
        kernel = torch.as_tensor(kernel) / len(_WIDTHS)
        kernel = kernel - torch.diag(torch.diag(kernel))
        own, other = kernel[:n_source, :n_source], kernel[n_source:, n_source:]
        n_target = len(target)
        within = own.sum() / (n_source * (n_source - 1)) + other.sum() / (
            n_target * (n_target - 1)
        )
        return within - 2 * kernel[:n_source, n_source:].mean()


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch."""
    yield from both_domains(task, state, MeanDiscrepancy(task.params["trade_off"]))
