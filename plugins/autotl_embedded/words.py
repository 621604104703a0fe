"""The text backbone: the mean of one vector per token."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn  # noqa: TID253  # imported by `load` only

__all__ = ["MAX_TOKENS", "TokenMean"]

MAX_TOKENS = 512


class TokenMean(nn.Module):
    """Average the vectors of the tokens of each text.

    The folder that holds the weights is also one of sentence-transformers'
    `StaticEmbedding`: rows of int8 with one scale per token.

    Args:
        vectors: Shape (n_tokens, embed_dim).
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vectors.shape[0], vectors.shape[1], _weight=vectors)
        self.embed_dim = vectors.shape[1]

    @classmethod
    def from_folder(cls, folder: Path) -> TokenMean:
        """Read `model.safetensors`."""
        from safetensors.torch import load_file

        tensors = load_file(folder / "model.safetensors")
        return cls(tensors["embeddings"].float() * tensors["weights"].float()[:, None])

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return embeddings of shape (n_samples, embed_dim); a text without tokens is zero.

        Args:
            batch: `input_ids` and `attention_mask`, both of shape (n_samples, n_tokens).
        """
        mask = batch["attention_mask"].unsqueeze(-1).to(self.embedding.weight.dtype)
        total: Tensor = (self.embedding(batch["input_ids"]) * mask).sum(1)
        return total / mask.sum(1).clamp_min(1.0)
