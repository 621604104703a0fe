"""The text backbone that reads words in their context: a small transformer encoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch  # noqa: TID253  # imported by `load` only
from torch import Tensor, nn  # noqa: TID253  # imported by `load` only
from torch.nn import functional  # noqa: TID253  # imported by `load` only

from autotl.specs import check_part
from autotl_embedded.quantised import dequantise

__all__ = ["MAX_TOKENS", "Encoder", "EncoderCuts", "from_folder"]

MAX_TOKENS = 128  # what short texts need; attention grows with the square

_EPSILON = 1e-12  # of BERT's layer norms


class Layer(nn.Module):
    """Add what the other tokens say, then what two dense layers make of it.

    Args:
        width: Length of a token's vector.
        n_heads: Attention heads, which share the width.
        n_hidden: Units between the two dense layers.
    """

    def __init__(self, width: int, n_heads: int, n_hidden: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.up = nn.Linear(width, n_hidden)
        self.down = nn.Linear(n_hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return token vectors of the shape of x, (n_samples, n_tokens, width).

        Args:
            x: Token vectors.
            mask: Which tokens may be looked at, of shape (n_samples, 1, 1, n_tokens), bool.
        """
        n_samples, n_tokens, width = x.shape
        parts = self.query_key_value(x).view(n_samples, n_tokens, 3, self.n_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.norm1(x + self.mix(seen.transpose(1, 2).reshape(n_samples, n_tokens, width)))
        out: Tensor = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return out


class Encoder(nn.Module):
    """Average a transformer's token vectors into one vector a text.

    The layers are those of BERT, so that its descendants' weights fit.

    Args:
        n_tokens: Size of the vocabulary.
        width: Length of a token's vector, and of an embedding.
        n_layers: Depth.
        n_hidden: Units between the two dense layers of each layer.
        n_heads: Attention heads.
        n_positions: Tokens in the longest text.
    """

    def __init__(
        self,
        n_tokens: int,
        width: int,
        n_layers: int,
        n_hidden: int,
        n_heads: int = 12,
        n_positions: int = MAX_TOKENS,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(n_tokens, width)
        self.positions = nn.Embedding(n_positions, width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.layers = nn.ModuleList(Layer(width, n_heads, n_hidden) for _ in range(n_layers))
        self.embed_dim = width
        self.layer_groups: tuple[tuple[str, ...], ...] = (
            ("words", "positions", "norm"),
            *((f"layers.{index}",) for index in range(n_layers)),
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return embeddings of shape (n_samples, embed_dim).

        Args:
            batch: `input_ids` and `attention_mask`, both of shape (n_samples, n_tokens).
        """
        return _mean(_through(self.layers, _enter(self, batch)))


def _enter(tables: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    ids = batch["input_ids"]
    hidden = tables.norm(tables.words(ids) + tables.positions.weight[: ids.shape[1]])
    return {"hidden": hidden, "attention_mask": batch["attention_mask"]}


def _through(layers: Iterable[nn.Module], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    hidden, mask = batch["hidden"], batch["attention_mask"]
    seen = mask.bool()[:, None, None, :]
    for layer in layers:
        hidden = layer(hidden, seen)
    return {"hidden": hidden, "attention_mask": mask}


def _mean(batch: dict[str, Tensor]) -> Tensor:
    kept = batch["attention_mask"].bool().unsqueeze(-1).to(batch["hidden"].dtype)
    total: Tensor = (batch["hidden"] * kept).sum(dim=1)
    return total / kept.sum(dim=1).clamp_min(1.0)


class EncoderPart(nn.Module):
    """Run an encoder from one cut to another.

    Args:
        encoder: Its parameters are shared, under the same names.
        start: Depth of the cut before, in layer groups, of which the first is the tables.
        stop: Depth of the cut after.
    """

    def __init__(self, encoder: Encoder, start: int, stop: int) -> None:
        super().__init__()
        n_layers = len(encoder.layers)
        self.enters, self.leaves = start == 0, stop > n_layers
        if self.enters:
            self.words, self.positions, self.norm = encoder.words, encoder.positions, encoder.norm
        kept = range(max(start - 1, 0), stop - 1)
        self.layers = nn.ModuleDict({str(i): encoder.layers[i] for i in kept})

    def forward(self, batch: dict[str, Tensor]) -> Any:
        """Map `hidden` and `attention_mask`, or what the encoder reads, to such or embeddings."""
        batch = _through(self.layers.values(), _enter(self, batch) if self.enters else batch)
        return _mean(batch) if self.leaves else batch


class EncoderCuts:
    """Cuts between the layers of an encoder.

    Args:
        n_groups: Number of layer groups: the tables and the layers.
    """

    def __init__(self, n_groups: int) -> None:
        self.depths = tuple(range(n_groups + 1))

    def part(self, module: nn.Module, start: int, stop: int) -> nn.Module:
        """Return the layers between two cuts over the parameters of `module`.

        Raises:
            ValueError: There is no such cut.
        """
        check_part(self, start, stop)
        encoder: Any = module
        return nn.Identity() if start == stop else EncoderPart(encoder, start, stop)


def from_folder(folder: Path) -> Encoder:
    """Read `model.safetensors`, which holds the token vectors as the product of two matrices."""
    from safetensors.torch import load_file

    tensors = dequantise(load_file(folder / "model.safetensors"))
    tensors["words.weight"] = tensors.pop("words.thin.weight") @ tensors.pop("words.wide.weight").T
    n_tokens, width = tensors["words.weight"].shape
    n_hidden = len(tensors["layers.0.up.bias"])
    n_layers = len({name.split(".")[1] for name in tensors if name.startswith("layers.")})
    # Weights are not drawn at random only to be overwritten.
    with torch.device("meta"):
        encoder = Encoder(n_tokens, width, n_layers, n_hidden)
    encoder.load_state_dict(tensors, assign=True)
    return encoder.requires_grad_(True)
