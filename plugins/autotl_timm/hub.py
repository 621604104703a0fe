"""Find weights in the Hugging Face hub's cache, and fetch them when that is asked for."""

import os
from pathlib import Path

from autotl.errors import BackboneUnavailableError

__all__ = ["cache_folder", "cached_weights", "digest", "fetch_weights"]

_TIMEOUT_SECONDS = 5.0
# What timm's models are called on the hub, without pickles.
_FILES = ("model.safetensors", "open_clip_model.safetensors")


def cache_folder() -> Path:
    """Return where the hub's client keeps downloads; the variables are the client's own."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    home = os.environ.get("HF_HOME")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    return Path(home).expanduser() / "hub"


def cached_weights(hub_id: str) -> Path | None:
    """Return the cached safetensors file of a repository; reads the disk only."""
    repository = cache_folder() / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    files = (repository / "snapshots" / revision / name for name in _FILES)
    return next((file for file in files if file.is_file()), None)


def digest(hub_id: str) -> str:
    """Return what tells these weights from others.

    A blob of the hub's cache is called by the hash of its content.
    """
    file = cached_weights(hub_id)
    return f"{hub_id}@{file.resolve().name if file else 'not-downloaded'}"


def fetch_weights(hub_id: str) -> Path:
    """Return the safetensors file of a repository, downloaded unless it is cached.

    Raises:
        BackboneUnavailableError: The hub cannot be reached within seconds, or has only pickles.
    """
    file = cached_weights(hub_id)
    return file if file is not None else _download(hub_id)


def _download(hub_id: str) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for name in _FILES:
        try:
            # One question without the client's retries tells at once whether the hub answers.
            get_hf_file_metadata(hf_hub_url(hub_id, name), timeout=_TIMEOUT_SECONDS)
            return Path(hf_hub_download(hub_id, name, etag_timeout=_TIMEOUT_SECONDS))
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise BackboneUnavailableError(
                f"The weights {hub_id!r} cannot be downloaded ({type(error).__name__}: "
                f"{str(error).strip()[:200]}). Check the connection or HF_ENDPOINT, copy "
                f"them into {str(cache_folder())!r}, or use weights on disk with --weights."
            ) from error
    raise BackboneUnavailableError(
        f"The repository {hub_id!r} has none of {', '.join(_FILES)}; pickled weights are never "
        "loaded. Choose another backbone."
    )
