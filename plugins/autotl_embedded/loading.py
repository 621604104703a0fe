"""Load the embedded weights, after checking them against the manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autotl
from autotl.errors import BackboneUnavailableError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "GLYPHS_ARCHITECTURE",
    "NATURAL_ARCHITECTURE",
    "WEIGHTS",
    "digest",
    "load_glyphs",
    "load_natural",
    "load_words",
    "missing",
]

WEIGHTS = Path(__file__).resolve().parent / "weights"

GLYPHS_ARCHITECTURE: dict[str, Any] = {
    "n_channels": 1,
    "stem_width": 32,
    "widths": (48, 96, 192),
    "depths": (1, 2, 1),
}
NATURAL_ARCHITECTURE: dict[str, Any] = {
    "n_channels": 3,
    "stem_width": 32,
    "widths": (32, 64, 128, 240),
    "depths": (1, 1, 1, 1),
}


def missing(files: tuple[str, ...], packages: tuple[str, ...]) -> str | None:
    """Return why weights cannot be loaded, or None when files and packages are there."""
    from importlib.util import find_spec

    for file in files:
        if not (WEIGHTS / file).is_file():
            return (
                f"The weights file {file!r} is not installed. "
                "Run: pip install --force-reinstall autotl"
            )
    for package in packages:
        if find_spec(package) is None:
            return f"The package {package!r} is not installed. Run: pip install {package}"
    return None


def digest(file: str) -> str:
    """Return the SHA-256 that the manifest records for a weights file."""
    try:
        manifest = json.loads((WEIGHTS / "manifest.json").read_text(encoding="utf-8"))
        return str(manifest[file])
    except (OSError, ValueError, KeyError) as error:
        raise BackboneUnavailableError(
            f"The manifest of the embedded weights has no digest of {file!r} ({error!r}). "
            "Reinstall autotl."
        ) from error


def checked(file: str) -> Path:
    """Return the path of a weights file whose content equals its digest."""
    path = WEIGHTS / file
    expected = digest(file)
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BackboneUnavailableError(
            f"The weights file {str(path)!r} cannot be read ({error}). Reinstall autotl."
        ) from error
    if found != expected:
        raise BackboneUnavailableError(
            f"The weights file {str(path)!r} has the SHA-256 {found} where the manifest says "
            f"{expected}. It is damaged; reinstall autotl."
        )
    return path


def load_glyphs(device: str) -> autotl.LoadedBackbone:
    """Load `embedded/glyphs`, a network that learnt characters, on a device."""
    from autotl_embedded.preprocessing import preprocess_glyphs

    return _load_image("glyphs.safetensors", GLYPHS_ARCHITECTURE, preprocess_glyphs, device)


def load_natural(device: str) -> autotl.LoadedBackbone:
    """Load `embedded/natural`, a network that learnt photographs, on a device."""
    from autotl_embedded.preprocessing import preprocess_natural

    return _load_image("natural.safetensors", NATURAL_ARCHITECTURE, preprocess_natural, device)


def load_words(device: str) -> autotl.LoadedBackbone:
    """Load `embedded/words`, a table of token vectors, on a device."""
    from autotl_embedded.words import TokenMean, Tokens

    checked("words/model.safetensors")
    checked("words/tokenizer.json")
    folder = WEIGHTS / "words"
    return autotl.LoadedBackbone(
        module=TokenMean.from_folder(folder).to(device).eval(),
        preprocess=Tokens(folder),
        layer_groups=(("embedding",),),
    )


def _load_image(
    file: str, architecture: dict[str, Any], preprocess: Any, device: str
) -> autotl.LoadedBackbone:
    """Build the network and the linear layer over its source classes."""
    import torch
    from safetensors.torch import load_file

    from autotl_embedded.convnet import ConvNet

    tensors = {name: value.float() for name, value in load_file(checked(file)).items()}
    net = ConvNet(**architecture)
    head = torch.nn.Linear(net.embed_dim, len(tensors["head.bias"]))
    for module, part in ((net, "backbone."), (head, "head.")):
        own = {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
        _load_strictly(module, own)
    net = net.to(device).eval()
    head = head.to(device).eval()

    def source_probs(batch: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (n_samples, n_source_classes)."""
        return torch.softmax(head(net(batch)), dim=1)

    return autotl.LoadedBackbone(
        module=net,
        preprocess=preprocess,
        layer_groups=tuple((name,) for name in net.layer_groups),
        source_probs=source_probs,
    )


def _load_strictly(module: nn.Module, tensors: dict[str, Any]) -> None:
    """Copy every tensor; only batch norm's counters, which inference never reads, may lack."""
    absent, unknown = module.load_state_dict(tensors, strict=False)
    absent = [name for name in absent if not name.endswith("num_batches_tracked")]
    if absent or unknown:
        raise BackboneUnavailableError(
            f"The embedded weights lack {absent} and have the unknown {unknown}. Reinstall autotl."
        )
