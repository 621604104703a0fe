"""Wrap timm's networks: embeddings before the classifier, layer groups, source probabilities."""

import copy
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import timm  # noqa: TID253  # imported on loading only
import torch  # noqa: TID253  # imported on loading only
from timm.models import group_parameters  # noqa: TID253  # imported on loading only
from torch import Tensor, nn  # noqa: TID253  # imported on loading only

import autotl
from autotl.errors import BackboneUnavailableError
from autotl_timm.hub import fetch_weights

__all__ = ["Embedder", "build_network", "load_pretrained", "source_network"]


class Embedder(nn.Module):
    """Embed images with a timm network up to its classifier.

    Args:
        network: Its parameters are shared; its classifier is left out, itself untouched.
    """

    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = _without(network, _classifiers(network))

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings of shape (n_samples, embed_dim)."""
        features = self.network.forward_features(x)
        embedded: Tensor = self.network.forward_head(features, pre_logits=True)
        # Networks without pooling of their own return a map.
        return embedded.mean(dim=(2, 3)) if embedded.ndim == 4 else embedded


def _classifiers(network: Any) -> tuple[str, ...]:
    """Return the paths of all that follows the embedding.

    timm names the last layer; a few families have a norm or a hidden layer before it that serves
    the classifier alone. A head that pools too, which `pre_logits` tells, stays.
    """
    named = network.pretrained_cfg.get("classifier") or ()
    found = network.get_classifier()
    heads = [
        head
        for head in (found if isinstance(found, tuple | list) else (found,))
        if head is not None and "pre_logits" not in inspect.signature(head.forward).parameters
    ]
    paths = (path for path, module in network.named_modules() if any(module is h for h in heads))
    return (*((named,) if isinstance(named, str) else named), *paths)


def _without(network: nn.Module, paths: Iterable[str]) -> nn.Module:
    """Return a view of a network that shares all modules but those at the paths."""
    view = _view(network)
    for path in paths:
        *parents, last = path.split(".")
        around = view
        for name in parents:
            if name not in around._modules:
                break
            around._modules[name] = _view(around.get_submodule(name))
            around = around.get_submodule(name)
        else:
            if around._modules.get(last) is not None:
                around._modules[last] = nn.Identity()
    return view


def _view(module: nn.Module) -> nn.Module:
    """Copy a module so that a child can be replaced; parameters and buffers stay shared."""
    view = copy.copy(module)
    view._modules = dict(module._modules)
    return view


def source_network(network: nn.Module) -> autotl.SourceNetwork:
    """Describe a timm network, whatever weights it has."""
    embedder = Embedder(network)
    classifies = getattr(network, "num_classes", 0)
    return autotl.SourceNetwork(
        network=network,
        backbone=embedder,
        source_logits=network if classifies else None,
        source_head=_linear_classifier(network) if classifies else None,
        layer_groups=_layer_groups(network, embedder),
    )


def _linear_classifier(network: Any) -> nn.Module | None:
    """Return the layer that maps embeddings to logits, where it is one layer alone."""
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None
    return classifier if isinstance(classifier, nn.Linear) else None


def _layer_groups(network: Any, embedder: Embedder) -> tuple[tuple[str, ...], ...]:
    """Return timm's own groups, stem first, as prefixes of the embedder's parameter names."""
    names = [name for name, _ in embedder.named_parameters()]
    if hasattr(network, "group_matcher"):
        matcher = network.group_matcher(coarse=True)
        group_of: dict[str, int] = group_parameters(network, matcher, reverse=True)
        members = {name: group_of[name.removeprefix("network.")] for name in names}
    else:  # a few families have none; their children and stages run in order
        parts = {name: _part(network, name.removeprefix("network.")) for name in names}
        order = list(dict.fromkeys(parts.values()))
        members = {name: order.index(part) for name, part in parts.items()}
    groups: dict[int, list[str]] = {}
    for prefix, group in _prefixes(members):
        groups.setdefault(group, []).append(prefix)
    return tuple(tuple(groups[group]) for group in sorted(groups))


def _part(network: nn.Module, name: str) -> str:
    """Return the child that a parameter belongs to, or the child's stage."""
    child, *inner = name.split(".")
    return f"{child}.{inner[0]}" if isinstance(getattr(network, child), nn.Sequential) else child


def _prefixes(members: Mapping[str, int]) -> list[tuple[str, int]]:
    """Replace parameter names by the longest-reaching prefixes that lie within one group."""
    within: dict[str, set[int]] = {}
    for name, group in members.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            within.setdefault(".".join(parts[:end]), set()).add(group)
    found: dict[str, int] = {}
    for name, group in members.items():
        parts = name.split(".")
        heads = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        found[next(head for head in heads if len(within[head]) == 1)] = group
    return list(found.items())


def build_network(architecture: str, **kwargs: Any) -> autotl.SourceNetwork:
    """Build an architecture for weights that the caller loads next."""
    return source_network(timm.create_model(architecture, pretrained=False, **kwargs))


def load_pretrained(
    model: str, hub_id: str, kwargs: Mapping[str, Any], device: str
) -> autotl.LoadedBackbone:
    """Load a timm model with its pretrained weights.

    Args:
        model: `<architecture>.<tag>`.
        hub_id: Repository that holds the weights.
        kwargs: Further arguments of the architecture.
        device: Where to put it.

    Raises:
        BackboneUnavailableError: The weights are not there or do not fit.
    """
    file = fetch_weights(hub_id)
    try:
        # A given file is all that timm reads: no pickle is tried and nothing is downloaded.
        # Some models load their original format by code of their own, which this file is not.
        overlay = {"file": str(file), "custom_load": False}
        with torch.random.fork_rng(devices=[]):
            network = timm.create_model(
                model, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise BackboneUnavailableError(
            f"The weights {str(file)!r} do not fit timm's {model!r} ({str(error)[:300]}). Delete "
            "the file to download it again, or update timm."
        ) from error
    source = source_network(network.to(device).eval())
    # CLIP's last layer projects to the space that texts share, unless it was tuned to classes.
    projects = ("clip" in model or "pe_core" in model) and "_ft_" not in model
    logits = None if projects else source.source_logits
    config: Any = network.pretrained_cfg
    size = kwargs.get("img_size")
    return autotl.LoadedBackbone(
        module=source.backbone.to(device).eval(),
        preprocess=autotl.image_preprocess(
            (3, size, size) if size else config["input_size"],
            config["mean"],
            config["std"],
            "bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        ),
        layer_groups=source.layer_groups,
        source_probs=None if logits is None else lambda batch: logits(batch).softmax(dim=1),
        source_head=None if logits is None else source.source_head,
    )
