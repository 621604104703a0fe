"""Which of a backbone's parameters train, how fast, and from when on."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotl.features import FreezePlan

if TYPE_CHECKING:
    import torch

__all__ = ["Selection", "TrainedGroup", "above", "biases", "decayed", "norms", "unfrozen"]


@dataclass(frozen=True, kw_only=True)
class TrainedGroup:
    """Parameters of a backbone that train alike.

    Args:
        names: Of the parameters.
        lr_factor: On the backbone's peak learning rate.
        begins: Share of the schedule, in [0, 1), during which they still stay frozen.
    """

    names: tuple[str, ...]
    lr_factor: float = 1.0
    begins: float = 0.0


Selection = Callable[[FreezePlan, int], list[TrainedGroup]]
"""Takes the layer groups of a backbone and the freeze depth; returns what trains."""


def above(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
    """Train all layer groups above the freeze depth alike."""
    names = tuple(name for group in plan.groups[depth:] for name in group)
    return [TrainedGroup(names=names)]


def decayed(factor: float) -> Selection:
    """Train each layer group `factor` times as fast as the one after it.

    References:
        Howard, Ruder: Universal Language Model Fine-tuning for Text Classification. ACL 2018.
    """

    def select(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
        last = plan.n_groups - 1
        return [
            TrainedGroup(names=tuple(plan.groups[k]), lr_factor=factor ** (last - k))
            for k in range(depth, plan.n_groups)
        ]

    return select


def unfrozen(factor: float, share: float) -> Selection:
    """Train the last layer group first, and one more after each part of the schedule.

    Args:
        factor: On the learning rate, from each layer group to the one before it.
        share: Of the schedule, over which all groups come in.

    References:
        Howard, Ruder: Universal Language Model Fine-tuning for Text Classification. ACL 2018.
    """

    def select(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
        n_trained, last = plan.n_groups - depth, plan.n_groups - 1
        return [
            TrainedGroup(
                names=tuple(plan.groups[k]),
                lr_factor=factor ** (last - k),
                begins=share * (last - k) / max(1, n_trained),
            )
            for k in range(depth, plan.n_groups)
        ]

    return select


def biases(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
    """Train what is added to layers' outputs, norms included, above the freeze depth.

    References:
        Ben Zaken, Goldberg, Ravfogel: BitFit: Simple Parameter-efficient Fine-tuning for
        Transformer-based Masked Language-models. ACL 2022.
    """
    return _among(plan, depth, [n for n in _names(plan, depth) if n.rpartition(".")[2] == "bias"])


def norms(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
    """Train the scales and shifts of normalisation layers above the freeze depth.

    References:
        Frankle, Schwab, Morcos: Training BatchNorm and Only BatchNorm. ICLR 2021.
    """
    found = {
        f"{path}.{name}" if path else name
        for path, module in plan.module.named_modules()
        if _is_norm(module)
        for name, _ in module.named_parameters(recurse=False)
    }
    return _among(plan, depth, found)


def _names(plan: FreezePlan, depth: int) -> list[str]:
    return [name for group in plan.groups[depth:] for name in group]


def _among(plan: FreezePlan, depth: int, wanted: Collection[str]) -> list[TrainedGroup]:
    return [TrainedGroup(names=tuple(n for n in _names(plan, depth) if n in wanted))]


def _is_norm(module: "torch.nn.Module") -> bool:
    """Say whether a module normalises; libraries have norms of their own."""
    return "norm" in type(module).__name__.lower()
