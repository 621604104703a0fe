"""Draw samples of one class together in the embedding, then solve a probe on it.

The cosine of two samples is drawn to 1 within a class and to 0 between classes, for every pair of
a batch: that takes one pass for a batch where pairs drawn one by one take two for each.

References:
    Tunstall et al.: Efficient Few-Shot Learning Without Prompts. 2022.
"""

from collections.abc import Generator
from dataclasses import replace

import torch

from autotl.adapt import (
    Batch,
    Layers,
    LinearHead,
    Network,
    Recipe,
    Term,
    solve_logistic_panel,
    standardiser,
    train,
)
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.tuning import selection, settings, zero_head

_INVERSE_STRENGTH = 0.1  # of the probe; it is solved on samples that were drawn together


class PairsOfClasses(Term):
    """Add the squared error of the cosines of all pairs, within and between classes alike."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean of both kinds' mean squared errors."""
        directions = torch.nn.functional.normalize(batch.embedded, dim=1)
        apart = ~torch.eye(len(batch.y), dtype=torch.bool, device=batch.y.device)
        same = batch.y[:, None] == batch.y[None, :]
        errors = (directions @ directions.T - same.to(directions.dtype)).square()
        kinds = [errors[kind & apart] for kind in (same, ~same)]
        means = [found.mean() for found in kinds if found.numel()]
        return torch.stack(means).mean() if means else batch.embedded.sum() * 0.0


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning with a probe solved on what the encoder has become."""

    def solve(network: Network) -> LinearHead:
        features = network.embeddings()
        scaling = standardiser(features)
        scaled = (features - scaling["mean"]) / scaling["scale"]
        panel = solve_logistic_panel(
            scaled, task.y, task.n_classes, [_INVERSE_STRENGTH], class_weights=task.class_weights
        )
        return LinearHead(weight=panel.weights[0], bias=panel.biases[0], **scaling)

    recipe = Recipe(
        layers=Layers(select=selection(task.params)),
        terms=[PairsOfClasses()],
        class_loss=0.0,
        solve=solve,
    )
    drawn = replace(settings(task), balance="pairs")
    yield from train(task, drawn, zero_head(task), state, recipe)
