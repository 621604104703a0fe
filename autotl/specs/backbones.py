"""Backbones, and the families they come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from autotl.specs.base import Spec
from autotl.specs.fingerprints import SourceFingerprint

if TYPE_CHECKING:
    import torch


class Cuts(Protocol):
    """Places where exactly one batch of tensors crosses from earlier to later layers."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths of the cuts, ascending, in leading layer groups.

        The first is 0, the input, and the last is the number of layer groups, the embedding.
        """
        ...

    def part(self, module: "torch.nn.Module", start: int, stop: int) -> "torch.nn.Module":
        """Return the layers between two cuts as a module over the parameters of `module`.

        Args:
            module: The whole backbone, or a copy of it.
            start: Depth of the cut whose activations the part reads.
            stop: Depth of the cut whose activations it returns; the last one returns embeddings.

        Returns:
            A module whose parameters are those of `module`, shared, under the same names. It
            maps activations, a tensor or a dict of tensors whose first axis is the sample axis,
            to activations.
        """
        ...


def check_part(cuts: Cuts, start: int, stop: int) -> None:
    """Check that a backbone can be divided at two depths.

    Raises:
        ValueError: One of them is no cut, or they are not in order.
    """
    if start > stop or not {start, stop} <= set(cuts.depths):
        raise ValueError(
            f"There is no part from {start} to {stop}; expected two of the depths "
            f"{cuts.depths}, in this order."
        )


@dataclass(frozen=True, kw_only=True)
class LoadedBackbone:
    """A backbone in memory.

    Args:
        module: Maps a batch to embeddings of shape (n_samples, embed_dim), float32.
        preprocess: Maps a sequence of samples to a batch on the CPU: a tensor, or a dict of
            tensors, whose first axis is the sample axis. Image samples are PIL images in mode
            "RGB" or "L" of any size; text samples are non-empty str.
        layer_groups: Parameter-name prefixes of `module`, one tuple per group, input side first;
            None takes the module's children in order.
        source_probs: Maps a batch to probabilities over the source classes, or None.
        source_head: Maps embeddings to logits over the source classes, where those are all that
            `source_probs` reads; None otherwise.
        cuts: Where `module` can be divided; None lets the engine find out by tracing it.
        start: Depth of the cut that `module` starts from: 0 for a whole backbone, which reads
            what `preprocess` returns; more for the tail of one, which reads activations.
    """

    module: "torch.nn.Module"
    preprocess: Callable[[Sequence[Any]], Any]
    layer_groups: tuple[tuple[str, ...], ...] | None = None
    source_probs: "Callable[[Any], torch.Tensor] | None" = None
    source_head: "torch.nn.Module | None" = None
    cuts: Cuts | None = None
    start: int = 0


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(Spec):
    """A pretrained feature extractor, described without loading it.

    Args:
        modality: Name of the modality whose samples it reads ("image", "text" ...).
        embed_dim: Length of one embedding; None when only loading tells.
        load: Builds it with its pretrained weights on a device ("cpu", "cuda", "mps"); raises
            rather than return random weights. Must not use the network unless `download_bytes`
            is positive and the engine has been told that downloading is allowed.
        unavailable: Returns the reason why it cannot be loaded now, or None when it can.
            Cheap: no network, no heavy import.
        weights_digest: Returns a digest of the weights; tells saved models and caches apart.
        n_params: Number of parameters; None when only loading tells.
        source_domain: Short name of the data it learnt from, such as "imagenet-1k".
        license: SPDX identifier of the weights' licence, "" when unknown.
        source_terms: Terms of the data behind the weights, "" when they add nothing.
        permissive: Whether the licence of the weights and the terms of the data behind them both
            allow commercial use; unknown counts as not.
        input_size: (channels, height, width) of its native input for images.
        download_bytes: Bytes a download would take; 0 when nothing ever needs downloading.
        published_accuracy: Accuracy on its source task in [0, 1].
        has_source_probs: Whether `source_probs` will be there after loading.
        source_fingerprint: Returns statistics of the features on data of the source domain; None
            when there are none.
        tags: Free words such as "self-supervised".
    """

    modality: str
    embed_dim: int | None
    load: Callable[[str], LoadedBackbone]
    unavailable: Callable[[], str | None] = lambda: None
    weights_digest: Callable[[], str] | None = None
    n_params: int | None = None
    source_domain: str = ""
    license: str = ""
    source_terms: str = ""
    permissive: bool = False
    input_size: tuple[int, ...] | None = None
    download_bytes: int = 0
    published_accuracy: float | None = None
    has_source_probs: bool = False
    source_fingerprint: Callable[[], SourceFingerprint] | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceNetwork:
    """An architecture with its source classifier, before any weights are loaded.

    Args:
        network: The module whose state dict has the keys of the weights file.
        backbone: Shares `network`'s parameters; maps a batch to (n_samples, embed_dim).
        source_logits: Maps a batch to logits over the source classes, or None.
        source_head: As in `LoadedBackbone`.
        layer_groups: As in `LoadedBackbone`, prefixes of `backbone`'s parameter names.
    """

    network: "torch.nn.Module"
    backbone: "torch.nn.Module"
    source_logits: "Callable[[Any], torch.Tensor] | None" = None
    source_head: "torch.nn.Module | None" = None
    layer_groups: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneSourceSpec(Spec):
    """A family of backbones resolved by name.

    Args:
        prefix: What its names start with, such as "timm/" or "text/".
        resolve: Maps a full name to a spec, or None when it does not know the name. Must import
            nothing heavy.
        architectures: Builders by architecture name, called with the keyword arguments of a
            `backbones.toml` entry; an entry with `architecture = "described"` is looked up under
            the entry's own name.
    """

    prefix: str
    resolve: Callable[[str], BackboneSpec | None] = lambda _name: None
    architectures: Mapping[str, Callable[..., SourceNetwork]] = field(default_factory=dict)
