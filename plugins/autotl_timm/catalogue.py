"""Names and facts of timm's models, read from tables that ship with the plugin.

`benchmarks/catalogues/timm_catalogue.py` writes the tables from an installed timm.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import autotl
from autotl_timm import hub

__all__ = ["PREFIX", "Architectures", "catalogue", "resolve"]

PREFIX = "timm/"

_TABLES = Path(__file__).resolve().parent
_REFERENCE = "https://huggingface.co/"
_BYTES_A_VALUE = 4
_FACTS = (
    "embed_dim",
    "n_params",
    "license",
    "source_domain",
    "source_terms",
    "published_accuracy",
    "has_source_probs",
)
_CLASSIFIER_ROWS = 1000  # of most models; only for the estimate of a download


@functools.cache
def _models() -> dict[str, Any]:
    """Return {architecture: {"tags": {tag: [licence, hub id if unusual]}, ...}}."""
    table: dict[str, Any] = json.loads((_TABLES / "models.json").read_text(encoding="utf-8"))
    return table


@functools.cache
def _rows() -> dict[str, dict[str, Any]]:
    rows = json.loads((_TABLES / "catalogue.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in rows}


def catalogue() -> Iterator[autotl.BackboneSpec]:
    """Describe good models of all sizes, sources and ways of pretraining."""
    return map(_listed, _rows().values())


def _listed(row: Mapping[str, Any]) -> autotl.BackboneSpec:
    return _spec(
        row["name"],
        row["hub_id"],
        kwargs=row["kwargs"],
        summary=f"timm's {row['name'].partition('.')[0]}, trained on {row['source_domain']}.",
        input_size=tuple(row["input_size"]),
        download_bytes=row["download_bytes"],
        tags=tuple(row["tags"]),
        **{key: row[key] for key in _FACTS},
    )


def resolve(name: str) -> autotl.BackboneSpec | None:
    """Describe `timm/<architecture>[.<tag>]`; without a tag it is timm's default one."""
    model = name.removeprefix(PREFIX)
    architecture, _, tag = model.partition(".")
    row = _models().get(architecture)
    if row is None or not row["tags"] or (tag and tag not in row["tags"]):
        return None
    tag = tag or next(iter(row["tags"]))
    full = f"{architecture}.{tag}"
    if full in _rows():
        return _listed(_rows()[full])
    license_id, *hub_id = row["tags"][tag]
    values = row["n_params"] + _CLASSIFIER_ROWS * (row["embed_dim"] + 1)
    return _spec(
        full,
        hub_id[0] if hub_id else f"timm/{full}",
        kwargs={},
        summary=f"timm's {architecture}.",
        embed_dim=None,
        n_params=row["n_params"],
        license=license_id,
        download_bytes=_BYTES_A_VALUE * values,
    )


def _spec(
    model: str, hub_id: str, *, kwargs: Mapping[str, Any], download_bytes: int, **facts: Any
) -> autotl.BackboneSpec:
    def load(device: str) -> autotl.LoadedBackbone:
        from autotl_timm.networks import load_pretrained

        return load_pretrained(model, hub_id, kwargs, device)

    return autotl.BackboneSpec(
        name=PREFIX + model,
        modality="image",
        reference=_REFERENCE + hub_id,
        load=load,
        unavailable=lambda: _unavailable(hub_id),
        weights_digest=lambda: hub.digest(hub_id),
        # Without the package no download helps.
        download_bytes=download_bytes if _installed() else 0,
        **facts,
    )


@functools.cache
def _installed() -> bool:
    return find_spec("timm") is not None


def _unavailable(hub_id: str) -> str | None:
    if not _installed():
        return "the package timm is not installed; run: pip install timm"
    if hub.cached_weights(hub_id) is None:
        return f"its weights are not in the hub's cache {str(hub.cache_folder())!r}"
    return None


class Architectures(Mapping[str, Callable[..., autotl.SourceNetwork]]):
    """Builders of all timm architectures; timm is imported when one is called."""

    def __getitem__(self, name: str) -> Callable[..., autotl.SourceNetwork]:
        if name not in _models():
            raise KeyError(name)

        def build(**kwargs: Any) -> autotl.SourceNetwork:
            from autotl_timm.networks import build_network

            return build_network(name, **kwargs)

        return build

    def __contains__(self, name: object) -> bool:
        return name in _models()

    def __iter__(self) -> Iterator[str]:
        return iter(_models())

    def __len__(self) -> int:
        return len(_models())
