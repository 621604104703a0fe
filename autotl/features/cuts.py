"""Where a backbone can be divided, and the parts between such places."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotl.features.freezing import FreezePlan
from autotl.specs import Cuts, LoadedBackbone, check_part

if TYPE_CHECKING:
    import torch

    from autotl.features.parts import Code
    from autotl.features.sections import Section
    from autotl.features.tracing import Trace

__all__ = ["EndCuts", "find_cuts"]

_TOLERANCE = 1e-5


class EndCuts:
    """The cuts of a backbone that cannot be divided: its input and its output.

    Args:
        n_groups: Number of layer groups.
    """

    def __init__(self, n_groups: int) -> None:
        self.depths: tuple[int, ...] = tuple(sorted({0, n_groups}))

    def part(self, module: "torch.nn.Module", start: int, stop: int) -> "torch.nn.Module":
        """Return the whole module, or the identity between a cut and itself.

        Raises:
            ValueError: There is no such cut.
        """
        import torch

        check_part(self, start, stop)
        return torch.nn.Identity() if start == stop else module


class _TracedCuts:
    """Cuts that tracing found; the code between two of them is compiled once."""

    def __init__(self, trace: "Trace", sections: "dict[int, Section]", n_groups: int) -> None:
        self.depths: tuple[int, ...] = (0, *sorted(sections), n_groups)
        self._trace, self._sections = trace, sections
        assumes = trace.fixed_size or any(s.has_constants for s in sections.values())
        self._fixed = assumes and not trace.any_size
        self._codes: dict[tuple[int, int], Code] = {}

    def part(self, module: "torch.nn.Module", start: int, stop: int) -> "torch.nn.Module":
        """Return the layers between two cuts over the parameters of `module`.

        Raises:
            ValueError: There is no such cut.
        """
        import torch

        from autotl.features.parts import Part, compile_part

        check_part(self, start, stop)
        if (start, stop) == (0, self.depths[-1]):
            return module
        if start == stop:
            return torch.nn.Identity()
        if (start, stop) not in self._codes:
            ends = self._sections.get(start), self._sections.get(stop)
            self._codes[start, stop] = compile_part(self._trace, *ends, fixed=self._fixed)
        return Part(module, self._codes[start, stop])


def find_cuts(backbone: LoadedBackbone, example: Any) -> Cuts:
    """Return where a backbone can be divided.

    Its own cuts are taken where it names them, else those found by tracing it. A backbone that
    cannot be traced, or whose parts do not add up to the whole, has its two ends only.

    Args:
        backbone: Is left in the modes that it has.
        example: One preprocessed batch of two samples: a tensor or a dict of tensors.
    """
    if backbone.cuts is not None:
        return backbone.cuts

    from autotl.features.tracing import has_length

    plan = FreezePlan(backbone)
    if plan.n_groups < 2:
        return EndCuts(plan.n_groups)
    cuts = _traced(plan, example, any_size=True)
    if len(cuts.depths) <= plan.n_groups and has_length(example):
        fixed = _traced(plan, example, any_size=False)
        cuts = max(cuts, fixed, key=lambda found: len(found.depths))
    return cuts


def _traced(plan: FreezePlan, example: Any, *, any_size: bool) -> Cuts:
    """Trace a module and check that its parts make the whole."""
    from autotl.features.sections import find_sections
    from autotl.features.tracing import trace

    with contextlib.suppress(Exception):  # a stranger's code meets values it does not expect
        found = trace(plan.module, example, any_size=any_size)
        cuts = _TracedCuts(found, find_sections(found, plan), plan.n_groups)
        if _adds_up(plan.module, cuts, example):
            return cuts
    return EndCuts(plan.n_groups)


def _adds_up(module: "torch.nn.Module", cuts: Cuts, example: Any) -> bool:
    """Run the parts one after the other, in eval mode, and compare with the whole.

    Lengths other than the example's must work wherever they do for the whole: a trace may have
    taken them for constants.
    """
    import torch

    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():  # modules may keep what they compute for training
            return all(_equal(module, cuts, *pair) for pair in _runs(module, example))
    finally:
        for m, mode in modes:
            m.training = mode


def _runs(module: "torch.nn.Module", example: Any) -> "Iterator[tuple[Any, torch.Tensor]]":
    """Yield the example, and it cut to the other lengths that the module reads, with outputs."""
    from autotl.features.tracing import shorter

    yield example, module(example)
    for batch in shorter(example):
        output = None
        with contextlib.suppress(Exception):  # it reads samples of one size only
            output = module(batch)
        if output is not None:
            yield batch, output


def _equal(module: "torch.nn.Module", cuts: Cuts, batch: Any, expected: "torch.Tensor") -> bool:
    import torch

    value = batch
    for start, stop in zip(cuts.depths, cuts.depths[1:], strict=False):
        value = cuts.part(module, start, stop)(value)
    scale = float(expected.abs().max())
    return torch.allclose(value, expected, rtol=_TOLERANCE, atol=_TOLERANCE * scale)
