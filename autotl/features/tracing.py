"""Record what a module does as a graph, without fixing what differs between two dry runs.

Both runs happen while tracing, on tensors without data: the first on two samples in eval mode, the
second on three samples in training mode. What they agree on is a constant of the network that its
code may branch on. What they disagree on, such as the number of samples or the mode, stays a value
of the graph; a module whose code branches on it is called as a whole.
"""

import contextlib
import copy
import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import isfunction
from typing import Any

import torch  # noqa: TID253  # imported by `find_cuts` only
from torch import Tensor, fx, nn  # noqa: TID253  # imported by `find_cuts` only

__all__ = ["SAMPLES", "Trace", "has_length", "shorter", "trace", "values_of"]

SAMPLES = (2, 3)
"""Number of samples in the two dry runs."""

_SIZES = {"shape", "size", "numel", "nelement"}
_RANKS = {"ndim", "dim"}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A traced module.

    Args:
        nodes: In the order of execution, the input first and the output last.
        dependent: The nodes whose values depend on the batch.
        mutated: Position of the last node that writes into a storage, by the storage's address.
        any_size: Whether the two runs differed in the size of their samples too.
        fixed_size: Whether the code decided something on the size of the samples.
    """

    nodes: Sequence[fx.Node]
    dependent: frozenset[fx.Node]
    mutated: dict[int, int]
    any_size: bool
    fixed_size: bool


def trace(module: nn.Module, example: Any, *, any_size: bool) -> Trace:
    """Trace a module.

    Args:
        module: Is left untouched.
        example: A batch that it reads: a tensor or a dict of tensors, samples first.
        any_size: Vary the last axis of tensors with two or three of them too, the length of texts
            and sounds, so that the graph holds for every length.

    Raises:
        Exception: Whatever the module's own code raises when it cannot be traced.
    """
    few, more = SAMPLES
    batches = _dry(example, few, longer=False), _dry(example, more, longer=any_size)
    tracer = _Tracer(module, batches)
    with torch.random.fork_rng(devices=[]):
        graph = tracer.trace(_weightless(module))
    _drop_unused(graph)
    nodes = list(graph.nodes)
    mutated = {storage: i for i, node in enumerate(nodes) for storage in _mutates(node)}
    return Trace(
        nodes=nodes,
        dependent=_dependent(nodes),
        mutated=mutated,
        any_size=not _same_size(*batches),
        fixed_size=tracer.fixed_size,
    )


def has_length(example: Any) -> bool:
    """Tell whether a batch, as far as its axes tell, holds texts or sounds of some length."""
    tensors = example.values() if isinstance(example, dict) else (example,)
    return any(tensor.ndim in (2, 3) for tensor in tensors)


def shorter(example: Any) -> Iterator[Any]:
    """Yield the batch cut to smaller lengths, where it holds texts or sounds of some length."""
    if not has_length(example):
        return
    yield _cut(example, lambda length: length - 1)
    yield _cut(example, lambda length: length // 2 + 1)


def _cut(example: Any, new_length: Callable[[int], int]) -> Any:
    if isinstance(example, dict):
        return {name: _cut(tensor, new_length) for name, tensor in example.items()}
    if example.ndim not in (2, 3):
        return example
    return example[..., : max(1, new_length(example.shape[-1]))]


def values_of(node: fx.Node) -> tuple[Any, Any] | None:
    """Return what a node evaluates to in the two dry runs, or None when that is not known."""
    found: tuple[Any, Any] | None = node.meta.get("values")
    return found


def _dry(example: Any, n_samples: int, *, longer: bool) -> Any:
    """Return a batch of that many samples without data."""
    if isinstance(example, dict):
        return {name: _dry(tensor, n_samples, longer=longer) for name, tensor in example.items()}
    shape = [n_samples, *example.shape[1:]]
    if longer and len(shape) in (2, 3):
        shape[-1] += 1
    return torch.empty(shape, dtype=example.dtype, device="meta")


def _same_size(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_same_size(one[name], other[name]) for name in one)
    same: bool = one.shape[1:] == other.shape[1:]
    return same


def _dependent(nodes: Sequence[fx.Node]) -> frozenset[fx.Node]:
    found: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return frozenset(found)


def _weightless(module: nn.Module) -> nn.Module:
    """Copy a module; its parameters and buffers keep their shapes and lose their data."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        keeps = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if keeps else empty
    return copy.deepcopy(module, memo)


