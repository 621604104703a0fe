"""Normalise each channel by the batch's or by the remembered statistics, at random.

References:
    Kou, You, Long, Wang: Stochastic Normalization. NeurIPS 2020.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_P = 0.5  # chance of the remembered statistics, as in the paper


def mix_statistics(module: nn.Module) -> None:
    """Let every batch norm of a module mix both ways while it trains, and be as ever in eval."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            _mix(norm)


def _mix(norm: _BatchNorm) -> None:
    plain = norm.forward

    def forward(x: torch.Tensor) -> Any:
        if not norm.training:
            return plain(x)
        norm.training = False
        remembered = plain(x)
        norm.training = True
        current = plain(x)
        # What follows within a norm, such as an activation, leaves channels apart.
        shape = [1, x.shape[1]] + [1] * (x.ndim - 2)
        chosen = torch.rand(shape, device=x.device) < _P
        return torch.where(chosen, remembered, current)

    norm.forward = forward  # type: ignore[method-assign, assignment]  # the class is any of several libraries'
