"""Names of text encoders: a static catalogue, hub names and folders."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import autotl
from autotl.errors import InvalidDataError
from autotl_text import hub, layout

__all__ = ["ALL_LAYERS", "catalogue", "resolve_folder", "resolve_hub"]

HUB, FOLDER = "text/", "text:"
ALL_LAYERS = "@layers"
"""Suffix of a name that asks for the average over all layers."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_PACKAGES = ("transformers", "tokenizers")
_UNKNOWN_BYTES = 1  # something will be downloaded; only the hub knows how much


@functools.cache
def _rows() -> dict[str, dict[str, Any]]:
    file = Path(__file__).resolve().parent / "catalogue.json"
    return {row["hub_id"]: row for row in json.loads(file.read_text(encoding="utf-8"))}


def catalogue() -> Iterator[autotl.BackboneSpec]:
    """Describe good sentence encoders that small machines can run."""
    for hub_id in _rows():
        yield _hub_spec(hub_id, all_layers=False)


def resolve_hub(name: str) -> autotl.BackboneSpec | None:
    """Describe `text/<hub name>[@layers]`; whether the hub has it shows on downloading."""
    hub_id = name.removeprefix(HUB).removesuffix(ALL_LAYERS)
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id:
        return None
    return _hub_spec(hub_id, all_layers=name.endswith(ALL_LAYERS))


def resolve_folder(name: str) -> autotl.BackboneSpec | None:
    """Describe `text:<folder>[@layers]`.

    Characters that a registered name cannot have are written as `+` and two hexadecimal digits;
    both spellings are understood.

    Raises:
        InvalidDataError: There is no such folder.
    """
    given = name.removeprefix(FOLDER).removesuffix(ALL_LAYERS)
    spellings = (p for p in (given, _unescaped(given)) if p and Path(p).expanduser().is_dir())
    path = next(spellings, None)
    if path is None:
        raise InvalidDataError(
            f"{given!r} is no folder; expected one that transformers or sentence-transformers "
            "saved. Correct the part of the name after 'text:'."
        )
    folder = Path(path).expanduser()
    return _spec(
        FOLDER + _escaped(path),
        lambda: folder,
        all_layers=name.endswith(ALL_LAYERS),
        summary=f"Text encoder in {folder}.",
    )


def _escaped(path: str) -> str:
    """Write a path with the characters of a registered name."""
    return quote(path, safe="/:@.-_").replace("~", "%7E").replace("%", "+")


def _unescaped(path: str) -> str:
    return unquote(path.replace("+", "%"))


def _hub_spec(hub_id: str, *, all_layers: bool) -> autotl.BackboneSpec:
    row = _rows().get(hub_id, {})
    kept = ("n_params", "license", "source_domain", "source_terms")
    facts = {key: row[key] for key in kept if key in row}
    return _spec(
        HUB + hub_id,
        lambda: hub.cached_snapshot(hub_id),
        fetch=lambda: hub.fetch_snapshot(hub_id),
        all_layers=all_layers,
        prompt=row.get("prompt", ""),
        embed_dim=row.get("embed_dim"),
        summary=f"Text encoder {hub_id} of the hub.",
        reference=f"https://huggingface.co/{hub_id}",
        # Without the packages no download helps.
        download_bytes=0 if _lacking() else row.get("download_bytes", _UNKNOWN_BYTES),
        tags=tuple(row.get("tags", ())),
        **facts,
    )


def _spec(
    name: str,
    find: Callable[[], Path | None],
    *,
    all_layers: bool,
    fetch: Callable[[], Path] | None = None,
    prompt: str = "",
    **facts: Any,
) -> autotl.BackboneSpec:
    """Describe the encoder in the folder that `find` returns, or `fetch` downloads."""

    def load(device: str) -> autotl.LoadedBackbone:
        from autotl_text.encoders import load_encoder

        folder = find() or (fetch() if fetch else None)
        return load_encoder(name, folder, device, all_layers=all_layers, prompt=prompt)

    folder = find()
    if folder is not None:
        found = layout.facts(folder)
        facts = {**{k: v for k, v in found.items() if v is not None}, **facts}
        facts["embed_dim"] = facts.get("embed_dim") or found.get("embed_dim")
    return autotl.BackboneSpec(
        name=name + (ALL_LAYERS if all_layers else ""),
        modality="text",
        load=load,
        unavailable=lambda: _unavailable(find()),
        weights_digest=lambda: layout.digest(find()),
        **{"embed_dim": None, **facts},
    )


@functools.cache
def _lacking() -> str | None:
    """Return the name of a package that is needed and not installed."""
    return next((package for package in _PACKAGES if find_spec(package) is None), None)


def _unavailable(folder: Path | None) -> str | None:
    package = _lacking()
    if package:
        return f"the package {package} is not installed; run: pip install {package}"
    if folder is None:
        return f"its weights are not in the hub's cache {str(hub.cache_folder())!r}"
    found = layout.read(folder)
    return found if isinstance(found, str) else None
