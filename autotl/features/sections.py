"""Divide a traced module between its layer groups."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253  # imported by `find_cuts` only
from torch import Tensor, fx, nn  # noqa: TID253  # imported by `find_cuts` only

from autotl.features.freezing import FreezePlan
from autotl.features.tracing import SAMPLES, Trace, values_of

__all__ = ["Section", "find_sections", "remake"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A place between two nodes of a trace where one tensor crosses.

    Args:
        position: Of the last node before it.
        crossing: The node whose tensor crosses.
        has_constants: Whether sizes cross with it, which are then taken for constants.
    """

    position: int
    crossing: fx.Node
    has_constants: bool = False


def find_sections(trace: Trace, plan: FreezePlan) -> dict[int, Section]:
    """Return the last place that no parameter outside the first d groups comes before, by d.

    Parameters of those groups may come after it too, such as a class token that joins late: they
    are frozen wherever the place is used. A depth without a place of its own has none.
    """
    groups = _Groups(plan, trace)
    latest = [plan.n_groups]
    for node in reversed(trace.nodes):
        # A module without parameters has the mode of those around it; see `FreezePlan.train_mode`.
        latest.append(min([latest[-1], *groups.of_modes(node)]))
    sections: dict[int, Section] = {}
    done = 0
    for section, node, limit in zip(_places(trace), trace.nodes, latest[-2::-1], strict=True):
        done = max([done, *(group + 1 for group in groups.of_parameters(node))])
        if section is not None and section.crossing.op != "placeholder":
            depths = range(max(done, 1), min(limit, plan.n_groups - 1) + 1)
            sections |= dict.fromkeys(depths, section)
    # One place serves all depths from the first that it has.
    first = {section.position: depth for depth, section in sorted(sections.items(), reverse=True)}
    return {depth: sections[depth] for depth in sorted(first.values())}


def _places(trace: Trace) -> Iterator[Section | None]:
    """Yield the section after each node, or None where more than one tensor crosses."""
    order = {node: i for i, node in enumerate(trace.nodes)}
    last_use = {n: max([order[user] for user in n.users], default=-1) for n in trace.dependent}
    live: set[fx.Node] = set()
    for position, node in enumerate(trace.nodes):
        live |= {node} & trace.dependent
        live = {n for n in live if last_use[n] > position}
        tensors = [n for n in live if _has_tensor(n)]
        if len(tensors) == 1 and _crosses(trace, tensors[0], position):
            yield _section(position, tensors[0], live)
        else:
            yield None


def _section(position: int, crossing: fx.Node, live: set[fx.Node]) -> Section | None:
    try:
        for node in live - {crossing}:
            remake(node, crossing, lambda *_: None)
    except ValueError:
        return None
    return Section(position=position, crossing=crossing, has_constants=len(live) > 1)


def _has_tensor(node: fx.Node) -> bool:
    """Tell whether a node's value is, or may be, a tensor or several."""
    known = values_of(node)
    return known is None or not _is_plain(known[0])


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, int | float | bool | str | torch.dtype | torch.device | None)


def _crosses(trace: Trace, node: fx.Node, position: int) -> bool:
    """Tell whether a value is one tensor of samples that nothing overwrites later."""
    values = values_of(node)
    if values is None or not all(isinstance(value, Tensor) for value in values):
        return False
    written = [trace.mutated.get(v.untyped_storage()._cdata, -1) for v in values]
    alike = values[0].ndim > 0 and [len(value) for value in values] == list(SAMPLES)
    return alike and values[0].is_floating_point() and max(written) <= position


def remake(node: fx.Node, crossing: fx.Node, call: Callable[..., Any]) -> Any:
    """Make a value that is no tensor again from the tensor that crosses.

    Args:
        node: What the value was.
        crossing: What the tensor was.
        call: Adds the call of a function of the tensor and further arguments.

    Raises:
        ValueError: The tensor does not tell it.
    """
    return _remake(values_of(node), values_of(crossing), call)


def _remake(values: Any, crossing: Any, call: Callable[..., Any]) -> Any:
    first, second = values
    if isinstance(first, tuple):
        if len(first) != len(second):
            raise ValueError("the number of items differs")
        pairs = zip(first, second, strict=True)
        return tuple(_remake(pair, crossing, call) for pair in pairs)
    if isinstance(first, torch.dtype | torch.device):
        name = "dtype" if isinstance(first, torch.dtype) else "device"
        if first != getattr(crossing[0], name):
            raise ValueError(f"the tensor's {name} is another one")
        return call(getattr, name)
    if first == second:
        return first
    if isinstance(first, int) and (first, second) == tuple(len(value) for value in crossing):
        return call(len)
    raise ValueError("it differs with the batch, and not as the number of samples does")


class _Groups:
    """Which layer groups the nodes of a trace belong to."""

    def __init__(self, plan: FreezePlan, trace: Trace) -> None:
        self._module, self._n_groups, self._dependent = plan.module, plan.n_groups, trace.dependent
        named = dict(plan.module.named_parameters())
        self._group = {id(named[name]): i for i, g in enumerate(plan.groups) for name in g}

    def of_parameters(self, node: fx.Node) -> set[int]:
        """Return the groups whose parameters a node reads, directly or through constants."""
        return {group for own in self._with_constants(node) for group in self._read(own)}

    def of_modes(self, node: fx.Node) -> set[int]:
        """Return the last groups that can put a node without parameters into training mode."""
        found = set()
        for own in self._with_constants(node):
            path = str(own.target)
            if own.op == "get_attr" and path.split(".")[-1] == "training":
                found.add(self._last_around(path.rpartition(".")[0]))
            elif isinstance(self._target(own), nn.Module) and not self._read(own):
                found.add(self._last_around(path))
        return found

    def _with_constants(self, node: fx.Node) -> set[fx.Node]:
        """Return a node that depends on the batch and what it takes that does not."""
        found: set[fx.Node] = set()
        pending = [node] if node in self._dependent else []
        while pending:
            own = pending.pop()
            found.add(own)
            pending += [n for n in own.all_input_nodes if n not in self._dependent | found]
        return found

    def _target(self, node: fx.Node) -> Any:
        if node.op not in ("get_attr", "call_module"):
            return None
        return operator.attrgetter(str(node.target))(self._module)

    def _read(self, node: fx.Node) -> set[int]:
        target = self._target(node)
        tensors = target.parameters() if isinstance(target, nn.Module) else (target,)
        return {self._group[id(t)] for t in tensors if id(t) in self._group}

    def _last_around(self, path: str) -> int:
        around = list(self._module.get_submodule(path).parameters())
        while not around and path:
            path = path.rpartition(".")[0]
            around = list(self._module.get_submodule(path).parameters())
        return max((self._group[id(p)] for p in around), default=self._n_groups)
