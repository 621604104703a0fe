"""Cut texts into the numbered word pieces that the embedded text backbones read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch  # noqa: TID253  # imported by `load` only
from torch import Tensor  # noqa: TID253  # imported by `load` only

__all__ = ["Tokens"]


class Tokens:
    """Turn texts into padded token numbers with a mask.

    Args:
        folder: Holds `tokenizer.json`, which also says what stands around every text.
        max_tokens: Where a text is cut, what stands around it included.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def rows(self, samples: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of each text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(samples))]

    def __call__(self, samples: Sequence[str]) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask`, of shape (n_samples, n_tokens)."""
        return padded(self.rows(samples))


def padded(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Fill rows of token numbers up with zeros and mask these."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    mask = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
