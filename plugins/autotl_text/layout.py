"""What a folder of a text encoder holds, told by its JSON files alone."""

import functools
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotl.errors import BackboneUnavailableError

__all__ = ["Layout", "digest", "facts", "read"]

_DIMENSIONS = ("hidden_size", "d_model", "n_embd", "dim")
_UNUSED = ("pooler.", "decoder.", "lm_head.", "cls.", "position_ids")  # in files, not used here
_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How to turn a folder into an encoder.

    Args:
        kind: A transformer, or a table of token vectors.
        folder: Holds the weights and the tokenizer.
        pooling: How token vectors become one.
        normalize: Whether embeddings are scaled to length 1.
        max_length: Most tokens of a text, where the folder says so.
        prompt: What the folder wants put before every text.
    """

    kind: Literal["transformer", "static"]
    folder: Path
    pooling: str = "mean"
    normalize: bool = False
    max_length: int | None = None
    prompt: str = ""


def read(folder: Path) -> Layout | str:
    """Return the layout of a folder, or the reason why it cannot be used."""
    try:
        if (folder / "modules.json").is_file():
            found = _sentence_transformer(folder)
        elif (folder / "config.json").is_file():
            found = Layout(kind="transformer", folder=folder)
        else:
            return "the folder has neither modules.json nor config.json; save the encoder there"
        if isinstance(found, str):
            return found
        return _missing(found) or found
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        return f"the folder's JSON files cannot be read ({error!r})"


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _sentence_transformer(folder: Path) -> Layout | str:
    modules = [(str(m["type"]), Path(str(m["path"]))) for m in _json(folder / "modules.json")]
    for kind, path in modules:
        if not kind.startswith("sentence_transformers."):
            return f"its module {kind!r} is code of its own, which is never run"
        if path.is_absolute() or ".." in path.parts:
            return f"its module path {str(path)!r} leaves the folder"
    names = [kind.rpartition(".")[2] for kind, _ in modules]
    normalize = names[-1:] == ["Normalize"]
    body = names[:-1] if normalize else names
    inner = folder / modules[0][1] if modules else folder
    if body == ["StaticEmbedding"]:
        return Layout(kind="static", folder=inner, normalize=normalize)
    if body != ["Transformer", "Pooling"]:
        return (
            f"its modules are {', '.join(names)}; expected Transformer and Pooling, or Static"
            + ("Embedding")
        )
    pooling = _pooling(_json(folder / modules[1][1] / "config.json"))
    if pooling not in _POOLING.values():
        return f"its pooling is {pooling!r}; expected one of {', '.join(_POOLING.values())}"
    settings = _json(folder / "config_sentence_transformers.json")
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    return Layout(
        kind="transformer",
        folder=inner,
        pooling=pooling,
        normalize=normalize,
        max_length=_json(inner / "sentence_bert_config.json").get("max_seq_length"),
        prompt=prompts.get(default, "") if default else "",
    )


def _pooling(config: dict[str, Any]) -> str:
    """Return the pooling by its present or its older spelling."""
    if "pooling_mode" in config:
        return str(config["pooling_mode"])
    flags = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    return " + ".join(_POOLING.get(key, key) for key in flags) or "mean"


def _missing(found: Layout) -> str | None:
    files = _weights(found.folder)
    if not files and any(found.folder.glob("*.bin")):
        return "it has only pickled weights, which are never loaded; save it as safetensors"
    if not files:
        return f"{str(found.folder)!r} has no safetensors file"
    if found.kind == "static" and not (found.folder / "tokenizer.json").is_file():
        return f"{str(found.folder)!r} has no tokenizer.json"
    if _json(found.folder / "config.json").get("auto_map"):
        return "its config.json names code of its own, which is never run"
    return None


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors"))


def facts(folder: Path) -> dict[str, Any]:
    """Return `embed_dim` and `n_params` as far as headers and JSON tell."""
    found = read(folder)
    if isinstance(found, str):
        return {}
    shapes = _shapes(found.folder)
    config = _json(found.folder / "config.json")
    width = next((config[key] for key in _DIMENSIONS if isinstance(config.get(key), int)), None)
    if found.kind == "static":
        width = next((s[1] for s in shapes.values() if len(s) == 2), None)
    used = [s for name, s in shapes.items() if not any(part in name for part in _UNUSED)]
    return {"embed_dim": width, "n_params": sum(map(math.prod, used)) or None}


def _shapes(folder: Path) -> dict[str, list[int]]:
    from safetensors import SafetensorError, safe_open

    shapes = {}
    for file in _weights(folder):
        try:
            with safe_open(file, "np") as tensors:
                for name in tensors.keys():  # noqa: SIM118  # not a mapping
                    shapes[name] = tensors.get_slice(name).get_shape()
        except (SafetensorError, OSError):
            return {}
    return shapes


def digest(folder: Path | None) -> str:
    """Return a SHA-256 over weights, tokenizer and settings of a folder.

    Raises:
        BackboneUnavailableError: The folder cannot be used.
    """
    found = "it is not on disk" if folder is None else read(folder)
    if isinstance(found, str):
        raise BackboneUnavailableError(
            f"The encoder in {str(folder)!r} has no digest: {found}. Choose another one."
        )
    files = [*_weights(found.folder), found.folder / "tokenizer.json"]
    stamps = tuple((f, f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
    return _hashed(stamps, f"{found.pooling} {found.normalize} {found.max_length} {found.prompt}")


@functools.lru_cache(maxsize=64)
def _hashed(stamps: tuple[tuple[Path, int, int], ...], settings: str) -> str:
    total = hashlib.sha256(settings.encode())
    for file, _, _ in stamps:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
