"""The training loop that adaptation methods share: one step an epoch, resumable bit for bit."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.adapt.heads import LinearHead, as_array
from autotl.adapt.networks import TunedNetwork
from autotl.features import FreezePlan
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
    """

    lr: float
    head_lr: float
    weight_decay: float
    batch_size: int = 32
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.0
    augment: float = 0.0
    train_norm: bool = False


def schedule(progress: float, warmup_fraction: float) -> float:
    """Return the factor on the peak rate at `progress` in [0, 1]: warm-up, then cosine."""
    if progress < warmup_fraction:
        return (progress + 1e-3) / (warmup_fraction + 1e-3)
    rest = (progress - warmup_fraction) / max(1e-9, 1 - warmup_fraction)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))


class _Run:
    """A network, its head and its optimiser in the middle of training."""

    def __init__(self, task: AdaptationTask, settings: TrainingSettings, head: LinearHead) -> None:
        import torch

        self.task, self.settings = task, settings
        self.tail = task.train.load_backbone(task.freeze_depth)
        self.module = self.tail.module
        self.plan = FreezePlan(self.tail)
        trained = self.plan.apply(task.freeze_depth)
        device = torch.device(task.device)
        tensors = {k: torch.from_numpy(v).to(device) for k, v in head.tensors().items()}
        self.mean, self.scale = tensors["mean"], tensors["scale"]
        self.weight = torch.nn.Parameter(tensors["weight"])
        self.bias = torch.nn.Parameter(tensors["bias"])
        groups = [{"params": [self.weight, self.bias], "peak": settings.head_lr}]
        if trained:
            groups.append({"params": trained, "peak": settings.lr})
        self.optimizer = torch.optim.AdamW(
            groups,
            weight_decay=settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        weights = task.class_weights
        self.loss = torch.nn.CrossEntropyLoss(
            weight=None
            if weights is None
            else torch.as_tensor(weights, dtype=torch.float32).to(device),
            label_smoothing=settings.label_smoothing,
        )
        self.y = torch.as_tensor(task.y).to(device)

    def changed(self) -> "dict[str, torch.Tensor]":
        """Return the tensors of the backbone that training may have touched."""
        trained = {n for n, p in self.module.named_parameters() if p.requires_grad}
        buffers = (
            {n for n, _ in self.module.named_buffers()} if self.settings.train_norm else set()
        )
        return {n: t for n, t in self.module.state_dict().items() if n in trained | buffers}

    def head(self) -> LinearHead:
        """Return the head as arrays."""
        tensors = {
            "weight": self.weight,
            "bias": self.bias,
            "mean": self.mean,
            "scale": self.scale,
        }
        return LinearHead(**{k: v.detach().cpu().numpy().copy() for k, v in tensors.items()})

    def epoch(self, index: int) -> float:
        """Train one epoch and return its mean loss; its randomness depends on seed and index."""
        import torch

        n_batches = math.ceil(len(self.task.train) / self.settings.batch_size)
        total = 0.0
        self.plan.train_mode(train_norm=self.settings.train_norm)
        seed = self.task.seed * 100_003 + index
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            batches = self.task.train.batches(
                self.settings.batch_size,
                seed=seed,
                augment=self.settings.augment,
                start=self.tail.start,
            )
            for i, (rows, batch) in enumerate(batches):
                progress = (index + i / n_batches) / self.task.n_steps
                factor = schedule(progress, self.settings.warmup_fraction)
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                total += self._batch(rows, batch) * len(rows)
        return total / len(self.task.train)

    def _batch(self, rows: np.ndarray, batch: Any) -> float:
        import torch

        # A single sample has no batch statistics; leave it to the next epoch's shuffle.
        if self.settings.train_norm and len(rows) == 1:
            return 0.0
        self.optimizer.zero_grad(set_to_none=True)
        embedded = self.module(batch)
        logits = ((embedded - self.mean) / self.scale) @ self.weight.T + self.bias
        loss = self.loss(logits, self.y[torch.as_tensor(rows)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            [p for g in self.optimizer.param_groups for p in g["params"]], max_norm=5.0
        )
        self.optimizer.step()
        return float(loss.detach())

    def state(self, epoch: int) -> SavedState:
        """Return all that is needed to continue after `epoch` epochs."""
        tensors: dict[str, Any] = {f"head.{k}": v for k, v in self.head().tensors().items()}
        tensors |= {f"module.{k}": v.detach().cpu().clone() for k, v in self.changed().items()}
        for index, entry in self.optimizer.state_dict()["state"].items():
            for key, value in entry.items():
                tensors[f"optimizer.{index}.{key}"] = value.detach().cpu().clone()
        return SavedState(tensors=tensors, config={"epoch": epoch})

    def resume(self, saved: SavedState) -> int:
        """Take up a saved state and return the number of epochs behind it."""
        import torch

        parts: dict[str, dict[str, Any]] = {"head": {}, "module": {}, "optimizer": {}}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = torch.as_tensor(as_array(value))
        with torch.no_grad():
            self.weight.copy_(parts["head"]["weight"])
            self.bias.copy_(parts["head"]["bias"])
        # Buffers of frozen layers may be saved too; a shorter tail has no place for them.
        own = self.module.state_dict()
        own |= {name: value for name, value in parts["module"].items() if name in own}
        self.module.load_state_dict(own)
        entries: dict[int, dict[str, Any]] = {}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition(".")
            like = parameters[int(index)]
            if value.shape == like.shape:
                # In the parameter's own memory layout: the fused step reads both side by side.
                value = torch.empty_like(like, dtype=value.dtype).copy_(value)  # noqa: PLW2901
            entries.setdefault(int(index), {})[key] = value
        stored = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**stored, "state": entries})
        return int(saved.config["epoch"])


def train(
    task: AdaptationTask,
    settings: TrainingSettings,
    head: LinearHead,
    state: SavedState | None = None,
) -> Generator[Step, None, None]:
    """Train backbone and head from `head`, yielding after every epoch until `task.n_steps`.

    AdamW with a linear warm-up and a cosine over the planned epochs, gradients clipped at norm 5;
    the frozen groups stay in eval mode.
    """
    run = _Run(task, settings, head)
    start = run.resume(state) if state is not None else 0
    for epoch in range(start, task.n_steps):
        loss = run.epoch(epoch)
        done = epoch + 1
        yield Step(
            predictor=TunedNetwork(run.head(), run.changed(), task.freeze_depth, run.tail),
            state=lambda done=done: run.state(done),  # type: ignore[misc]  # default binds the epoch
            loss=loss,
        )


def standardiser(features: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return `mean` and `scale` that standardise features of shape (n_samples, embed_dim)."""
    scale = features.std(axis=0)
    # Directions that hardly vary in the training data carry noise: do not blow them up.
    floor = 0.05 * float(np.sqrt(np.mean(scale**2))) + 1e-8
    return {"mean": features.mean(axis=0), "scale": np.maximum(scale, floor)}
