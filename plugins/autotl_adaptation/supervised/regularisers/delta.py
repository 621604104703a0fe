"""Keep the feature maps that matter close to the pretrained ones.

References:
    Li et al.: DELTA: DEep Learning Transfer using Feature Map with Attention for Convolutional
    Networks. ICLR 2019.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from autotl.adapt import Batch, Network, Term

_ALPHA, _BETA = 0.01, 0.01  # of the maps and of the head, as in the paper
_BATCH_SIZE, _MOST_SAMPLES = 32, 256  # that say which channels matter
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm)


class FeatureMaps(Term):
    """Add the weighted squared distance of feature maps to the pretrained network's.

    One map is read for each trained layer group: what its last layer with parameters gives. A
    channel's weight is the softmax over how much the loss of a probe would rise without it; where
    the paper removes one channel after the other, this takes the first order of that, so that one
    pass tells of all.

    Args:
        strength: Factor on the paper's alpha and beta.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def attach(self, network: Network) -> None:
        """Load the pretrained network beside the one that trains, and weigh its channels."""
        task = network.task
        self._head = network.weight
        self._before = task.train.load_backbone(task.freeze_depth).module.eval()
        paths = _last_layers(network)
        self._now = _Recorder(network.module, paths)
        self._then = _Recorder(self._before, paths, always=True)
        self._weights = self._weigh(network)
        self._before.requires_grad_(False)

    def _weigh(self, network: Network) -> dict[str, torch.Tensor]:
        """Return weights that sum to 1 over the channels of each map."""
        from autotl_adaptation.supervised.lp_ft import solved_head

        task, rises = network.task, dict[str, torch.Tensor]()
        head = solved_head(task)
        weight, bias, mean, scale = (
            torch.from_numpy(head.tensors()[k]).to(network.device)
            for k in ("weight", "bias", "mean", "scale")
        )
        y = torch.as_tensor(task.y).to(network.device)
        seen = 0
        for rows, inputs in task.train.batches(
            _BATCH_SIZE, seed=task.seed, start=network.tail.start
        ):
            embedded = self._before(inputs)
            logits = ((embedded - mean) / scale) @ weight.T + bias
            loss = nn.functional.cross_entropy(logits, y[torch.as_tensor(rows)], reduction="sum")
            maps = {
                path: found for path, found in self._then.take().items() if found.requires_grad
            }
            slopes = torch.autograd.grad(loss, list(maps.values()))
            for (path, found), slope in zip(maps.items(), slopes, strict=True):
                rise = -self._then.by_channel(path, found * slope).detach()
                rises[path] = rises.get(path, torch.zeros_like(rise)) + rise
            seen += len(rows)
            if seen >= _MOST_SAMPLES:
                break
        return {path: (rise / seen).softmax(dim=0) for path, rise in rises.items()}

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the penalty."""
        now = self._now.take()
        with torch.no_grad():
            self._before(batch.inputs)
        then = self._then.take()
        total = 0.5 * _BETA * self._head.square().sum()
        for path, weights in self._weights.items():
            if path in now and now[path].shape == then[path].shape:
                apart = self._now.by_channel(path, (now[path] - then[path]).square())
                n_positions = now[path].numel() / (len(now[path]) * len(apart))
                total = total + _ALPHA * (weights * apart).sum() / (len(batch.y) * n_positions)
        return self.strength * total


class _Recorder:
    """Keep what layers have last given.

    Args:
        module: The network.
        paths: Of the layers.
        always: Whether gradients need not be on: predictions run without, and nothing of them is
            to be kept.
    """

    def __init__(self, module: nn.Module, paths: list[str], *, always: bool = False) -> None:
        self._always = always
        self._layers = {path: module.get_submodule(path) for path in paths}
        self._found: dict[str, torch.Tensor] = {}
        for path, layer in self._layers.items():
            layer.register_forward_hook(self._keeper(path))

    def _keeper(self, path: str) -> Any:
        def keep(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and (self._always or torch.is_grad_enabled()):
                self._found[path] = output

        return keep

    def take(self) -> Mapping[str, torch.Tensor]:
        """Return what was kept, and forget it."""
        found, self._found = self._found, {}
        return found

    def by_channel(self, path: str, values: torch.Tensor) -> torch.Tensor:
        """Sum a map over all axes but that of the channels."""
        layer = self._layers[path]
        last = values.ndim != 4 or isinstance(layer, _CHANNELS_LAST)
        if values.ndim == 4 and isinstance(layer, nn.LayerNorm):
            # timm's LayerNorm2d is a LayerNorm too, but its channels come first.
            last = type(layer) is nn.LayerNorm
        axis = values.ndim - 1 if last else 1
        return values.sum(dim=[a for a in range(values.ndim) if a != axis])


def _last_layers(network: Network) -> list[str]:
    """Return the last layer with parameters of each group that trains."""
    trained, found = network.trained_names, []
    for group in network.plan.groups:
        names = [name for name in group if name in trained]
        if names:
            found.append(names[-1].rpartition(".")[0])
    return [path for path in found if path]
