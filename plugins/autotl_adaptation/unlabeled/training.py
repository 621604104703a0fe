"""Train on labelled samples while samples without labels are added to every batch."""

from collections.abc import Callable, Generator
from dataclasses import replace

import torch

from autotl.adapt import Batch, Layers, LinearHead, Network, Recipe, Selection, Stream, Term, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.tuning import settings

_MOST_ROUNDS = 8  # of the labelled samples in one epoch, however many have no label


class Unlabeled(Term):
    """Add a loss on a batch of samples without labels.

    Args:
        weight: Of the loss, once it is fully in.
        strengths: Of the augmentations under which the samples are seen, side by side.
    """

    def __init__(self, weight: float, strengths: tuple[float, ...]) -> None:
        self.weight, self.strengths = weight, strengths

    def attach(self, network: Network) -> None:
        """Open the streams; with one seed, all show the same samples at once."""
        self.network = network
        task = network.task
        if task.unlabeled is None:
            raise ValueError("The task has no samples without labels; expected task.unlabeled.")
        size = settings(task).batch_size
        self.streams = [
            Stream([task.unlabeled], size, start=network.tail.start, augment=strength)
            for strength in self.strengths
        ]

    def begin(self, epoch: int, seed: int) -> None:
        """Start the streams over."""
        for stream in self.streams:
            stream.begin(seed)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the weighted loss; it comes in over the first third of the schedule."""
        logits = [self.network.logits(self.network.embed(s.next()[2])) for s in self.streams]
        return self.weight * min(1.0, 3 * batch.progress) * self.of(logits, batch)

    def of(self, logits: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        """Return the loss from the logits of each stream, shape (n_samples, n_classes) each."""
        raise NotImplementedError


def epoch_samples(labelled: int, unlabeled: int, _source: int) -> int:
    """Return the samples that one step passes: as many without labels as with."""
    return 2 * _n_labelled(labelled, unlabeled)


def _n_labelled(labelled: int, unlabeled: int) -> int:
    return max(labelled, min(unlabeled, _MOST_ROUNDS * labelled))


def with_unlabeled(  # what such methods differ in
    task: AdaptationTask,
    state: SavedState | None,
    term: Term,
    head: Callable[[AdaptationTask], LinearHead],
    select: Selection,
    *,
    batch_norm: str | None = None,
) -> Generator[Step, None, None]:
    """Yield after every epoch of training that starts from a head.

    Args:
        task: What to fit.
        state: To continue from.
        term: Reads the samples without labels.
        head: Makes the head to start from.
        select: Which layers train.
        batch_norm: "train" where batch norms must follow the samples, whatever the params say.
    """
    n_unlabeled = len(task.unlabeled) if task.unlabeled is not None else 0
    recipe = Recipe(
        layers=Layers(select=select),
        terms=[term],
        n_samples=_n_labelled(len(task.train), n_unlabeled),
    )
    chosen = settings(task, 1.0)
    if batch_norm == "train":
        chosen = replace(chosen, train_norm=True)
    yield from train(task, chosen, head(task), state, recipe)
