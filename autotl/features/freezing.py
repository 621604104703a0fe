"""Freeze the leading layer groups of a backbone and keep them in eval mode."""

from typing import TYPE_CHECKING

from autotl.errors import PluginError
from autotl.specs import LoadedBackbone

if TYPE_CHECKING:
    import torch


def freeze_depth(freeze_fraction: float, n_groups: int) -> int:
    """Turn a fraction in [0, 1] into a number of leading groups, rounding half up."""
    return min(n_groups, int(freeze_fraction * n_groups + 0.5))


class FreezePlan:
    """Which parameters of a module train when `depth` leading layer groups are frozen.

    Args:
        backbone: The loaded backbone; its `layer_groups` cover every parameter once.

    Raises:
        PluginError: The layer groups leave a parameter out.
    """

    def __init__(self, backbone: LoadedBackbone) -> None:
        self.module = backbone.module
        prefixes = backbone.layer_groups or tuple(
            (name,) for name, child in self.module.named_children() if list(child.parameters())
        )
        self.groups: list[list[str]] = [[] for _ in prefixes]
        for name, _ in self.module.named_parameters():
            index = next(
                (
                    i
                    for i, group in enumerate(prefixes)
                    if any(name == p or name.startswith(p.rstrip(".") + ".") for p in group)
                ),
                None,
            )
            if index is None and backbone.layer_groups is None and self.groups:
                index = 0  # a parameter of the module itself, such as a class token
            if index is None:
                raise PluginError(
                    f"Parameter {name!r} belongs to no layer group; expected prefixes that cover "
                    "every parameter. Add it to the backbone's layer_groups."
                )
            self.groups[index].append(name)

    @property
    def n_groups(self) -> int:
        """Number of layer groups."""
        return len(self.groups)

    def apply(self, depth: int) -> "list[torch.nn.Parameter]":
        """Freeze the first `depth` groups and return the parameters that train."""
        trained = {name for group in self.groups[depth:] for name in group}
        parameters = dict(self.module.named_parameters())
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in trained)
        return [parameters[name] for group in self.groups[depth:] for name in group]

    def train_mode(self, *, train_norm: bool) -> None:
        """Set training mode on modules that hold trained parameters and eval mode on the rest.

        Batch norm keeps its pretrained running statistics unless `train_norm`: on a few hundred
        samples, batch statistics cost more than they bring.
        """
        import torch

        for name, module in self.module.named_modules():
            own = list(module.parameters()) or self._nearest_parameters(name)
            norm = isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
            # A container with frozen and trained children trains; its children are visited later.
            module.training = any(p.requires_grad for p in own) and (train_norm or not norm)

    def _nearest_parameters(self, name: str) -> "list[torch.nn.Parameter]":
        """Return the parameters around a module that has none, such as dropout or drop path."""
        while name:
            name = name.rpartition(".")[0]
            around = list(self.module.get_submodule(name).parameters())
            if around:
                return around
        return []
