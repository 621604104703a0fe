"""Train on the task and on the source's own classes at once, layers shared, a head for each.

References:
    Caruana: Multitask Learning. Machine Learning, 1997.
    Kendall, Gal, Cipolla: Multi-Task Learning Using Uncertainty to Weigh Losses. CVPR 2018.
"""

from collections.abc import Generator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from autotl.adapt import Batch, Layers, Network, Recipe, Stream, Term, solve_logistic_panel, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import selection, settings

_INVERSE_STRENGTH = 0.01  # of the probes that the sources' heads start from


class SourceHeads(Term):
    """Add the loss of each source's own classes, by a head of its own.

    Args:
        weight: Of the sources' loss; None learns it from how uncertain both losses are.
        share: Samples of the sources for each of the task's.
    """

    def __init__(self, weight: float | None, share: float = 1.0) -> None:
        self.weight, self.share = weight, share

    def attach(self, network: Network) -> None:
        """Solve a probe for each source, which its head starts from."""
        self.network, task = network, network.task
        if not task.sources:
            raise ValueError("The task has no source; expected task.sources with at least one.")
        heads = nn.ModuleList(
            self._solved(s.inputs.features(), s.y, s.n_classes) for s in task.sources
        )
        self.module = heads
        if self.weight is None:
            self._log_variances = nn.Parameter(torch.zeros(2, device=network.device))
            heads.register_parameter("log_variances", self._log_variances)
        self._heads = heads.to(network.device)
        size = max(2, round(self.share * settings(task).batch_size))
        augment = task.params.get("augment", 0.0)
        inputs = [s.inputs for s in task.sources]
        self._stream = Stream(
            inputs, size, start=network.tail.start, augment=augment,
            weights=[s.weight * len(s.y) for s in task.sources],
        )  # fmt: skip
        self._labels = [torch.as_tensor(s.y).to(network.device) for s in task.sources]

    def _solved(self, features: np.ndarray, y: np.ndarray, n_classes: int) -> nn.Linear:
        mean, scale = (x.cpu().numpy() for x in (self.network.mean, self.network.scale))
        panel = solve_logistic_panel((features - mean) / scale, y, n_classes, [_INVERSE_STRENGTH])
        head = nn.Linear(features.shape[1], n_classes)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(panel.weights[0]))
            head.bias.copy_(torch.from_numpy(panel.biases[0]))
        return head

    def begin(self, epoch: int, seed: int) -> None:
        """Start the stream over."""
        self._stream.begin(seed)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the sources' loss, weighted."""
        which, rows, inputs = self._stream.next()
        embedded = (self.network.embed(inputs) - self.network.mean) / self.network.scale
        head = self._heads[which]
        found = cross_entropy(head(embedded), self._labels[which][torch.as_tensor(rows)])
        if self.weight is not None:
            return self.weight * found
        # The task's loss is in the sum with weight 1 already; this corrects that to its own.
        task_log, source_log = self._log_variances
        own = batch.class_loss
        weighed: torch.Tensor = torch.exp(-task_log) * own + torch.exp(-source_log) * found
        total: torch.Tensor = weighed - own + (task_log + source_log) / 2
        return total


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved probe."""
    learned = task.params["weighting"] == "uncertainty"
    term = SourceHeads(None if learned else task.params["source_weight"])
    recipe = Recipe(layers=Layers(select=selection(task.params)), terms=[term])
    yield from train(task, settings(task, 1.0), solved_head(task), state, recipe)
