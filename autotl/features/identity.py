"""What the activations of a backbone depend on, besides samples, cut and view."""

import hashlib
import sys
from typing import TYPE_CHECKING, Any

from autotl.features.arrays import to_arrays

if TYPE_CHECKING:
    from autotl.features.session import BackboneSession


def identity(session: "BackboneSession") -> dict[str, Any]:
    """Return what tells a backbone as it runs here from every other one, as JSON values."""
    module = session.loaded.module
    packages = {type(part).__module__.partition(".")[0] for part in module.modules()}
    versions = {p: getattr(sys.modules.get(p), "__version__", "") for p in sorted(packages)}
    return {
        "backbone": session.spec.name,
        "weights": _weights_digest(session),
        "network": hashlib.sha256(repr(module).encode()).hexdigest()[:16],
        "preprocessing": _preprocessing(session),
        "device": session.device.partition(":")[0],
        "versions": {p: str(v) for p, v in versions.items()},
    }


def _weights_digest(session: "BackboneSession") -> str:
    known = session.spec.weights_digest() if session.spec.weights_digest else None
    if known:
        return known
    content = hashlib.sha256()
    for name, tensor in session.loaded.module.state_dict().items():
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().float().numpy().tobytes())
    return content.hexdigest()


def _preprocessing(session: "BackboneSession") -> str:
    """Return what tells one preprocessing from others: its own words, or what it does."""
    preprocess = session.loaded.preprocess
    if hasattr(preprocess, "pixels"):
        return repr(preprocess)
    content = hashlib.sha256()
    for name, array in sorted(to_arrays(session.example()).items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    caching = session.activations.caching if session.activations else None
    rows = session.example_rows()
    seen = " ".join(caching.digests[r] for r in rows) if caching else ""
    return hashlib.sha256(f"{seen} {content.hexdigest()}".encode()).hexdigest()