def _drop_unused(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if node.op not in ("placeholder", "output") and not node.users and not _mutates(node):
            graph.erase_node(node)


def _mutates(node: fx.Node) -> set[int]:
    """Return the addresses of the storages that a node writes into."""
    found: set[int] = node.meta.get("mutates", set())
    return found


def _storages(values: Any) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}

    def visit(value: Any) -> Any:
        if isinstance(value, Tensor):
            found[value.untyped_storage()._cdata] = value
        return value

    fx.node.map_aggregate(values, visit)
    return found


class _Value(fx.Proxy):
    """A value of the graph; code that asks for its type or its length gets an answer."""

    @property  # type: ignore[misc]  # only read here
    def __class__(self) -> type:  # so that isinstance tells the truth
        values = values_of(self.node)
        return _Value if values is None else type(values[0])

    def __getattr__(self, name: str) -> Any:
        values = values_of(self.node)
        if values is None or callable(getattr(values[0], name)):
            return fx.proxy.Attribute(self, name)
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __len__(self) -> int:
        values = values_of(self.node)
        if values is None or len(values[0]) != len(values[1]):
            raise fx.proxy.TraceError("the length depends on the batch")
        return len(values[0])

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self))])  # type: ignore[index]  # torch adds it

    def keys(self) -> Any:
        """Return the names in a dict."""
        values = values_of(self.node)
        return super().keys() if values is None else values[0].keys()


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_number(item) for item in value)
    return isinstance(value, int | float)


def _constant_of_sizes(node: fx.Node) -> bool | None:
    """Tell whether a number rests on the sizes of tensors, or only on how many axes they have.

    None stands for a number that differs between the runs, that comes from numbers that do, or
    that rests on something else.
    """
    pending, sized = [(node, False)], False
    while pending:
        own, picked = pending.pop()
        values = values_of(own)
        if values is None or not _is_number(values[0]):
            return None
        # A shape differs in its first axis; what counts is the item that was picked from it.
        if values[0] != values[1] and not (picked and isinstance(values[0], tuple)):
            return None
        read = _read_of_tensor(own)
        if read is None:
            picks = own.target is operator.getitem
            pending += [(source, picks) for source in own.all_input_nodes]
        elif read not in _SIZES | _RANKS:
            return None
        sized |= read in _SIZES
    return sized


def _read_of_tensor(node: fx.Node) -> Any:
    """Return what a node asks its first argument for, where that is a tensor, else None."""
    values = values_of(node.all_input_nodes[0]) if node.all_input_nodes else None
    if values is None or not isinstance(values[0], Tensor):
        return None
    return node.args[1] if node.target is getattr else node.target


