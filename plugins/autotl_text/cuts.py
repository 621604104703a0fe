"""Divide a transformer between its layers; hidden states and the attention mask cross."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch  # noqa: TID253  # imported on loading only
from torch import Tensor, nn  # noqa: TID253  # imported on loading only

from autotl.specs import check_part

__all__ = ["EncoderCuts", "Groups", "Pooled", "encoder_cuts", "read_by_all"]

_TOLERANCE = 1e-5

Groups = tuple[tuple[str, ...], ...]


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
        check_part(self, start, stop)
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


def encoder_cuts(module: nn.Module, path: str, groups: Groups) -> EncoderCuts:
    """Return the cuts between the layers where running them in parts equals running the whole.

    Args:
        module: A `Pooled` one.
        path: Name of its list of layers.
        groups: Its layer groups, as in `autotl.LoadedBackbone`.
    """
    ends = EncoderCuts(path, (0, len(groups)))
    layers = list(module.get_submodule(path).children())
    if len(layers) + 1 != len(groups) or getattr(module, "pooling", None) == "layers":
        return ends
    try:
        with _evaluating(module):
            return _checked(module, path, layers[0], groups) or ends
    except Exception:  # noqa: BLE001  # another family's code meets arguments it does not expect
        return ends


def read_by_all(module: nn.Module, path: str, names: Sequence[str]) -> list[str]:
    """Return the parameters that layers before the last read, such as relative positions.

    Args:
        module: A `Pooled` one.
        path: Name of its list of layers.
        names: Of parameters outside the layers.
    """
    layers = list(module.get_submodule(path).children())
    if not names or len(layers) < 2:
        return []
    try:
        with _evaluating(module):
            _, output = _run(module, layers[-2], _some_tokens(module))
            hidden = output[0] if isinstance(output, tuple) else output
            return _read(hidden, {name: module.get_parameter(name) for name in names})
    except Exception:  # noqa: BLE001  # as in `encoder_cuts`, which then leaves the ends only
        return []


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode, with gradients, and back into the modes that it had."""
    training = [(m, m.training) for m in module.modules()]
    try:
        with torch.enable_grad():
            module.eval()
            yield
    finally:
        for m, mode in training:
            m.training = mode


def _run(module: nn.Module, layer: nn.Module, batch: Any) -> tuple[Tensor, Any]:
    """Return what a module returns, and what one of its layers does on the way."""
    outputs: list[Any] = []
    handle = layer.register_forward_hook(lambda _m, _x, output: outputs.append(output))
    try:
        return module(batch), outputs[0]
    finally:
        handle.remove()


def _read(hidden: Tensor, parameters: dict[str, Tensor]) -> list[str]:
    """Return the names of those parameters that a tensor was computed from."""
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    if not trained or not hidden.requires_grad:
        return []
    grads: tuple[Tensor | None, ...] = torch.autograd.grad(
        hidden.sum(), list(trained.values()), retain_graph=True, allow_unused=True
    )
    return [name for name, grad in zip(trained, grads, strict=True) if grad is not None]


def _checked(module: nn.Module, path: str, layer: nn.Module, groups: Groups) -> EncoderCuts | None:
    """Return the cuts if all parts, one after the other, equal the whole on some padded tokens.

    There is none where the layers before it read parameters of the groups after it: those train,
    and what was kept from before would be another network's.
    """
    batch, last = _some_tokens(module), len(groups)
    expected, output = _run(module, layer, batch)
    rest = output[1:] if isinstance(output, tuple) else None
    if rest is not None and any(value is not None for value in rest):
        return None
    cuts = EncoderCuts(path, tuple(range(last + 1)), rest)
    depths, value = [0], cuts.part(module, 0, 1)(batch)
    for depth in range(1, last):
        if not _read(value["hidden"], _parameters_of(module, groups[depth:])):
            depths.append(depth)
        value = cuts.part(module, depth, depth + 1)(value)
    if not torch.allclose(value, expected, _TOLERANCE, _TOLERANCE):
        return None
    return EncoderCuts(path, (*depths, last), rest)


def _parameters_of(module: nn.Module, groups: Groups) -> dict[str, Tensor]:
    prefixes = [prefix for group in groups for prefix in group]
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
    }


def _some_tokens(module: Any) -> dict[str, Tensor]:
    size = module.network.config.vocab_size
    ids = torch.arange(3, 15, device=module.network.device).reshape(2, 6) * 7919 % size
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}
