"""What a backbone that looks at samples still knows of its source."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.arrays import to_arrays
from autotl.features.extraction import infer, run_batches
from autotl.specs import LayerStatistics

if TYPE_CHECKING:
    from autotl.features.session import BackboneSession

__all__ = ["norm_moments", "source_probs"]

_LEAST_VARIANCE = 1e-12


def source_probs(session: "BackboneSession", rows: np.ndarray) -> np.ndarray | None:
    """Return probabilities over the source classes of shape (len(rows), n_source_classes).

    None where the backbone came without its source classifier.
    """
    classify = session.loaded.source_probs
    if classify is None:
        return None
    parts = [found["tensor"] for found in _passes(session, rows, classify)]
    return np.concatenate(parts)


def norm_moments(
    session: "BackboneSession", rows: np.ndarray
) -> tuple[dict[str, LayerStatistics], dict[str, LayerStatistics]]:
    """Return, by batch norm, the moments it remembers and the moments of what reaches it.

    The first are its running statistics, measured on the source while it was trained; the second
    are taken over samples and positions of `rows`. Both are empty where there are none.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = {
        name: module
        for name, module in session.loaded.module.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    if not norms:
        return {}, {}
    sums: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_pre_hook(_adder(sums, name)) for name, module in norms.items()
    ]
    try:
        for _ in _passes(session, rows, session.loaded.module):
            pass
    finally:
        for hook in hooks:
            hook.remove()
    # A norm that no sample reached, such as one of an unused branch, says nothing.
    source = {name: _remembered(norms[name]) for name in sums}
    return source, {name: _moments(total) for name, total in sums.items()}


def _passes(
    session: "BackboneSession", rows: np.ndarray, work: Callable[[Any], Any]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield what frozen layers make of each batch in turn, as arrays.

    One batch at a time, once, in single precision: hooks on shared modules add up what they see.
    """

    def compute(batch: Any) -> Any:
        return infer(work, session.ready(batch))

    for _, found in run_batches(
        rows, session.prepare, compute, batch_size=session.batch_size, check=session.check
    ):
        yield to_arrays(found)


def _adder(sums: dict[str, np.ndarray], name: str) -> Callable[..., None]:
    """Return a hook that adds count, sum and sum of squares of each channel."""
    import torch

    def add(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].detach().float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        count = x.numel() / x.shape[1]
        # Moments of a batch are exact enough in single precision, their sums are not.
        variance, mean = (m.double().cpu().numpy() for m in torch.var_mean(x, axes, correction=0))
        found = count * np.stack([np.ones_like(mean), mean, variance + mean**2])
        sums[name] = sums[name] + found if name in sums else found

    return add


def _moments(total: np.ndarray) -> LayerStatistics:
    count, first, second = total
    mean = first / count
    return LayerStatistics(mean=mean, variance=(second / count - mean**2).clip(_LEAST_VARIANCE))


def _remembered(norm: Any) -> LayerStatistics:
    return LayerStatistics(
        mean=norm.running_mean.detach().cpu().double().numpy(),
        variance=norm.running_var.detach().cpu().double().numpy(),
    )
