"""Divide a transformer between its layers; hidden states and the attention mask cross."""

import copy
from typing import Any, Protocol

import torch  # noqa: TID253  # imported on loading only
from torch import Tensor, nn  # noqa: TID253  # imported on loading only

__all__ = ["EncoderCuts", "Pooled", "encoder_cuts"]

_TOLERANCE = 1e-5


class Pooled(Protocol):
    """A module around a transformers model that pools its token vectors.

    It reads `hidden` and `attention_mask` instead of `input_ids` and `attention_mask` where they
    are given, and returns them unless it pools.
    """

    network: Any
    pooling: str | None


class EncoderCuts:
    """The cuts between the layers of a transformer: the first group is what comes before them.

    Args:
        path: Name of the list of layers.
        depths: As in `autotl.specs.Cuts`; the input of layer i, from 0, has depth i + 1.
        rest: What a layer returns besides the hidden states, in a tuple; None when it returns
            them alone.
    """

    def __init__(
        self, path: str, depths: tuple[int, ...], rest: tuple[None, ...] | None = None
    ) -> None:
        self.depths = depths
        self._path = path.removeprefix("network.").split(".")
        self._rest = rest

    def part(self, module: nn.Module, start: int, stop: int) -> nn.Module:
        """Return the layers between two cuts over the parameters of `module`.

        Raises:
            ValueError: There is no such cut.
        """
        if start > stop or not {start, stop} <= set(self.depths):
            raise ValueError(
                f"There is no part from {start} to {stop}; expected two of the depths "
                f"{self.depths}, in this order."
            )
        last = self.depths[-1]
        if start == stop:
            return nn.Identity()
        if (start, stop) == (0, last):
            return module
        view: Any = _view(module)
        view.network = _view(view.network)
        if stop < last:
            view.pooling = None
        self._pass_through(view.network, before=start > 0, after=stop < last)
        self._keep_layers(view.network, range(max(start - 1, 0), stop - 1))
        part: nn.Module = view
        return part

    def _pass_through(self, network: nn.Module, *, before: bool, after: bool) -> None:
        """Replace what stands before and after the layers by what returns what it is given."""
        names = [name for name, _ in network.named_children()]
        own = names.index(self._path[0])
        replaced = (names[:own] if before else []) + (names[own + 1 :] if after else [])
        for name in replaced:
            child = network.get_submodule(name)
            # Tables of rotary positions have no parameters and serve every layer.
            if isinstance(child, nn.Dropout) or any(True for _ in child.parameters()):
                network._modules[name] = _Given()

    def _keep_layers(self, network: nn.Module, kept: range) -> None:
        """Replace the other layers, so that those kept have their names and numbers."""
        around: nn.Module = network
        for name in self._path[:-1]:
            around._modules[name] = _view(around.get_submodule(name))
            around = around.get_submodule(name)
        layers = around.get_submodule(self._path[-1])
        around._modules[self._path[-1]] = nn.ModuleList(
            layer if i in kept else _Skip(layer, self._rest)
            for i, layer in enumerate(layers.children())
        )


class _Given(nn.Module):
    """Stand for embeddings, a norm or dropout whose result is given already."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the hidden states among the arguments, else nothing to add to them."""
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        for tensor in tensors:
            if tensor.ndim == 3 and tensor.is_floating_point():
                return tensor
        return torch.zeros((), device=tensors[0].device)


class _Skip(nn.Module):
    """Stand for a layer, return its input.

    Args:
        layer: Its plain attributes, such as the kind of its attention, are copied.
        rest: As in `EncoderCuts`.
    """

    def __init__(self, layer: nn.Module, rest: tuple[None, ...] | None) -> None:
        super().__init__()
        plain = (str, int, float, bool)
        names = {name: value for name, value in vars(layer).items() if isinstance(value, plain)}
        self.__dict__.update({n: v for n, v in names.items() if not n.startswith("_")})
        self._rest = rest

    def forward(self, hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Any:
        """Return the hidden states as the layer would return its own."""
        return hidden_states if self._rest is None else (hidden_states, *self._rest)


def _view(module: nn.Module) -> nn.Module:
    """Copy a module so that a child can be replaced; parameters and buffers stay shared."""
    view = copy.copy(module)
    view._modules = dict(module._modules)
    return view


def encoder_cuts(module: nn.Module, path: str, n_groups: int) -> EncoderCuts:
    """Return the cuts between the layers where running them in parts equals running the whole.

    Args:
        module: A `Pooled` one.
        path: Name of its list of layers.
        n_groups: Number of layer groups.
    """
    ends = EncoderCuts(path, (0, n_groups))
    layers = [child for _, child in module.get_submodule(path).named_children()]
    if len(layers) + 1 != n_groups or getattr(module, "pooling", None) == "layers":
        return ends
    training = [(m, m.training) for m in module.modules()]
    try:
        with torch.no_grad():
            return _checked(module.eval(), path, layers[0], n_groups) or ends
    except Exception:  # noqa: BLE001  # another family's code meets arguments it does not expect
        return ends
    finally:
        for m, mode in training:
            m.training = mode


def _checked(module: nn.Module, path: str, layer: nn.Module, n_groups: int) -> EncoderCuts | None:
    """Return the cuts if all parts, one after the other, equal the whole on some padded tokens."""
    outputs: list[Any] = []
    handle = layer.register_forward_hook(lambda _m, _x, output: outputs.append(output))
    batch = _some_tokens(module)
    expected = module(batch)
    handle.remove()
    rest = outputs[0][1:] if isinstance(outputs[0], tuple) else None
    if rest is not None and any(value is not None for value in rest):
        return None
    cuts = EncoderCuts(path, tuple(range(n_groups + 1)), rest)
    value: Any = batch
    for depth in range(n_groups):
        value = cuts.part(module, depth, depth + 1)(value)
    return cuts if torch.allclose(value, expected, _TOLERANCE, _TOLERANCE) else None


def _some_tokens(module: Any) -> dict[str, Tensor]:
    size = module.network.config.vocab_size
    ids = torch.arange(3, 15, device=module.network.device).reshape(2, 6) * 7919 % size
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}
