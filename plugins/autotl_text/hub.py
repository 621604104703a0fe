"""Find encoders in the Hugging Face hub's cache, and fetch them when that is asked for."""

import contextlib
import os
from pathlib import Path

from autotl.errors import BackboneUnavailableError

__all__ = ["cache_folder", "cached_snapshot", "fetch_snapshot"]

_TIMEOUT_SECONDS = 5.0
# Descriptions, tokenizers and safetensors; neither pickles nor exports to other runtimes.
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "*training*", "eval/*"]


def cache_folder() -> Path:
    """Return where the hub's client keeps downloads; the variables are the client's own."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"
    )
    return Path(cache).expanduser() if cache else Path(home).expanduser() / "hub"


def cached_snapshot(hub_id: str) -> Path | None:
    """Return the cached folder of a repository; reads the disk only."""
    repository = cache_folder() / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    folder = repository / "snapshots" / revision
    return folder if any(folder.glob("**/*.safetensors")) else None


def fetch_snapshot(hub_id: str) -> Path:
    """Download the files of a repository that an encoder needs.

    Raises:
        BackboneUnavailableError: The hub cannot be reached within seconds or lacks it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        # One question without the client's retries tells at once whether the hub answers; some
        # tables of token vectors have no such file, which is an answer too.
        with contextlib.suppress(EntryNotFoundError):
            get_hf_file_metadata(hf_hub_url(hub_id, "config.json"), timeout=_TIMEOUT_SECONDS)
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
                etag_timeout=_TIMEOUT_SECONDS,
            )
        )
    except Exception as error:
        raise BackboneUnavailableError(
            f"The encoder {hub_id!r} cannot be downloaded ({type(error).__name__}: "
            f"{str(error).strip()[:200]}). Check its name, the connection or HF_ENDPOINT, or give "
            "a folder on disk as text:<folder>."
        ) from error
