"""Write the static tables of `plugins/autotl_timm` from the installed timm, without any download.

    python benchmarks/catalogues/timm_catalogue.py

`models.json` lists every architecture with its pretrained tags, the default one first;
`catalogue.json` describes ten of them in full. Sizes follow from the shapes of the parameters.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import timm
import torch

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "autotl_timm"

IMAGENET = "ImageNet: research, non-commercial"

# name, source domain, terms of the source data, tags, arguments of the builder
CHOSEN: list[tuple[str, str, str, tuple[str, ...], dict[str, Any]]] = [
    ("mobilenetv3_small_050.lamb_in1k", "imagenet-1k", IMAGENET, (), {}),
    ("mobilenetv4_conv_small.e2400_r224_in1k", "imagenet-1k", IMAGENET, (), {}),
    ("convnext_atto.d2_in1k", "imagenet-1k", IMAGENET, (), {}),
    ("efficientnet_b0.ra4_e3600_r224_in1k", "imagenet-1k", IMAGENET, (), {}),
    ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "imagenet-21k", IMAGENET, ("vit",), {}),
    ("resnet18.a1_in1k", "imagenet-1k", IMAGENET, (), {}),
    ("convnext_nano.in12k_ft_in1k", "imagenet-12k", IMAGENET, (), {}),
    # Trained at 518 px; 224 px costs a sixth and timm resamples the position embeddings.
    (
        "vit_small_patch14_dinov2.lvd142m",
        "lvd-142m",
        "LVD-142M: curated from web images, not published",
        ("self-supervised", "vit"),
        {"img_size": 224},
    ),
    ("deit3_small_patch16_224.fb_in22k_ft_in1k", "imagenet-21k", IMAGENET, ("vit",), {}),
    (
        "vit_base_patch16_clip_224.laion2b",
        "laion-2b",
        "LAION-2B: links to web images under their owners' terms",
        ("image-text", "vit"),
        {},
    ),
]
NEEDED = ("forward_features", "forward_head", "get_classifier")
# timm writes identifiers in lower case; these are the SPDX ones.
SPDX = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "cc-by-4.0": "CC-BY-4.0",
    "mit": "MIT",
    "unknown": "",
}


def build(name: str, **kwargs: Any) -> torch.nn.Module:
    """Build without allocating memory where the architecture allows it."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, pretrained=False, **kwargs)
    except (RuntimeError, NotImplementedError, ValueError):
        return timm.create_model(name, pretrained=False, **kwargs)


def license_of(cfg: Any) -> str:
    return SPDX.get(cfg.license or "", cfg.license or "")


def embed_dim(net: Any) -> int:
    return int(getattr(net, "head_hidden_size", None) or net.num_features)


def facts(net: torch.nn.Module) -> dict[str, int]:
    """Count the parameters without the classifier."""
    classifier = net.get_classifier()
    heads = classifier if isinstance(classifier, (tuple, list)) else [classifier]
    n_head = sum(p.numel() for head in heads if head is not None for p in head.parameters())
    n_all = sum(p.numel() for p in net.parameters())
    return {"n_params": n_all - n_head, "embed_dim": embed_dim(net)}


def models() -> dict[str, Any]:
    tags: dict[str, list[str]] = {name: [] for name in timm.list_models()}
    for full in timm.list_pretrained():
        name, _, tag = full.partition(".")
        tags[name].append(tag)
    table: dict[str, Any] = {}
    for name, found in sorted(tags.items()):
        default = timm.get_pretrained_cfg(name) if found else None
        row: dict[str, Any] = {}
        for tag in sorted(found, key=lambda t: (default is None or t != default.tag, t)):
            cfg = timm.get_pretrained_cfg(f"{name}.{tag}")
            if cfg.hf_hub_id:
                hub = "" if cfg.hf_hub_id == f"timm/{name}.{tag}" else cfg.hf_hub_id
                row[tag] = [license_of(cfg), hub] if hub else [license_of(cfg)]
        net = build(name)
        # A few networks are parts of others and have no features or classifier of their own.
        if all(hasattr(net, method) for method in NEEDED):
            table[name] = {"tags": row, **facts(net)}
        else:
            print("left out:", name)
    return table


def catalogue() -> list[dict[str, Any]]:
    rows = []
    for name, domain, terms, words, kwargs in CHOSEN:
        cfg, net, used = timm.get_pretrained_cfg(name), build(name), build(name, **kwargs)
        size = kwargs.get("img_size", cfg.input_size[-1])
        rows.append(
            {
                "name": name,
                "hub_id": cfg.hf_hub_id,
                **facts(used),
                "license": license_of(cfg),
                "source_domain": domain,
                "source_terms": terms,
                "input_size": [3, size, size],
                "mean": list(cfg.mean),
                "std": list(cfg.std),
                "interpolation": cfg.interpolation,
                # CLIP's last layer projects to the space that texts share; it has no classes.
                "has_source_probs": cfg.num_classes > 0 and "image-text" not in words,
                "download_bytes": sum(
                    t.numel() * t.element_size() for t in net.state_dict().values()
                ),
                "tags": list(words),
                "kwargs": kwargs,
            }
        )
    return rows


def main() -> None:
    warnings.simplefilter("ignore")
    rows = ",\n".join(json.dumps(row) for row in catalogue())
    (PLUGIN / "catalogue.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    table = models()
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items())
    (PLUGIN / "models.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
