"""Fold batch norms into the convolutions before them, for networks that only infer."""

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["fold_batch_norm"]

_TOLERANCE = 1e-4  # of the largest output; rounding alone makes about 1e-6


def fold_batch_norm(module: "nn.Module", example: Any) -> "nn.Module":
    """Return a copy whose convolutions do the work of the batch norms behind them.

    In eval mode a batch norm scales and shifts each channel, which the convolution before it can
    do for nothing. All other parameters are shared with `module`, which stays as it is. It is
    itself the answer where it is in training mode, has nothing to fold, or the copy would give
    something else on the example.

    Args:
        module: Network that returns a tensor.
        example: A batch of a few samples on its device, which shows what follows on what.
    """
    import torch

    if any(part.training for part in module.modules()):
        return module
    tensors = (*module.parameters(), *module.buffers())
    folded = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    with torch.no_grad():
        expected, pairs = _trace(folded, example)
        if not pairs:
            return module
        names = {part: name for name, part in folded.named_modules()}
        for convolution, norm in pairs:
            _absorb(convolution, norm)
            # What is left of a norm are its children: some bring an activation.
            parent, _, name = names[norm].rpartition(".")
            setattr(folded.get_submodule(parent), name, torch.nn.Sequential(*norm.children()))
        error = (folded(example) - expected).abs().max()
        # Written so that NaN refuses.
        return folded if error <= _TOLERANCE * expected.abs().max() else module


def _trace(module: "nn.Module", example: Any) -> "tuple[torch.Tensor, list[tuple[Any, Any]]]":
    """Return the output, and the pairs of a convolution and the batch norm that it feeds."""
    from torch import nn

    # Tensors are held, so that an identity is not given twice.
    made: dict[int, tuple[nn.Module, Any]] = {}
    pairs: list[tuple[Any, Any]] = []
    n_calls: Counter[nn.Module] = Counter()

    def after(part: nn.Module, _inputs: Any, output: Any) -> None:
        n_calls[part] += 1
        made[id(output)] = (part, output)

    def before(part: nn.Module, inputs: Any) -> None:
        n_calls[part] += 1
        if inputs and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], part))

    hooks = []
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            hooks.append(part.register_forward_hook(after))
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            hooks.append(part.register_forward_pre_hook(before))
    try:
        output = module(example)
    finally:
        for hook in hooks:
            hook.remove()
    once = [pair for pair in pairs if all(n_calls[part] == 1 for part in pair)]
    return output, [pair for pair in once if pair[1].running_mean is not None]


def _absorb(convolution: Any, norm: Any) -> None:
    """Give a convolution weights that include the scale and shift of a batch norm."""
    from torch import nn

    # On the host: not every device has double precision.
    scale = (norm.running_var.cpu().double() + norm.eps).rsqrt().to(norm.running_var)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    weight = convolution.weight
    per_filter = scale.view(-1, *[1] * (weight.ndim - 1))
    convolution.weight = nn.Parameter((weight * per_filter).to(weight.dtype), requires_grad=False)
    convolution.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
