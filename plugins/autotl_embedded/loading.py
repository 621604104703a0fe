"""Load the embedded weights, after checking them against the manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autotl
from autotl.errors import BackboneUnavailableError
from autotl_embedded.networks import NETWORKS

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "WEIGHTS",
    "digest",
    "load_fingerprint",
    "load_image",
    "load_sentences",
    "load_table",
    "missing",
]

WEIGHTS = Path(__file__).resolve().parent / "weights"


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


def load_fingerprint(name: str) -> autotl.SourceFingerprint:
    """Read the fingerprint of the source domain of one backbone."""
    from autotl_embedded.fingerprints import read_fingerprint

    return read_fingerprint(checked(f"{name}/fingerprint.safetensors"))


def load_table(name: str, device: str) -> autotl.LoadedBackbone:
    """Load a table of token vectors on a device."""
    from autotl_embedded.tokens import Tokens
    from autotl_embedded.words import MAX_TOKENS, TokenMean

    folder = _text_folder(name)
    return autotl.LoadedBackbone(
        module=TokenMean.from_folder(folder).to(device).eval(),
        preprocess=Tokens(folder, MAX_TOKENS),
        layer_groups=(("embedding",),),
    )


def load_sentences(device: str) -> autotl.LoadedBackbone:
    """Load `embedded/sentences`, a small transformer encoder, on a device."""
    from autotl_embedded.sentences import MAX_TOKENS, EncoderCuts, from_folder
    from autotl_embedded.tokens import Tokens

    folder = _text_folder("sentences")
    encoder = from_folder(folder)
    return autotl.LoadedBackbone(
        module=encoder.to(device).eval(),
        preprocess=Tokens(folder, MAX_TOKENS),
        layer_groups=encoder.layer_groups,
        cuts=EncoderCuts(len(encoder.layer_groups)),
    )


def load_image(name: str, device: str) -> autotl.LoadedBackbone:
    """Load one of the convolutional networks on a device."""
    import torch
    from safetensors.torch import load_file

    from autotl_embedded.preprocessing import Preprocess
    from autotl_embedded.quantised import dequantise

    network = NETWORKS[name]
    tensors = dequantise(load_file(checked(f"{name}/model.safetensors")))
    net, head = network.build(), torch.nn.Linear(network.embed_dim, network.n_classes)
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
        preprocess=Preprocess(n_channels=network.n_channels, n_pixels=network.n_pixels),
        layer_groups=network.layer_groups,
        source_probs=source_probs,
        source_head=head,
    )


def _text_folder(name: str) -> Path:
    """Return the folder of a text backbone whose files equal their digests."""
    checked(f"{name}/model.safetensors")
    return checked(f"{name}/tokenizer.json").parent


def _load_strictly(module: nn.Module, tensors: dict[str, Any]) -> None:
    """Copy every tensor; only batch norm's counters, which inference never reads, may lack."""
    absent, unknown = module.load_state_dict(tensors, strict=False)
    absent = [name for name in absent if not name.endswith("num_batches_tracked")]
    if absent or unknown:
        raise BackboneUnavailableError(
            f"The embedded weights lack {absent} and have the unknown {unknown}. Reinstall autotl."
        )
