"""Batches of tensors as arrays on disk, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_PLAIN = "tensor"  # the name of a batch that is one tensor rather than a dict of them
Arrays = Mapping[str, np.ndarray]


def to_arrays(batch: Any) -> dict[str, np.ndarray]:
    """Return a batch as arrays on the host: floats as float32, images with channels last.

    Args:
        batch: A tensor, or a dict of tensors, whose first axis is the sample axis.
    """
    named = batch if isinstance(batch, dict) else {_PLAIN: batch}
    return {name: _to_array(tensor) for name, tensor in named.items()}


def _to_array(tensor: "torch.Tensor") -> np.ndarray:
    host = tensor.detach().cpu()
    host = host.float() if host.is_floating_point() else host
    # The layout that convolutions run on: reading back then copies nothing.
    array: np.ndarray = (host.permute(0, 2, 3, 1) if host.ndim == 4 else host).numpy()
    return array


def to_batch(arrays: Arrays, device: str) -> Any:
    """Turn what `to_arrays` returned, perhaps rounded, into float32 tensors on a device."""
    trimmed = _without_padding(arrays)
    batch = {name: _to_tensor(array, device) for name, array in trimmed.items()}
    return batch[_PLAIN] if set(batch) == {_PLAIN} else batch


def _to_tensor(array: np.ndarray, device: str) -> "torch.Tensor":
    import torch

    tensor = torch.from_numpy(array).to(device)
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _without_padding(arrays: Arrays) -> Arrays:
    """Cut token axes back to the longest text of the batch."""
    mask = arrays.get("attention_mask")
    if mask is None:
        return arrays
    n_tokens = int(np.flatnonzero(mask.any(axis=0)).max(initial=0)) + 1
    padded = mask.shape[1]
    return {
        name: np.ascontiguousarray(a[:, :n_tokens]) if a.shape[1:2] == (padded,) else a
        for name, a in arrays.items()
    }


def rounded(arrays: Arrays, dtype: str) -> dict[str, np.ndarray]:
    """Return the arrays with floats in `dtype`, "float16" or "float32"."""
    with np.errstate(over="ignore"):  # what overflows is found by the check of the probe
        return {k: a.astype(dtype) if a.dtype.kind == "f" else a for k, a in arrays.items()}


def to_device(batch: Any, device: str) -> Any:
    """Move a tensor or a dict of tensors to a device; images become channels-last."""
    import torch

    if isinstance(batch, dict):
        return {k: v.to(device) for k, v in batch.items()}
    if batch.ndim == 4:
        return batch.to(device, memory_format=torch.channels_last)
    return batch.to(device)