class _Tracer(fx.Tracer):
    """Trace a module and run it twice on the way."""

    def __init__(self, module: nn.Module, batches: tuple[Any, Any]) -> None:
        super().__init__()
        self.fixed_size = False
        self._batches = batches
        self._dry_modules = (_weightless(module).eval(), _weightless(module).train())
        self._running = False
        self._attributes: dict[str, fx.Proxy] = {}
        self._names: dict[int, str] = {}

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Pass one batch, and let the code read names instead of tensors and modes."""
        named = (*self.root.named_parameters(), *self.root.named_buffers())
        self._names = {id(tensor): name for name, tensor in named}
        batch = self.create_proxy("placeholder", "x", (), {})
        for path, module in self.root.named_modules():
            name = f"{path}.training" if path else "training"
            module.__dict__["training"] = self.create_proxy("get_attr", name, (), {})
            if path and not self.is_leaf_module(module, path):
                self._watch_methods(module, path)
        return root_fn, [self.root, batch]

    def _watch_methods(self, module: nn.Module, path: str) -> None:
        """Let methods other than `forward` be called as a whole too."""
        own = itertools.takewhile(lambda cls: cls is not nn.Module, type(module).__mro__)
        names = {name for cls in own for name, value in vars(cls).items() if isfunction(value)}
        for name in names:
            if name != "forward" and not name.startswith("__"):
                module.__dict__[name] = self._watched(getattr(module, name), path)

    def _watched(self, method: Callable[..., Any], path: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            def whole() -> Any:
                owner = self.create_proxy("get_attr", path, (), {})
                return self.create_proxy("call_method", method.__name__, (owner, *args), kwargs)

            return self._inside_or(whole, method, args, kwargs)

        return call

    def _inside_or(
        self,
        whole: Callable[[], Any],
        inside: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace into a function, or record the call of the whole when that does not work."""
        last = next(iter(reversed(self.graph.nodes)))
        try:
            return inside(*args, **kwargs)
        except Exception:  # noqa: BLE001  # a stranger's code meets values it does not expect
            later = list(itertools.takewhile(lambda n: n is not last, reversed(self.graph.nodes)))
            for node in later:
                if node.op != "get_attr":  # others may be given the same node
                    self.graph.erase_node(node)
        return whole()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Wrap a node."""
        return _Value(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Read a parameter or a buffer by its name."""
        name = self._names.get(id(attr_val))
        if self._running or name is None:
            return attr_val
        if name not in self._attributes:
            self._attributes[name] = self.create_proxy("get_attr", name, (), {})
        return self._attributes[name]

    def create_arg(self, a: Any) -> Any:
        """Refuse tensors that the code makes up, which may be random or on another device."""
        if isinstance(a, fx.Proxy):
            return a.node
        if isinstance(a, Tensor):
            if id(a) not in self._names:
                raise fx.proxy.TraceError("the code makes a tensor of its own")
            return self.getattr("", a, {}).node
        return super().create_arg(a)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace into a module, or call it as a whole when that does not work."""
        if self._running:
            return forward(*args, **kwargs)
        path = self.path_of_module(m)

        def whole() -> Any:
            return self.create_proxy("call_module", path, args, kwargs)

        if self.is_leaf_module(m, path):
            return whole()
        return self._inside_or(whole, forward, args, kwargs)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any
    ) -> Any:
        """Record an operation and run it on both batches; return a number that is a constant."""
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **options)
        node = proxy.node
        with contextlib.suppress(Exception), torch.no_grad(), self._dry_run():
            node.meta["values"] = tuple(self._run(node, i) for i in range(len(SAMPLES)))
        sized = None if kind == "get_attr" else _constant_of_sizes(node)
        if sized is None:
            return proxy
        self.fixed_size |= sized
        return node.meta["values"][0]

    @contextlib.contextmanager
    def _dry_run(self) -> Iterator[None]:
        self._running = True
        try:
            yield
        finally:
            self._running = False

    def _run(self, node: fx.Node, index: int) -> Any:
        module = self._dry_modules[index]
        target: Any = node.target
        if node.op == "placeholder":
            return self._batches[index]
        if node.op == "get_attr":
            return operator.attrgetter(target)(module)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["values"][index])
        storages = _storages((args, kwargs))
        versions = {storage: tensor._version for storage, tensor in storages.items()}
        if node.op == "call_module":
            result = module.get_submodule(target)(*args, **kwargs)
        elif node.op == "call_method":
            result = getattr(args[0], target)(*args[1:], **kwargs)
        else:
            result = target(*args, **kwargs)
        written = {s for s, tensor in storages.items() if tensor._version != versions[s]}
        node.meta["mutates"] = node.meta.get("mutates", set()) | written
        return result
