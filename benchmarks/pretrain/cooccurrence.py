"""Count which tokens stand near one another and factorise that: `embedded/cooccurrence`.

Command: `python benchmarks/pretrain/cooccurrence.py --seed 0`

Nothing is distilled: only the corpus of public-domain English and the tokenizer's word list come
from elsewhere, so that the vectors may be used for anything.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from common import WEIGHTS, ZOO, update_manifest
from fingerprint import add_fingerprint
from teacher import prune_tokenizer, teacher_folder
from words import save

from autotl_embedded.tokens import Tokens

EMBED_DIM = 160
N_TOKENS = 16_000
WINDOW = 5
N_HELD_OUT = 4_000
# Exponent that makes rare contexts count less (Levy, Goldberg and Dagan, TACL 2015).
_SMOOTHING = 0.75
# Weight of a token of probability p: a / (a + p), as in smooth inverse frequency. Among 0.001,
# 0.01 and no weighting, and with and without unit length, the best on rows held out of the
# training splits of trec6, sst2, ag_news and clinc150.
_SIF = 1e-2


def lines(zoo: Path) -> list[str]:
    """Return the paragraphs of the corpus that have at least four words."""
    with gzip.open(zoo / "text" / "corpus" / "general_en.txt.gz", "rt", encoding="utf-8") as file:
        return [line for line in file.read().splitlines() if line.count(" ") >= 3]


def vocabulary(texts: list[str]) -> list[str]:
    """Return the tokens of the corpus by frequency, after what is needed to spell any word."""
    content = json.loads((teacher_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    names = {number: token for token, number in content["model"]["vocab"].items()}
    rows = Tokens(teacher_folder(), 512).rows(texts)
    seen = np.bincount(np.concatenate([np.asarray(row) for row in rows]), minlength=len(names))
    ascii_only = {t: None for t in names.values() if t.isascii() and not t.startswith("[")}
    single = [token for token in ascii_only if len(token.removeprefix("##")) == 1]
    kept = dict.fromkeys(["[PAD]", "[UNK]", "[", *single])
    for number in np.argsort(-seen, kind="stable"):
        if len(kept) == N_TOKENS:
            break
        if names[int(number)] in ascii_only:
            kept[names[int(number)]] = None
    return list(kept)


def count(rows: list[list[int]], n_tokens: int) -> Any:
    """Return how often each token stands near each other one, nearer ones counting more.

    Args:
        rows: Token numbers of each paragraph.
        n_tokens: Size of the vocabulary.
    """
    from scipy import sparse

    total = sparse.csr_array((n_tokens, n_tokens), dtype=np.float32)
    for at in range(0, len(rows), 10_000):
        part = rows[at : at + 10_000]
        ids = np.concatenate([np.asarray(row, dtype=np.int32) for row in part])
        line = np.repeat(np.arange(len(part)), [len(row) for row in part])
        for distance in range(1, WINDOW + 1):
            same = line[distance:] == line[:-distance]
            left, right = ids[:-distance][same], ids[distance:][same]
            weight = np.full(len(left), 1.0 / distance, np.float32)
            pairs = sparse.coo_array((weight, (left, right)), shape=total.shape)
            total = total + pairs.tocsr()
    return total + total.T


def factorise(counts: Any, seed: int) -> np.ndarray:
    """Return vectors of shape (n_tokens, embed_dim) from the positive mutual information."""
    from sklearn.utils.extmath import randomized_svd

    table = counts.tocoo()
    own = np.asarray(counts.sum(1)).ravel() + 1e-9
    context = own**_SMOOTHING
    row, column = table.coords
    information = np.log(table.data * context.sum() / (own[row] * context[column]))
    table.data = information.clip(0.0).astype(np.float32)
    vectors: np.ndarray = randomized_svd(table.tocsr(), EMBED_DIM, n_iter=4, random_state=seed)[0]
    return vectors


def main() -> None:
    """Count, factorise and write the weights."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    folder = arguments.out / "cooccurrence"
    texts = lines(arguments.zoo)
    tokens = vocabulary(texts)
    prune_tokenizer(teacher_folder(), folder, tokens)
    order = np.random.default_rng(arguments.seed).permutation(len(texts))
    held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
    rows = [row for row in Tokens(folder, 512).rows([texts[i] for i in rest]) if row]
    print(f"{len(rows)} paragraphs, {sum(map(len, rows))} tokens", flush=True)
    counts = count(rows, len(tokens))
    print(f"{counts.nnz} pairs of tokens", flush=True)
    vectors = factorise(counts, arguments.seed)
    seen = np.bincount(np.concatenate(rows), minlength=len(tokens)) + 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    vectors *= (_SIF / (_SIF + seen / seen.sum()))[:, None]
    vectors[: tokens.index("[UNK]") + 1] = 0.0
    print(f"{save(torch.from_numpy(vectors).float(), folder)} bytes", flush=True)
    update_manifest(arguments.out)
    add_fingerprint(arguments.out, "cooccurrence", [texts[i] for i in held_out])


if __name__ == "__main__":
    main()
