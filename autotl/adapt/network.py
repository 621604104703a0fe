"""A backbone and a linear head in the middle of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.adapt.heads import LinearHead, as_array
from autotl.adapt.selection import Selection, above
from autotl.adapt.tuned import TunedNetwork, embed
from autotl.features import FreezePlan
from autotl.specs import AdaptationTask, SavedState

if TYPE_CHECKING:
    import torch

    from autotl.adapt.terms import Term

__all__ = ["Layers", "Network"]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What of a backbone trains.

    Args:
        select: Chooses parameters.
        prepare: Changes the module in place before that: adds parameters, or swaps layers for
            others that read the same state; randomness comes from torch's global generator.
        export: Returns the tensors of the pretrained module's state dict that training has made
            different, where those that train have other names.
    """

    select: Selection = above
    prepare: "Callable[[torch.nn.Module], None] | None" = None
    export: "Callable[[torch.nn.Module], Mapping[str, torch.Tensor]] | None" = None


class Network:
    """The tail of a backbone that trains, its head, and their optimiser.

    Args:
        task: What to fit.
        head: Where the head starts.
        layers: What of the backbone trains.
        terms: What is added to the loss; they may bring parameters of their own.
        lr: Peak rate of the backbone.
        head_lr: Peak rate of the head and of the terms.
        weight_decay: Decoupled weight decay of AdamW.
        train_norm: Whether batch norms update their statistics.
    """

    def __init__(  # noqa: PLR0913  # what a training run is made of
        self,
        task: AdaptationTask,
        head: LinearHead,
        layers: Layers,
        terms: "Sequence[Term]" = (),
        *,
        lr: float,
        head_lr: float,
        weight_decay: float,
        train_norm: bool,
    ) -> None:
        import torch

        self.task, self.layers, self.terms, self.train_norm = task, layers, terms, train_norm
        self.device = torch.device(task.device)
        self.tail = task.train.load_backbone(task.freeze_depth)
        self.module = self.tail.module
        if layers.prepare is not None:
            with torch.random.fork_rng():
                torch.manual_seed(task.seed)
                layers.prepare(self.module)
        self.plan = FreezePlan(self.tail)
        self.groups = layers.select(self.plan, task.freeze_depth)
        self._set_head(head)
        with torch.random.fork_rng():
            torch.manual_seed(task.seed)
            for term in terms:
                term.attach(self)
        self.optimizer = torch.optim.AdamW(
            self._optimised(lr, head_lr),
            weight_decay=weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def _set_head(self, head: LinearHead) -> None:
        import torch

        tensors = {k: torch.from_numpy(v).to(self.device) for k, v in head.tensors().items()}
        self.mean, self.scale = tensors["mean"], tensors["scale"]
        self.weight = torch.nn.Parameter(tensors["weight"])
        self.bias = torch.nn.Parameter(tensors["bias"])

    def _optimised(self, lr: float, head_lr: float) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: the head, the backbone's, the terms'."""
        named = dict(self.module.named_parameters())
        groups: list[dict[str, Any]] = [{"params": [self.weight, self.bias], "peak": head_lr}]
        for group in self.groups:
            if group.names:
                params = [named[name] for name in group.names]
                groups.append({"params": params, "peak": lr * group.lr_factor})
        for term in self.terms:
            if term.module is not None:
                peak = head_lr if term.at_head_rate else lr
                groups.append({"params": list(term.module.parameters()), "peak": peak})
        return groups

    @property
    def trained_names(self) -> set[str]:
        """Names of the backbone's parameters that train at some time."""
        return {name for group in self.groups for name in group.names}

    def begin_epoch(self, progress: float) -> None:
        """Freeze what has not begun to train, and set the modes of all layers.

        Args:
            progress: Share of the schedule that is behind, in [0, 1].
        """
        active = {name for g in self.groups if g.begins <= progress for name in g.names}
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name in active)
        self.plan.train_mode(train_norm=self.train_norm)

    def embed(self, inputs: Any) -> "torch.Tensor":
        """Return embeddings of shape (n_samples, embed_dim) of what the tail reads."""
        embedded: torch.Tensor = self.module(inputs)
        return embedded

    def logits(self, embedded: "torch.Tensor", dropout: float = 0.0) -> "torch.Tensor":
        """Return the head's logits, shape (n_samples, n_classes), some features left out."""
        from torch.nn.functional import dropout as left_out

        standardised = (embedded - self.mean) / self.scale
        if dropout > 0:
            standardised = left_out(standardised, dropout)
        return standardised @ self.weight.T + self.bias

    def step(self, loss: "torch.Tensor", factor: float) -> None:
        """Take one step of the optimiser at a share of the peak rates, gradients clipped."""
        import torch

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, max_norm=5.0)
        self.optimizer.step()

    def predictor(self, head: LinearHead | None = None) -> TunedNetwork:
        """Return what predicts as of now, by the head that trains or another one.

        It may change when training goes on.
        """
        export, depth = self.layers.export, self.task.freeze_depth
        head = self.head() if head is None else head
        if export is None:
            return TunedNetwork(head, self._changed(), depth, self.tail)
        return TunedNetwork(head, export(self.module), depth)

    def embeddings(self) -> np.ndarray:
        """Return the training samples' embeddings as of now, shape (n_samples, embed_dim)."""
        return embed(self.module, self.task.train, self.tail.start)

    def head(self) -> LinearHead:
        """Return the head as arrays."""
        tensors = {
            "weight": self.weight,
            "bias": self.bias,
            "mean": self.mean,
            "scale": self.scale,
        }
        return LinearHead(**{k: v.detach().cpu().numpy().copy() for k, v in tensors.items()})

    def _changed(self) -> "dict[str, torch.Tensor]":
        """Return the tensors of the module that training may have touched."""
        touched = self.trained_names
        if self.train_norm:
            touched |= {name for name, _ in self.module.named_buffers()}
        return {n: t for n, t in self.module.state_dict().items() if n in touched}

    def state(self, epoch: int) -> SavedState:
        """Return all that is needed to continue after `epoch` epochs."""
        tensors: dict[str, Any] = {f"head.{k}": v for k, v in self.head().tensors().items()}
        tensors |= {f"module.{k}": v.detach().cpu().clone() for k, v in self._changed().items()}
        for index, term in enumerate(self.terms):
            own = term.module.state_dict() if term.module is not None else {}
            tensors |= {f"terms.{index}.{k}": v.detach().cpu().clone() for k, v in own.items()}
        for index, entry in self.optimizer.state_dict()["state"].items():
            for key, value in entry.items():
                tensors[f"optimizer.{index}.{key}"] = value.detach().cpu().clone()
        return SavedState(tensors=tensors, config={"epoch": epoch})

    def resume(self, saved: SavedState) -> int:
        """Take up a saved state and return the number of epochs behind it."""
        import torch

        parts: dict[str, dict[str, Any]] = {
            "head": {}, "module": {}, "terms": {}, "optimizer": {},
        }  # fmt: skip
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
        for index, term in enumerate(self.terms):
            if term.module is not None:
                start = f"{index}."
                mine = {
                    k.removeprefix(start): v
                    for k, v in parts["terms"].items()
                    if k.startswith(start)
                }
                term.module.load_state_dict(mine)
        self._resume_optimizer(parts["optimizer"])
        return int(saved.config["epoch"])

    def _resume_optimizer(self, tensors: "Mapping[str, torch.Tensor]") -> None:
        import torch

        entries: dict[int, dict[str, Any]] = {}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            like = parameters[int(index)]
            if value.shape == like.shape:
                # In the parameter's own memory layout: the fused step reads both side by side.
                value = torch.empty_like(like, dtype=value.dtype).copy_(value)  # noqa: PLW2901
            entries.setdefault(int(index), {})[key] = value
        stored = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**stored, "state": entries})
