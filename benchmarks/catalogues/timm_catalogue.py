"""Write the static tables of `plugins/autotl_timm` from the installed timm, without any download.

    python benchmarks/catalogues/timm_catalogue.py

`models.json` lists every architecture with its pretrained tags, the default one first;
`catalogue.json` describes those of `timm_chosen.py` in full. Sizes follow from the shapes of the
parameters; licences, preprocessing and repositories are those of timm's `pretrained_cfg`.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import beit, eva, vision_transformer
from timm_chosen import CHOSEN, TERMS

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "autotl_timm"

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
    "": "",
}
# Largest number of parameters of each size.
SIZES = {"tiny": 7e6, "small": 36e6, "base": float("inf")}
VITS = (beit.Beit, eva.Eva, vision_transformer.VisionTransformer)


def build(name: str, **kwargs: Any) -> torch.nn.Module:
    """Build without allocating memory where the architecture allows it."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, pretrained=False, **kwargs)
    except (RuntimeError, NotImplementedError, ValueError):
        return timm.create_model(name, pretrained=False, **kwargs)


def license_of(cfg: Any) -> str:
    """Return the SPDX identifier; SPDX writes licences that it does not list as LicenseRef-."""
    name = cfg.license or ""
    return SPDX.get(name, f"LicenseRef-{name.removesuffix('-license')}")


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


def tags(net: torch.nn.Module, styles: str, n_params: int) -> list[str]:
    size = next(size for size, largest in SIZES.items() if n_params <= largest)
    return [*styles.split(), size, *(["vit"] if isinstance(net, VITS) else [])]


def catalogue() -> list[dict[str, Any]]:
    rows = []
    for chosen in CHOSEN:
        cfg, stored = timm.get_pretrained_cfg(chosen.name), build(chosen.name)
        used = build(chosen.name, **chosen.kwargs) if chosen.kwargs else stored
        counts = facts(used)
        size = chosen.kwargs.get("img_size", cfg.input_size[-1])
        rows.append(
            {
                "name": chosen.name,
                "hub_id": cfg.hf_hub_id,
                **counts,
                "license": license_of(cfg),
                "source_domain": chosen.domain,
                "source_terms": TERMS[chosen.domain],
                "input_size": [3, size, size],
                "mean": list(cfg.mean),
                "std": list(cfg.std),
                "interpolation": cfg.interpolation,
                "published_accuracy": chosen.top1 and round(chosen.top1 / 100, 5),
                # CLIP's last layer projects to the space that texts share; it has no classes.
                "has_source_probs": cfg.num_classes > 0 and "image-text" not in chosen.styles,
                "download_bytes": sum(
                    t.numel() * t.element_size() for t in stored.state_dict().values()
                ),
                "tags": tags(used, chosen.styles, counts["n_params"]),
                "kwargs": dict(chosen.kwargs),
            }
        )
    return sorted(rows, key=lambda row: row["n_params"])


def main() -> None:
    warnings.simplefilter("ignore")
    rows = ",\n".join(json.dumps(row) for row in catalogue())
    (PLUGIN / "catalogue.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    table = models()
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items())
    (PLUGIN / "models.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
