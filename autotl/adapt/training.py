"""The training loop that adaptation methods share: one step an epoch, resumable bit for bit."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.adapt.heads import LinearHead
from autotl.adapt.mixing import Mixture
from autotl.adapt.network import Layers, Network
from autotl.adapt.terms import Batch, Term
from autotl.specs import AdaptationTask, SavedState, Step

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train.

    Args:
        lr: Peak learning rate of the backbone's trained parameters.
        head_lr: Peak learning rate of the head.
        weight_decay: Decoupled weight decay of AdamW.
        batch_size: Samples a step of the optimiser.
        warmup_fraction: Share of the schedule spent warming up linearly.
        label_smoothing: Mass spread over all classes.
        augment: Strength in [0, 1] of the modality's augmentation.
        train_norm: Let batch norm in the trained part update its statistics.
        mix: "none", "mixup" or "cutmix": train on mixtures of two samples.
        dropout: Share of the embedding that the head does not see while it trains.
        balance: What is done about rare classes: "weights" weighs the loss as the task says,
            "sampling" draws all classes alike, "logits" takes the classes' frequencies off the
            logits after training (Menon et al., Long-tail Learning via Logit Adjustment, ICLR
            2021), "pairs" draws two samples of a class at a time.
    """

    lr: float
    head_lr: float
    weight_decay: float
    batch_size: int = 32
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.0
    augment: float = 0.0
    train_norm: bool = False
    mix: str = "none"
    dropout: float = 0.0
    balance: str = "weights"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Where training departs from fitting all layers to the classes.

    Args:
        layers: What of the backbone trains; by default all layer groups above the freeze depth.
        terms: What is added to the loss.
        class_loss: Weight of the loss of the classes; where the target has no labels there is
            none.
        n_samples: Labelled samples of an epoch, which begin anew where there are fewer; None
            goes through all of them once.
        solve: Returns the head of a step's predictor from the network, where the head that
            trained is not the one to predict with.
    """

    layers: Layers = field(default_factory=Layers)
    terms: Sequence[Term] = ()
    class_loss: float = 1.0
    n_samples: int | None = None
    solve: Callable[[Network], LinearHead] | None = None


_ORDINARY = Recipe()


def train(
    task: AdaptationTask,
    settings: TrainingSettings,
    head: LinearHead,
    state: SavedState | None = None,
    recipe: Recipe = _ORDINARY,
) -> Generator[Step, None, None]:
    """Train backbone and head from `head`, yielding after every epoch until `task.n_steps`.

    AdamW with a linear warm-up and a cosine over the planned epochs, gradients clipped at norm 5;
    the frozen groups stay in eval mode.

    Args:
        task: What to fit.
        settings: How to train.
        head: Where the head starts.
        state: To continue from.
        recipe: Where this departs from fitting all layers to the classes.
    """
    network = Network(
        task,
        head,
        recipe.layers,
        recipe.terms,
        lr=settings.lr,
        head_lr=settings.head_lr,
        weight_decay=settings.weight_decay,
        train_norm=settings.train_norm,
    )
    start = network.resume(state) if state is not None else 0
    loop = _Loop(network, settings, recipe)
    for epoch in range(start, task.n_steps):
        loss = loop.epoch(epoch)
        done = epoch + 1
        yield Step(
            predictor=network.predictor(recipe.solve(network) if recipe.solve else None),
            state=lambda done=done: network.state(done),  # type: ignore[misc]  # default binds the epoch
            loss=loss,
        )


class _Loop:
    """Epochs of a network; their randomness depends on the task's seed and their index alone."""

    def __init__(self, network: Network, settings: TrainingSettings, recipe: Recipe) -> None:
        import torch

        self.network, self.settings, self.task = network, settings, network.task
        self.class_loss = recipe.class_loss
        self._n_samples = recipe.n_samples or len(network.task.train)
        self.y = torch.as_tensor(self.task.y).to(network.device)
        known = self.task.y[self.task.y >= 0]
        counts = np.bincount(known, minlength=self.task.n_classes)
        self._rarity = 1 / counts.clip(1)[self.task.y]
        frequency = torch.as_tensor(counts / max(1, counts.sum()), dtype=torch.float32)
        self._log_prior = frequency.clip(1e-6).log().to(network.device)
        weights = self.task.class_weights if settings.balance == "weights" else None
        self._cross_entropy = torch.nn.CrossEntropyLoss(
            weight=None
            if weights is None
            else torch.as_tensor(weights, dtype=torch.float32).to(network.device),
            label_smoothing=settings.label_smoothing,
        )

    def epoch(self, index: int) -> float:
        """Train one epoch and return its mean loss, of the classes where they have one."""
        import torch

        task, settings, network = self.task, self.settings, self.network
        n_batches, total = math.ceil(self._n_samples / settings.batch_size), 0.0
        network.begin_epoch(index / task.n_steps)
        seed = task.seed * 100_003 + index
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for term in network.terms:
                term.begin(index, seed)
            batches = task.train.batches(
                settings.batch_size,
                seed=seed,
                augment=settings.augment,
                start=network.tail.start,
                order=self._order(seed),
            )
            for i, (rows, inputs) in enumerate(batches):
                # A single sample has no batch statistics; leave it to the next epoch's shuffle.
                if settings.train_norm and len(rows) == 1:
                    continue
                progress = (index + i / n_batches) / task.n_steps
                shown, loss = self._loss(rows, inputs, progress, np.random.default_rng([seed, i]))
                network.step(loss, schedule(progress, settings.warmup_fraction))
                total += float(shown.detach()) * len(rows)
        return total / self._n_samples

    def _order(self, seed: int) -> np.ndarray | None:
        """Return the positions of an epoch's samples; None goes through all of them once."""
        balance, y, n_drawn = self.settings.balance, self.task.y, self._n_samples
        rng, n_samples = np.random.default_rng([seed, 1]), len(y)
        chance = self._rarity / self._rarity.sum()
        if balance == "sampling":
            return rng.choice(n_samples, size=n_drawn, p=chance)
        if balance != "pairs":
            if n_drawn == n_samples:
                return None
            rounds = [rng.permutation(n_samples) for _ in range(math.ceil(n_drawn / n_samples))]
            return np.concatenate(rounds)[:n_drawn]
        first = rng.choice(n_samples, size=math.ceil(n_drawn / 2), p=chance)
        others = [rng.choice(np.flatnonzero(y == y[i])) for i in first]
        return np.column_stack([first, others]).ravel()

    def _loss(
        self, rows: np.ndarray, inputs: Any, progress: float, rng: np.random.Generator
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return what to report, which no schedule of a term moves, and what to minimise."""
        import torch

        network, y = self.network, self.y[torch.as_tensor(rows)]
        targets, mixture = y, None
        if self.settings.mix != "none":
            mixture = Mixture(self.settings.mix, len(rows), rng)
        if mixture is not None and Mixture.mixes(inputs):
            inputs = mixture.values(inputs)
            embedded = network.embed(inputs)
        elif mixture is not None:  # tokens cannot be mixed, what is made of them can
            embedded = mixture.values(network.embed(inputs))
        else:
            embedded = network.embed(inputs)
        logits = network.logits(embedded, self.settings.dropout)
        if mixture is not None:
            one_hot = torch.nn.functional.one_hot(y, self.task.n_classes).to(logits.dtype)
            targets = mixture.targets(one_hot)
        shifted = logits + self._log_prior if self.settings.balance == "logits" else logits
        own = None
        if self.class_loss and self.task.labelled:
            own = self.class_loss * self._cross_entropy(shifted, targets)
        start = logits.sum() * 0.0 if own is None else own
        batch = Batch(
            rows=rows, inputs=inputs, y=y, embedded=embedded, logits=logits, class_loss=start,
            progress=progress,
        )  # fmt: skip
        total = sum((term.loss(batch) for term in network.terms), start=start)
        return (total if own is None else own), total


def schedule(progress: float, warmup_fraction: float) -> float:
    """Return the factor on the peak rate at `progress` in [0, 1]: warm-up, then cosine."""
    if progress < warmup_fraction:
        return (progress + 1e-3) / (warmup_fraction + 1e-3)
    rest = (progress - warmup_fraction) / max(1e-9, 1 - warmup_fraction)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))


def standardiser(features: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return `mean` and `scale` that standardise features of shape (n_samples, embed_dim)."""
    scale = features.std(axis=0)
    # Directions that hardly vary in the training data carry noise: do not blow them up.
    floor = 0.05 * float(np.sqrt(np.mean(scale**2))) + 1e-8
    return {"mean": features.mean(axis=0), "scale": np.maximum(scale, floor)}
