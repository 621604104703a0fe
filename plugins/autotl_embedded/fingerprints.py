"""Fingerprints of source domains as safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import autotl

__all__ = ["read_fingerprint", "write_fingerprint"]

# Each value is an average over thousands of samples: half precision is finer than its error.
_HALF = ("factor", "class_means")
_WHOLE = ("mean", "residual", "class_counts")


def write_fingerprint(fingerprint: autotl.SourceFingerprint, path: Path) -> None:
    """Write a fingerprint to a safetensors file."""
    from safetensors.numpy import save_file

    tensors = {name: getattr(fingerprint, name).astype(np.float16) for name in _HALF}
    tensors |= {name: getattr(fingerprint, name).astype(np.float32) for name in _WHOLE}
    for index, (name, layer) in enumerate(fingerprint.layers.items()):
        # safetensors sorts its names; the number keeps the order of the layers.
        tensors[f"layer.{index:02d}.{name}.mean"] = layer.mean.astype(np.float32)
        tensors[f"layer.{index:02d}.{name}.variance"] = layer.variance.astype(np.float32)
    facts = {"n": str(fingerprint.n), "clustered": str(int(fingerprint.clustered))}
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    save_file(tensors, path, metadata=facts)


def read_fingerprint(path: Path) -> autotl.SourceFingerprint:
    """Read what `write_fingerprint` wrote, as float32 arrays."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118  # not a dict
    means = sorted(n for n in tensors if n.startswith("layer.") and n.endswith(".mean"))
    layers = {
        name.removesuffix(".mean").split(".", 2)[2]: autotl.LayerStatistics(
            mean=tensors[name], variance=tensors[name.removesuffix("mean") + "variance"]
        )
        for name in means
    }
    return autotl.SourceFingerprint(
        n=int(facts["n"]),
        clustered=facts["clustered"] == "1",
        layers=layers,
        **{name: tensors[name] for name in _HALF + _WHOLE},
    )
