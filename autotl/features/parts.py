"""The layers between two cuts of a traced backbone, over its own parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn  # noqa: TID253  # imported by `find_cuts` only

from autotl.features.sections import Section, remake
from autotl.features.tracing import Trace, values_of

__all__ = ["Code", "Part", "compile_part"]


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a part does, whoever's parameters it uses.

    Args:
        run: Called with the part and its input.
        targets: Names of the modules, parameters, buffers and modes that it reads.
        size: Shape of one sample that it must be given, by name where samples are dicts, or None
            where any will do.
    """

    run: Callable[[nn.Module, Any], Any]
    targets: tuple[str, ...]
    size: Any


class Part(nn.Module):
    """Some layers of a module, which stay that module's, under the same names.

    Args:
        module: The whole.
        code: What the part does.
    """

    def __init__(self, module: nn.Module, code: Code) -> None:
        super().__init__()
        self._code = code
        self.training = module.training
        for target in sorted(code.targets, key=lambda name: name.count(".")):
            _share(self, module, target.split("."))

    def forward(self, x: Any) -> Any:
        """Map activations of shape (n_samples, ...) to activations.

        Raises:
            ValueError: The layers were traced with samples of another size.
        """
        if self._code.size is not None and _sample_size(x) != self._code.size:
            raise ValueError(
                f"Samples have the shape {_sample_size(x)}; expected {self._code.size}, with "
                "which the layers were traced. Give every batch the same size."
            )
        return self._code.run(self, x)


def _sample_size(batch: Any) -> Any:
    """Return the shape of one sample, by name where the batch is a dict."""
    if isinstance(batch, dict):
        return {name: _sample_size(tensor) for name, tensor in batch.items()}
    return tuple(batch.shape[1:])


def _share(part: nn.Module, module: nn.Module, path: list[str]) -> None:
    """Give a part a module, parameter or buffer of the whole, inside containers of its own."""
    *parents, last = path
    for name in parents:
        child = module.get_submodule(name)
        if part._modules.get(name) is child:
            return  # the whole of it is there
        if name not in part._modules:
            container = part._modules[name] = nn.Module()
            container.training = child.training
        part, module = part.get_submodule(name), child
    if last in module._modules:
        part._modules[last] = module._modules[last]
    elif last in module._parameters:
        part._parameters[last] = module._parameters[last]
    elif last in module._buffers:
        kept = last not in module._non_persistent_buffers_set
        part.register_buffer(last, module._buffers[last], persistent=kept)


def compile_part(
    trace: Trace, start: Section | None, stop: Section | None, *, fixed: bool
) -> Code:
    """Compile the nodes between two sections; None stands for the input and the output."""
    first = start or Section(position=0, crossing=trace.nodes[0])
    last = stop.position if stop else len(trace.nodes) - 2
    graph = fx.Graph()
    copy = _Copy(trace, graph, first)
    for node in trace.nodes[first.position + 1 : last + 1]:
        if node in trace.dependent:
            copy.of(node)
    graph.output(fx.node.map_arg(stop.crossing if stop else trace.nodes[-1].args[0], copy.of))
    targets = [str(n.target) for n in graph.nodes if n.op in ("get_attr", "call_module")]
    targets = sorted(set(targets), key=lambda name: name.count("."))
    values = values_of(first.crossing)
    size = _sample_size(values[0]) if fixed and values is not None else None
    # Its names are looked up in the part that runs it, not in these stand-ins.
    compiled = fx.GraphModule({name: nn.Module() for name in targets}, graph)
    return Code(run=type(compiled).forward, targets=tuple(targets), size=size)


class _Copy:
    """Copy nodes into the graph of a part, with the constants that they take."""

    def __init__(self, trace: Trace, graph: fx.Graph, start: Section) -> None:
        self._graph, self._start, self._dependent = graph, start, trace.dependent
        self._order = {node: i for i, node in enumerate(trace.nodes)}
        self._input = graph.placeholder("x")
        self._copies: dict[fx.Node, Any] = {start.crossing: self._input}

    def of(self, node: fx.Node) -> Any:
        """Return the copy of a node, made now if it is not there yet."""
        if node not in self._copies:
            before = self._order[node] <= self._start.position
            if before and node in self._dependent:
                self._copies[node] = remake(node, self._start.crossing, self._call)
            else:
                self._copies[node] = self._graph.node_copy(node, self.of)
        return self._copies[node]

    def _call(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        return self._graph.call_function(function, (self._input, *args))
