"""Turn text encoders into modules from token numbers to one vector a text."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch  # noqa: TID253  # imported on loading only
from torch import Tensor, nn  # noqa: TID253  # imported on loading only

import autotl
from autotl.errors import BackboneUnavailableError
from autotl_text.cuts import Groups, encoder_cuts, read_by_all
from autotl_text.layout import Layout, read

__all__ = ["StaticMean", "TextTransformer", "load_encoder"]

_MAX_TOKENS = 128  # what short texts need; attention grows with the square
_MAX_TOKENS_STATIC = 512

Batch = dict[str, Tensor]


class TextTransformer(nn.Module):
    """Pool a transformer's token vectors into one vector a text.

    Args:
        network: A transformers encoder or decoder-only model without its task layers.
        pooling: "mean", "cls", "max", or "layers" for the mean over tokens and all layers; None
            to leave them as they are.
        normalize: Scale embeddings to length 1.
    """

    def __init__(
        self, network: nn.Module, pooling: str | None = "mean", *, normalize: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.pooling = pooling
        self.normalize = normalize

    def forward(self, batch: Batch) -> Tensor | Batch:
        """Return embeddings of shape (n_samples, embed_dim), float32.

        Without pooling, return a dict like the one that is read, with `hidden`.

        Args:
            batch: `attention_mask`, of shape (n_samples, n_tokens), and either `input_ids` of
                that shape or, for a part of the network, `hidden` states of shape
                (n_samples, n_tokens, width).
        """
        mask = batch["attention_mask"]
        tokens = (
            {"inputs_embeds": batch["hidden"]}
            if "hidden" in batch
            else {"input_ids": batch["input_ids"]}
        )
        every = self.pooling == "layers"
        output = self.network(**tokens, attention_mask=mask, output_hidden_states=every)
        hidden = torch.stack(output.hidden_states).mean(dim=0) if every else output[0]
        if self.pooling is None:
            return {"hidden": hidden, "attention_mask": mask}
        pooled = _pool(hidden, mask, self.pooling)
        return nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


def _pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    kept = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "max":
        return hidden.masked_fill(kept == 0, -torch.inf).amax(dim=1)
    return (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1.0)


class StaticMean(nn.Module):
    """Average one vector per token, the same whatever stands around it.

    Args:
        vectors: Shape (n_tokens, embed_dim).
        normalize: Scale embeddings to length 1.
    """

    def __init__(self, vectors: Tensor, *, normalize: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False)  # type: ignore[no-untyped-call]  # torch's
        self.normalize = normalize

    def forward(self, batch: Batch) -> Tensor:
        """Return embeddings of shape (n_samples, embed_dim); a text without tokens is zero."""
        pooled = _pool(self.embedding(batch["input_ids"]), batch["attention_mask"], "mean")
        return nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


class Tokens:
    """Turn texts into token numbers, padded on the right.

    Args:
        numbers: Maps texts to lists of token numbers, cut to the model's length.
        pad: Number that fills up.
        prompt: Put before every text.
    """

    def __init__(
        self, numbers: Callable[[list[str]], list[list[int]]], pad: int, prompt: str = ""
    ) -> None:
        self._numbers, self._pad, self._prompt = numbers, pad, prompt

    def __call__(self, samples: Sequence[str]) -> Batch:
        """Return `input_ids` and `attention_mask`, both of shape (n_samples, n_tokens)."""
        rows = self._numbers([self._prompt + sample for sample in samples])
        ids = torch.full((len(rows), max([1, *map(len, rows)])), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            # Attention over nothing is not a number, so that a padding token stands for no text.
            mask[index, : max(1, len(row))] = 1
        return {"input_ids": ids, "attention_mask": mask}


def load_encoder(
    name: str, folder: Path | None, device: str, *, all_layers: bool = False, prompt: str = ""
) -> autotl.LoadedBackbone:
    """Load the encoder in a folder.

    Args:
        name: What messages call it.
        folder: As `read` understands it.
        device: Where to put it.
        all_layers: Average over all layers instead of pooling as the folder says.
        prompt: Put before every text, in place of the folder's own.

    Raises:
        BackboneUnavailableError: The folder cannot be used.
    """
    found = "it is not on disk" if folder is None else read(folder)
    if isinstance(found, str):
        raise BackboneUnavailableError(
            f"The text encoder {name!r} cannot be used: {found}. Choose another backbone."
        )
    # Its threads do not survive a fork, which the tokenizer's library reports on stderr.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        if found.kind == "static":
            module, tokens, groups = _static(found, prompt)
        else:
            module, tokens, groups = _transformer(found, all_layers, prompt)
        module = module.to(device).eval()
        cuts = encoder_cuts(module, _layers(module), groups)
    except BackboneUnavailableError:
        raise
    except Exception as error:
        raise BackboneUnavailableError(
            f"The text encoder {name!r} in {str(folder)!r} cannot be loaded "
            f"({type(error).__name__}: {str(error).strip()[:300]}). Save it again with a present "
            "version of its library, or choose another backbone."
        ) from error
    return autotl.LoadedBackbone(module=module, preprocess=tokens, layer_groups=groups, cuts=cuts)


def _static(found: Layout, prompt: str) -> tuple[nn.Module, Tokens, Groups]:
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    tensors = load_file(found.folder / "model.safetensors")
    vectors = tensors[
        "embedding.weight" if "embedding.weight" in tensors else "embeddings"
    ].float()
    # Tables that were quantised keep one row for several tokens, and one scale a token.
    if "mapping" in tensors:
        vectors = vectors[tensors["mapping"].long()]
    if "weights" in tensors:
        vectors = vectors * tensors["weights"].float()[:, None]
    tokenizer = Tokenizer.from_file(str(found.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def numbers(texts: list[str]) -> list[list[int]]:
        encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
        return [e.ids[:_MAX_TOKENS_STATIC] for e in encoded]

    module = StaticMean(vectors.contiguous(), normalize=found.normalize)
    return module, Tokens(numbers, 0, prompt or found.prompt), (("embedding",),)


def _transformer(found: Layout, all_layers: bool, prompt: str) -> tuple[nn.Module, Tokens, Groups]:
    from transformers import AutoTokenizer

    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(
            found.folder, trust_remote_code=False, local_files_only=True
        )
        network = _network(found.folder)
    pad = tokenizer.pad_token_id
    if pad is None:  # such as GPT-2, which was trained without padding; the mask hides it
        pad = getattr(network.config, "pad_token_id", None) or 0
    longest = min(
        _MAX_TOKENS,
        found.max_length or _MAX_TOKENS,
        tokenizer.model_max_length,
        _position_limit(network),
    )

    def numbers(texts: list[str]) -> list[list[int]]:
        encoded = tokenizer(texts, truncation=True, max_length=longest, padding=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    pooling = "layers" if all_layers else found.pooling
    module = TextTransformer(network, pooling, normalize=found.normalize and not all_layers)
    return module, Tokens(numbers, pad, prompt or found.prompt), _layer_groups(module)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars and reports of what it loads."""
    from transformers.utils import logging as messages

    logging: Any = messages  # its functions have no types
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _network(folder: Path) -> Any:
    """Load the model without its task layers; of an encoder and decoder, the encoder.

    Raises:
        BackboneUnavailableError: The checkpoint lacks weights that would be drawn at random.
    """
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        model, report = AutoModel.from_pretrained(
            folder,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    absent = [key for key in report["missing_keys"] if "pooler" not in key]
    if absent or report["mismatched_keys"]:
        raise BackboneUnavailableError(
            f"The weights in {str(folder)!r} lack {sorted(absent)[:3]} or have other shapes than "
            "config.json says. Save the encoder again."
        )
    network = model.get_encoder() if model.config.is_encoder_decoder else model
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # a task layer, unused here, perhaps not even in the checkpoint
    network.config.use_cache = False
    return network


def _position_limit(network: Any) -> int:
    """Return how many tokens the table of positions covers."""
    limit = getattr(network.config, "max_position_embeddings", None) or _MAX_TOKENS
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # Models of RoBERTa's kind count from the row after the padding's.
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - skipped
    return int(limit)


def _layers(module: nn.Module) -> str:
    """Return the name of the list of layers, the longest one; "" when there is none."""
    lists = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.ModuleList)]
    depth = {n: len([c for c in m if any(True for _ in c.parameters())]) for n, m in lists}
    path = max(depth, key=lambda n: depth[n], default="")
    return path if depth.get(path) else ""


def _layer_groups(module: nn.Module) -> Groups:
    """Return the embeddings, then each layer; what comes after joins the last layer."""
    path = _layers(module)
    if not path:
        return (("network",),)
    layers = [
        f"{path}.{name}"
        for name, child in module.get_submodule(path).named_children()
        if any(True for _ in child.parameters())
    ]
    names = [name for name, _ in module.named_parameters()]
    inside = [i for i, name in enumerate(names) if name.startswith(path + ".")]
    after = names[inside[-1] + 1 :]
    # Tables that every layer reads, such as relative positions, belong to the input side.
    early = read_by_all(module, path, after)
    shared = [n for n in after if "embed" in n or n in early]
    after = [n for n in after if n not in shared]
    before = [n for n in names[: inside[-1]] if not n.startswith(path + ".")] + shared
    groups: list[tuple[str, ...]] = [(layer,) for layer in layers]
    groups[-1] = (layers[-1], *after)
    return ((tuple(before),) if before else ()) + tuple(groups)
