"""Train on the classes of both domains while something keeps the domains together."""

from collections.abc import Generator

import torch
from torch.nn.functional import cross_entropy

from autotl.adapt import Batch, Layers, Network, Recipe, Stream, Term, train
from autotl.specs import AdaptationTask, Inputs, SavedState, Step
from autotl_adaptation.source.domains import with_classes
from autotl_adaptation.tuning import selection, settings, zero_head

_RAMP = 10.0  # how fast the trade-off comes in (Ganin et al. 2016)


def ramp(progress: float) -> float:
    """Return the share of a trade-off at some progress: 0 at first, nearly 1 soon."""
    return 2.0 / (1.0 + float(torch.exp(torch.tensor(-_RAMP * progress)))) - 1.0


class SourceClasses(Term):
    """Add the loss of the source's classes."""

    def attach(self, network: Network) -> None:
        """Open a stream of the source."""
        self.network, task = network, network.task
        shared = with_classes(task)
        self._labels = [torch.as_tensor(s.shared_y).to(network.device) for s in shared]
        weights = task.class_weights
        self._weights = None
        if weights is not None:
            self._weights = torch.as_tensor(weights, dtype=torch.float32).to(network.device)
        inputs = [s.shared for s in shared if s.shared is not None]
        shares = [s.weight * len(s.shared_y) for s in shared]
        self._source = self._stream(inputs, shares)

    def _stream(self, inputs: list[Inputs], shares: list[float] | None = None) -> Stream:
        task, start = self.network.task, self.network.tail.start
        return Stream(
            inputs,
            settings(task).batch_size,
            start=start,
            augment=task.params.get("augment", 0.0),
            weights=shares,
        )

    def begin(self, epoch: int, seed: int) -> None:
        """Start the stream over."""
        self._source.begin(seed)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy of the next source samples."""
        return self.of_source()[1]

    def of_source(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next source samples' embeddings and their mean cross-entropy."""
        which, rows, inputs = self._source.next()
        embedded = self.network.embed(inputs)
        y = self._labels[which][torch.as_tensor(rows)]
        return embedded, cross_entropy(self.network.logits(embedded), y, weight=self._weights)


class TwoDomains(SourceClasses):
    """Add the loss of the source's classes and `trade_off` times the `divergence` of the domains.

    The target's side are samples without labels where there are some, else the labelled ones.

    Args:
        trade_off: Weight of the divergence once it is fully in.
    """

    def __init__(self, trade_off: float) -> None:
        self.trade_off = trade_off

    def attach(self, network: Network) -> None:
        """Open streams of both domains."""
        super().attach(network)
        unlabeled = network.task.unlabeled
        self._target = None if unlabeled is None else self._stream([unlabeled])

    def begin(self, epoch: int, seed: int) -> None:
        """Start the streams over."""
        super().begin(epoch, seed)
        if self._target is not None:
            self._target.begin(seed)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum of both."""
        source, class_loss = self.of_source()
        target = batch.embedded
        if self._target is not None:
            target = self.network.embed(self._target.next()[2])
        return class_loss + self.share(batch.progress) * self.divergence(source, target)

    def share(self, progress: float) -> float:
        """Return the weight of the divergence at some progress in [0, 1]."""
        return self.trade_off * ramp(progress)

    def divergence(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return how far the domains are apart, a scalar.

        Args:
            source: Embeddings of source samples, shape (n_source, embed_dim).
            target: Embeddings of target samples, shape (n_target, embed_dim).
        """
        raise NotImplementedError

    def standardised(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return embeddings at the scale that the head sees."""
        return (embedded - self.network.mean) / self.network.scale


def epoch_samples(labelled: int, unlabeled: int, source: int) -> int:
    """Return the samples that one step passes: as many of each kind as of the largest."""
    kinds = 1 + (unlabeled > 0) + (source > 0)
    return kinds * max(labelled, unlabeled, source)


def both_domains(
    task: AdaptationTask, state: SavedState | None, term: Term
) -> Generator[Step, None, None]:
    """Yield after every epoch of training with a term that reads both domains.

    An epoch goes once through the larger of the data sets.
    """
    n_source = sum(len(s.shared) for s in task.sources if s.shared is not None)
    sizes = [len(task.train), n_source]
    if task.unlabeled is not None:
        sizes.append(len(task.unlabeled))
    recipe = Recipe(
        layers=Layers(select=selection(task.params)), terms=[term], n_samples=max(sizes)
    )
    yield from train(task, settings(task), zero_head(task), state, recipe)
