"""Write the catalogue of `plugins/autotl_text`, without any download.

    python benchmarks/catalogues/text_catalogue.py

Each encoder's architecture is written down here and built without memory, which counts its
parameters; licence, prompt, pooling, length and the data behind it are those of its model card.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

CATALOGUE = Path(__file__).resolve().parents[2] / "plugins" / "autotl_text" / "catalogue.json"

RESEARCH = "some of them for research only"
MARCO = "MS MARCO: research, non-commercial"
TERMS = {
    "english-sentence-pairs": f"a billion pairs from public corpora, {RESEARCH}",
    "english-paraphrases": f"paraphrase pairs from public corpora, {RESEARCH}",
    "multilingual-paraphrases": (
        f"paraphrase pairs and translations from public corpora, {RESEARCH}"
    ),
    "english-e5-pairs": f"pairs from the web; {MARCO}",
    "multilingual-e5-pairs": f"pairs in a hundred languages from the web; {MARCO}",
    "english-bge-pairs": f"pairs from the web; {MARCO}",
    "english-gte-pairs": f"pairs from the web and public corpora, not published; {MARCO}",
    "english-arctic-pairs": "public corpora and its maker's web search data, not published",
    "english-mxbai-pairs": "not published; tuned from all-MiniLM-L6-v2, whose terms apply too",
    "english-question-answers": f"question-answer pairs from public corpora; {MARCO}",
    "english-c4": "C4: web pages under their owners' terms; distilled from bge-base-en-v1.5",
}
"""Source domain to the terms of its data, in plain words."""


@dataclass(frozen=True)
class Static:
    """A table of token vectors."""

    vocab_size: int
    embed_dim: int


def bert(width: int, layers: int, **other: int) -> dict[str, Any]:
    """Describe a BERT of that width and depth; without more, of the English vocabulary."""
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 12}
    return {"model_type": "bert", **sizes, "intermediate_size": 4 * width, **other}


MULTILINGUAL = 250037  # tokens of XLM-R's vocabulary as MiniLM uses it
MPNET = {"model_type": "mpnet", "vocab_size": 30527, "max_position_embeddings": 514}
XLM_R = {
    "model_type": "xlm-roberta",
    "vocab_size": 250002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}


@dataclass(frozen=True)
class Encoder:
    """One row of the catalogue.

    Args:
        hub_id: Its repository on the hub.
        network: What the repository's `config.json` says of its shape.
        license: SPDX identifier.
        domain: What it learnt from; a key of `TERMS`.
        max_tokens: Longest text that it was made for; None where there is no limit.
        pooling: How token vectors become one, as its folder says.
        prompt: Put before every text.
        value_bytes: Bytes of one stored value.
        tags: Besides its size.
    """

    hub_id: str
    network: Mapping[str, Any] | Static
    license: str
    domain: str
    max_tokens: int | None
    pooling: str = "mean"
    prompt: str = ""
    value_bytes: int = 4
    tags: tuple[str, ...] = field(default=())


APACHE, MIT = "Apache-2.0", "MIT"
ST = "sentence-transformers"
CHOSEN = [
    Encoder(f"{ST}/all-MiniLM-L6-v2", bert(384, 6), APACHE, "english-sentence-pairs", 256),
    Encoder(f"{ST}/all-MiniLM-L12-v2", bert(384, 12), APACHE, "english-sentence-pairs", 128),
    Encoder(f"{ST}/all-mpnet-base-v2", MPNET, APACHE, "english-sentence-pairs", 384),
    Encoder(f"{ST}/paraphrase-MiniLM-L3-v2", bert(384, 3), APACHE, "english-paraphrases", 128),
    Encoder(
        f"{ST}/paraphrase-multilingual-MiniLM-L12-v2",
        bert(384, 12, vocab_size=MULTILINGUAL),
        APACHE,
        "multilingual-paraphrases",
        128,
        tags=("multilingual",),
    ),
    Encoder("intfloat/e5-small-v2", bert(384, 12), MIT, "english-e5-pairs", 512, prompt="query: "),
    Encoder("intfloat/e5-base-v2", bert(768, 12), MIT, "english-e5-pairs", 512, prompt="query: "),
    Encoder(
        "intfloat/multilingual-e5-small",
        bert(384, 12, vocab_size=MULTILINGUAL),
        MIT,
        "multilingual-e5-pairs",
        512,
        prompt="query: ",
        tags=("multilingual",),
    ),
    Encoder(
        "intfloat/multilingual-e5-base",
        XLM_R,
        MIT,
        "multilingual-e5-pairs",
        512,
        prompt="query: ",
        tags=("multilingual",),
    ),
    Encoder("BAAI/bge-small-en-v1.5", bert(384, 12), MIT, "english-bge-pairs", 512, "cls"),
    Encoder("BAAI/bge-base-en-v1.5", bert(768, 12), MIT, "english-bge-pairs", 512, "cls"),
    Encoder("thenlper/gte-small", bert(384, 12), MIT, "english-gte-pairs", 512, value_bytes=2),
    Encoder(
        "Snowflake/snowflake-arctic-embed-xs",
        bert(384, 6),
        APACHE,
        "english-arctic-pairs",
        512,
        "cls",
    ),
    Encoder(
        "Snowflake/snowflake-arctic-embed-s",
        bert(384, 12),
        APACHE,
        "english-arctic-pairs",
        512,
        "cls",
    ),
    Encoder(
        "mixedbread-ai/mxbai-embed-xsmall-v1",
        bert(384, 6, max_position_embeddings=4096),
        APACHE,
        "english-mxbai-pairs",
        4096,
        value_bytes=2,
    ),
    Encoder(
        f"{ST}/static-retrieval-mrl-en-v1",
        Static(30522, 1024),
        APACHE,
        "english-question-answers",
        None,
        tags=("static",),
    ),
    Encoder(
        "minishlab/potion-base-8M",
        Static(29528, 256),
        MIT,
        "english-c4",
        None,
        tags=("distilled", "static"),
    ),
]
# Largest number of parameters of each size, as in timm's catalogue.
SIZES = {"tiny": 7e6, "small": 36e6, "base": float("inf")}


def counts(network: Mapping[str, Any] | Static) -> tuple[int, int, int]:
    """Return the parameters in use, those in the file, and the length of an embedding."""
    if isinstance(network, Static):
        n_values = network.vocab_size * network.embed_dim
        return n_values, n_values, network.embed_dim
    with torch.device("meta"):
        net = AutoModel.from_config(AutoConfig.for_model(**network))
    used = (p.numel() for name, p in net.named_parameters() if not name.startswith("pooler."))
    return sum(used), sum(p.numel() for p in net.parameters()), net.config.hidden_size


def catalogue() -> list[dict[str, Any]]:
    rows = []
    for encoder in CHOSEN:
        n_params, n_stored, embed_dim = counts(encoder.network)
        size = next(size for size, largest in SIZES.items() if n_params <= largest)
        rows.append(
            {
                "hub_id": encoder.hub_id,
                "n_params": n_params,
                "embed_dim": embed_dim,
                "license": encoder.license,
                "source_domain": encoder.domain,
                "source_terms": TERMS[encoder.domain],
                # Weights alone: tokenizers add 1 MB, or 20 MB where they are multilingual.
                "download_bytes": n_stored * encoder.value_bytes,
                "max_tokens": encoder.max_tokens,
                "pooling": encoder.pooling,
                "prompt": encoder.prompt,
                "tags": ["sentence-encoder", size, *encoder.tags],
            }
        )
    return sorted(rows, key=lambda row: row["n_params"])


def main() -> None:
    rows = ",\n".join(json.dumps(row) for row in catalogue())
    CATALOGUE.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
