"""Cut a student out of the teacher: fewer tokens, fewer layers, fewer hidden units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from teacher import ascii_tokens, load_teacher, numbers_of
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.sentences import MAX_TOKENS, Encoder
from autotl_embedded.tokens import Tokens

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_RANK_OFFSET = 100


def vocabulary(folder: Path, texts: Sequence[str], n_tokens: int) -> list[str]:
    """Return the ASCII tokens worth keeping, all single characters among them.

    BERT's vocabulary is roughly sorted by frequency in newer texts; the score adds to the
    logarithm of that rank half that of the rank in our own texts.

    Args:
        folder: The teacher's.
        texts: Our own.
        n_tokens: How many to keep.
    """
    numbers = numbers_of(folder)
    counts = np.bincount(
        np.concatenate(Tokens(folder, MAX_TOKENS).rows(texts)), minlength=len(numbers)
    )
    single, longer = ascii_tokens(folder)
    seen = counts[[numbers[token] for token in longer]]
    rank = np.empty(len(longer))
    rank[np.argsort(-seen, kind="stable")] = np.arange(len(longer))
    score = np.log(np.arange(len(longer)) + _RANK_OFFSET) + 0.5 * np.log(rank + _RANK_OFFSET)
    room = n_tokens - len(_SPECIAL) - len(single)
    chosen = [longer[index] for index in np.argsort(score, kind="stable")[:room]]
    return [*_SPECIAL, *single, *chosen]


class Factors(nn.Module):
    """A table of token vectors kept as the product of two thinner matrices.

    Args:
        table: Shape (n_tokens, width), centred.
        n_factors: Columns of the first and rows of the second.
    """

    def __init__(self, table: Tensor, n_factors: int) -> None:
        super().__init__()
        _, directions = torch.linalg.eigh(table.T @ table)
        leading = directions[:, -n_factors:].flip(1)
        self.thin = nn.Embedding.from_pretrained(table @ leading, freeze=False)
        self.wide = nn.Linear(n_factors, table.shape[1], bias=False)
        self.wide.weight = nn.Parameter(leading.contiguous())

    def forward(self, ids: Tensor) -> Tensor:
        """Return vectors of shape (n_samples, n_tokens, width)."""
        vectors: Tensor = self.wide(self.thin(ids))
        return vectors


def student_of(
    folder: Path,
    tokens: list[str],
    texts: Sequence[str],
    *,
    layers: Sequence[int],
    n_hidden: int,
    n_factors: int,
) -> Encoder:
    """Return an encoder that starts from chosen parts of the teacher.

    Args:
        folder: The teacher's.
        tokens: Vocabulary of the student.
        texts: A few to tell which hidden units matter.
        layers: Numbers of the teacher's layers to keep, in order.
        n_hidden: Hidden units to keep in each.
        n_factors: Of the table of token vectors.
    """
    teacher = load_teacher(folder)
    keep_hidden_units(teacher, Tokens(folder, MAX_TOKENS)(texts), n_hidden)
    student = Encoder(len(tokens), teacher.embed_dim, len(layers), n_hidden)
    numbers = numbers_of(folder)
    table = teacher.words.weight.detach()[[numbers[token] for token in tokens]]
    # What all tokens share goes to the positions, so that the factors need not carry it.
    shared = table.mean(0)
    student.words = Factors(table - shared, n_factors)
    student.positions.weight.data = teacher.positions.weight.data[:MAX_TOKENS] + shared
    student.norm.load_state_dict(teacher.norm.state_dict())
    for own, index in zip(student.layers, layers, strict=True):
        own.load_state_dict(teacher.layers[index].state_dict())
    return student


def keep_hidden_units(encoder: Encoder, batch: dict[str, Tensor], n_hidden: int) -> None:
    """Drop the hidden units that add least to a layer, and add their mean to its bias."""
    inputs: dict[nn.Module, Tensor] = {}
    hooks = [
        layer.up.register_forward_hook(lambda up, _, out: inputs.update({up: out}))
        for layer in encoder.layers
    ]
    with torch.inference_mode():
        encoder(batch)
    for hook in hooks:
        hook.remove()
    seen = batch["attention_mask"].bool()
    with torch.no_grad():
        for layer in encoder.layers:
            active = functional.gelu(inputs[layer.up][seen])
            effect = active.var(0) * layer.down.weight.square().sum(0)
            kept, dropped = effect.argsort(descending=True).split(
                [n_hidden, len(effect) - n_hidden]
            )
            layer.down.bias += layer.down.weight[:, dropped] @ active[:, dropped].mean(0)
            layer.up.weight = nn.Parameter(layer.up.weight[kept].clone())
            layer.up.bias = nn.Parameter(layer.up.bias[kept].clone())
            layer.down.weight = nn.Parameter(layer.down.weight[:, kept].clone())
