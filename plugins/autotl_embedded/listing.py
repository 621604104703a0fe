"""The facts about each embedded backbone, readable without loading it."""

from __future__ import annotations

from functools import partial
from typing import Any

import autotl
from autotl_embedded.loading import (
    digest,
    load_fingerprint,
    load_image,
    load_sentences,
    load_table,
    missing,
)
from autotl_embedded.networks import NETWORKS

__all__ = ["SHELF"]

_TINY_IMAGENET = "trained on Tiny ImageNet: research and non-commercial"
_MINILM = (
    "distilled from all-MiniLM-L6-v2, whose billion pairs include sets for research only "
    "(MS MARCO), on public-domain English"
)


def _image(name: str, **facts: Any) -> autotl.BackboneSpec:
    network = NETWORKS[name]
    files = (f"{name}/model.safetensors", f"{name}/fingerprint.safetensors")
    return autotl.BackboneSpec(
        name=f"embedded/{name}",
        modality="image",
        embed_dim=network.embed_dim,
        input_size=(network.n_channels, network.n_pixels, network.n_pixels),
        load=partial(load_image, name),
        unavailable=partial(missing, files, ("torch", "timm", "safetensors")),
        weights_digest=partial(digest, files[0]),
        source_fingerprint=partial(load_fingerprint, name),
        license="Apache-2.0",
        has_source_probs=True,
        **facts,
    )


def _text(name: str, load: Any, **facts: Any) -> autotl.BackboneSpec:
    files = tuple(
        f"{name}/{file}"
        for file in ("model.safetensors", "tokenizer.json", "fingerprint.safetensors")
    )
    return autotl.BackboneSpec(
        name=f"embedded/{name}",
        modality="text",
        load=load,
        unavailable=partial(missing, files, ("torch", "safetensors", "tokenizers")),
        weights_digest=partial(digest, files[0]),
        source_fingerprint=partial(load_fingerprint, name),
        license="Apache-2.0",
        **facts,
    )


SHELF = (
    _image(
        "natural-base",
        summary="Residual network for photographs of things, taught by an ImageNet network.",
        aliases=("embedded/natural",),
        n_params=1_254_560,
        source_domain="tiny-imagenet",
        source_terms=_TINY_IMAGENET,
        tags=("small", "supervised", "distilled"),
    ),
    _image(
        "natural-small",
        summary="Smaller residual network for photographs of things, for slow machines.",
        n_params=424_824,
        source_domain="tiny-imagenet",
        source_terms=_TINY_IMAGENET,
        tags=("small", "supervised", "distilled"),
    ),
    _image(
        "glyphs",
        summary="Residual network for characters, symbols and handwriting.",
        n_params=1_203_856,
        source_domain="rendered-glyphs",
        source_terms="trained on characters rendered from freely licensed fonts",
        permissive=True,
        tags=("small", "supervised", "grey"),
    ),
    _image(
        "shapes",
        summary="Residual network for textures and outlines, trained without any photograph.",
        n_params=791_984,
        source_domain="formula-pictures",
        source_terms="trained on pictures drawn by formulas",
        permissive=True,
        tags=("small", "formula-driven"),
    ),
    _text(
        "sentences",
        load_sentences,
        summary="Transformer encoder of two layers, distilled from all-MiniLM-L6-v2.",
        embed_dim=384,
        n_params=9_147_392,
        source_domain="english-sentences",
        source_terms=_MINILM,
        tags=("small", "distilled", "sentence-encoder"),
    ),
    _text(
        "words",
        partial(load_table, "words"),
        summary="One vector per English token, averaged; distilled from all-MiniLM-L6-v2.",
        embed_dim=256,
        n_params=20_000 * 256,
        source_domain="english-text",
        source_terms=_MINILM,
        tags=("small", "distilled", "static"),
    ),
    _text(
        "cooccurrence",
        partial(load_table, "cooccurrence"),
        summary="One vector per English token, averaged; from counts of neighbouring words.",
        embed_dim=160,
        n_params=16_000 * 160,
        source_domain="public-domain-books",
        source_terms="counted in public-domain English",
        permissive=True,
        tags=("small", "static"),
    ),
)
"""Every embedded backbone, those for the most common data first."""
