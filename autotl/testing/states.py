"""Send a saved state through the bytes that would lie on disk."""

import json
from typing import Any

import numpy as np

from autotl.specs import SavedState


def through_disk(name: str, state: SavedState, *, tensors: bool = False) -> SavedState:
    """Return what safetensors and JSON keep of a state.

    Args:
        name: What the state belongs to, for messages.
        state: The state; anything but numeric arrays, tensors and JSON is an AssertionError.
        tensors: Return torch tensors rather than NumPy arrays; a plugin must take either.
    """
    return from_bytes(*to_bytes(name, state), tensors=tensors)


def to_bytes(name: str, state: SavedState) -> tuple[bytes, str]:
    """Serialise a state as safetensors and JSON."""
    import torch
    from safetensors.torch import save

    assert isinstance(state, SavedState), (
        f"{name}: expected a SavedState, got {type(state).__name__}."
    )
    named: dict[str, torch.Tensor] = {}
    for key, value in state.tensors.items():
        assert isinstance(value, np.ndarray | torch.Tensor), (
            f"{name}: expected an array or tensor as {key!r}, got {type(value).__name__}."
        )
        assert isinstance(value, torch.Tensor) or value.dtype.kind in "biuf", (
            f"{name}: expected numbers in {key!r}, got dtype {value.dtype}."
        )
        # Cloned because safetensors refuses tensors that share memory.
        named[key] = torch.as_tensor(value).detach().cpu().clone().contiguous()
    _expect_json(name, dict(state.config), "config")
    return save(named), json.dumps(dict(state.config), allow_nan=False)


def from_bytes(tensors_bytes: bytes, config: str, *, tensors: bool) -> SavedState:
    """Rebuild a state from `to_bytes`."""
    from safetensors.torch import load

    loaded = load(tensors_bytes)
    named = loaded if tensors else {key: value.numpy() for key, value in loaded.items()}
    return SavedState(tensors=named, config=json.loads(config))


def _expect_json(name: str, value: Any, where: str) -> None:
    """Refuse what JSON would reject or change, such as tuples and integer keys."""
    if isinstance(value, dict):
        for key, inner in value.items():
            assert type(key) is str, f"{name}: expected str keys in {where}, got {key!r}."
            _expect_json(name, inner, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _expect_json(name, inner, f"{where}[{index}]")
    else:
        assert value is None or type(value) in (str, int, float, bool), (
            f"{name}: expected JSON at {where}, got {value!r} of type {type(value).__name__}."
        )
        assert type(value) is not float or np.isfinite(value), (
            f"{name}: expected a finite number at {where}, got {value!r}; JSON has no other."
        )
