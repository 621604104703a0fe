"""Train low-rank additions to the weights above the freeze depth, and the head.

The additions are made by the `peft` library, to linear layers and to convolutions alike. What is
saved are the weights with the additions in them, so that prediction needs neither the library nor
more time.

References:
    Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022.
"""

from collections.abc import Generator

import torch
from torch import nn

from autotl.adapt import FreezePlan, Layers, Recipe, TrainedGroup, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised.lp_ft import solved_head
from autotl_adaptation.tuning import settings

_LAYERS = (nn.Linear, nn.Conv2d)


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of tuning that starts from a solved logistic probe."""
    rank = task.params["rank"]
    layers = Layers(
        select=_additions,
        prepare=lambda module: add_low_rank(module, rank),
        export=merged,
    )
    yield from train(task, settings(task, 1.0), solved_head(task), state, Recipe(layers=layers))


def add_low_rank(module: nn.Module, rank: int) -> None:
    """Give every linear and convolutional layer an addition of low rank, zero at first."""
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, layer in module.named_modules() if name and _takes(layer)]
    if not names:
        return
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, lora_dropout=0.0)
    inject_adapter_in_model(config, module)


def _takes(layer: nn.Module) -> bool:
    # Of a depthwise convolution each filter stands alone: there is nothing of low rank.
    return type(layer) in _LAYERS and getattr(layer, "groups", 1) == 1


def merged(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of all layers that have additions, with these added in."""
    from peft.tuners.lora import LoraLayer

    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            (adapter,) = layer.active_adapters
            base = layer.get_base_layer().weight
            found[f"{name}.weight"] = (base + layer.get_delta_weight(adapter)).detach()  # type: ignore[attr-defined]  # of its subclasses
    return found


def _additions(plan: FreezePlan, depth: int) -> list[TrainedGroup]:
    names = [n for group in plan.groups[depth:] for n in group if ".lora_" in n]
    return [TrainedGroup(names=tuple(names))]
