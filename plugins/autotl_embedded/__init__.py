"""Three small backbones that ship with their weights: glyphs, natural images, words."""

from collections.abc import Iterator
from functools import partial

import autotl
from autotl_embedded.loading import digest, load_glyphs, load_natural, load_words, missing

__all__ = ["autotl_backbones"]

_WORDS = ("words/model.safetensors", "words/tokenizer.json")


@autotl.hookimpl
def autotl_backbones() -> Iterator[autotl.BackboneSpec]:
    """Describe the three backbones without loading them."""
    yield autotl.BackboneSpec(
        name="embedded/glyphs",
        summary="Small residual network for characters, symbols and line drawings.",
        modality="image",
        embed_dim=192,
        load=load_glyphs,
        unavailable=partial(missing, ("glyphs.safetensors",), ("torch", "safetensors")),
        weights_digest=partial(digest, "glyphs.safetensors"),
        n_params=850_368,
        source_domain="rendered-glyphs",
        license="Apache-2.0",
        source_terms="trained on characters rendered from freely licensed fonts",
        input_size=(1, 32, 32),
        has_source_probs=True,
        tags=("small", "grey"),
    )
    yield autotl.BackboneSpec(
        name="embedded/natural",
        summary="Small residual network for photographs of things, at 64 pixels.",
        modality="image",
        embed_dim=240,
        load=load_natural,
        unavailable=partial(missing, ("natural.safetensors",), ("torch", "safetensors")),
        weights_digest=partial(digest, "natural.safetensors"),
        n_params=1_135_936,
        source_domain="tiny-imagenet",
        published_accuracy=0.327,
        license="Apache-2.0",
        source_terms="trained on Tiny ImageNet: research and non-commercial",
        input_size=(3, 64, 64),
        has_source_probs=True,
        tags=("small",),
    )
    yield autotl.BackboneSpec(
        name="embedded/words",
        summary="One vector per English token, averaged; distilled from all-MiniLM-L6-v2.",
        modality="text",
        embed_dim=256,
        load=load_words,
        unavailable=partial(missing, _WORDS, ("torch", "safetensors", "tokenizers")),
        weights_digest=partial(digest, "words/model.safetensors"),
        n_params=20_000 * 256,
        source_domain="english-text",
        license="Apache-2.0",
        source_terms="distilled from all-MiniLM-L6-v2 (Apache-2.0) on public-domain English",
        tags=("small", "static"),
    )
