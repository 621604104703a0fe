"""Read a folder of local weights: `*.safetensors` files described by one `backbones.toml`.

The folder may come from anyone: its text is checked, nothing in it is executed, and a file that
cannot be used becomes a named skip with its reason.
"""

import functools
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.errors import BackboneUnavailableError, InvalidDataError
from autotl.specs import BackboneSourceSpec, BackboneSpec, LoadedBackbone, SourceNetwork

if TYPE_CHECKING:
    import torch

__all__ = ["MODALITY", "PREFIX", "SkippedBackbone", "read_weights_folder"]

PREFIX = "local/"
MODALITY = "image"

_DESCRIPTION = "backbones.toml"
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_MAX_SIDE = 2048
_MAX_TEXT = 200

# All that a description may set; a value that fails its check could exhaust the memory.
_KWARGS: dict[str, Callable[[Any], bool]] = {
    "num_classes": lambda v: type(v) is int and 0 <= v <= 1_000_000,
    "pad_type": lambda v: isinstance(v, str),
    "channel_multiplier": lambda v: _is_number(v) and 0 < v <= 16,
    "act_layer": lambda v: isinstance(v, str),
}

Architectures = Mapping[str, Callable[..., SourceNetwork]]


@dataclass(frozen=True, kw_only=True)
class SkippedBackbone:
    """A backbone that is not used now, and why; `spec` where it could be described."""

    name: str
    reason: str
    spec: BackboneSpec | None = None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One checked table of the description."""

    name: str
    file: Path
    build: Callable[..., SourceNetwork]
    kwargs: dict[str, Any]
    preprocessing: dict[str, Any]
    facts: dict[str, Any]


def read_weights_folder(
    folder: Path, sources: Iterable[BackboneSourceSpec]
) -> tuple[list[BackboneSpec], list[SkippedBackbone]]:
    """Describe what a folder of local weights holds, without loading any of it.

    Args:
        folder: Holds `*.safetensors` and `backbones.toml`.
        sources: Bring the builders of the architectures that the description names.

    Returns:
        The backbones that can be used, named `local/<name>`, and those that cannot.

    Raises:
        InvalidDataError: The folder is missing or holds no weights.
    """
    if not folder.is_dir():
        raise InvalidDataError(
            f"The weights folder {str(folder)!r} does not exist or is no folder; expected "
            f"*.safetensors and one {_DESCRIPTION}. Check --weights and AUTOTL_WEIGHTS."
        )
    weights = {p.stem: p for p in sorted(folder.glob("*.safetensors"))}
    pickles = [p for p in sorted(folder.iterdir()) if p.suffix in _PICKLES]
    if not (weights or pickles or (folder / _DESCRIPTION).is_file()):
        raise InvalidDataError(
            f"The weights folder {str(folder)!r} holds no weights; expected *.safetensors and one "
            f"{_DESCRIPTION}. Check --weights and AUTOTL_WEIGHTS."
        )
    specs: dict[str, BackboneSpec] = {}
    skipped = [
        _skip(p.stem, f"{p.name} is a pickle, which is never loaded; convert it to safetensors")
        for p in pickles
        if p.stem not in weights
    ]
    try:
        tables = _tables(folder)
    except InvalidDataError as error:
        return [], [*skipped, *(_skip(stem, str(error)) for stem in weights)]
    find = _builders(sources)
    for index, table in enumerate(tables):
        name = table.get("name") if isinstance(table, dict) else None
        label = _printable(name) if isinstance(name, str) and name else f"entry-{index + 1}"
        try:
            spec = _spec(_entry(table, folder, find))
        except InvalidDataError as error:
            skipped.append(_skip(label, str(error)))
        else:
            if specs.setdefault(label, spec) is not spec:
                skipped.append(
                    _skip(label, f"{_DESCRIPTION} describes it twice; the first counts")
                )
        weights.pop(label, None)
    reason = f"{_DESCRIPTION} has no entry of this name; describe the file there"
    skipped += [_skip(stem, reason) for stem in weights]
    first: dict[str, SkippedBackbone] = {}
    for skip in skipped:
        first.setdefault(skip.name, skip)
    return list(specs.values()), list(first.values())


def _skip(label: str, reason: str) -> SkippedBackbone:
    return SkippedBackbone(name=PREFIX + label, reason=reason)


def _tables(folder: Path) -> list[Any]:
    try:
        with (folder / _DESCRIPTION).open("rb") as file:
            tables = tomllib.load(file).get("backbone", [])
    except FileNotFoundError:
        raise InvalidDataError(f"the folder has no {_DESCRIPTION} that describes it") from None
    except (OSError, ValueError) as error:
        raise InvalidDataError(f"{_DESCRIPTION} cannot be read ({error}); correct it") from error
    if not isinstance(tables, list):
        raise InvalidDataError(f"{_DESCRIPTION} has no [[backbone]] tables; use double brackets")
    return tables


def _printable(text: str) -> str:
    """Drop what could steer a terminal from text that a stranger wrote."""
    return "".join(c for c in text if c.isprintable())[:_MAX_TEXT]


def _builders(sources: Iterable[BackboneSourceSpec]) -> Callable[[str], Any]:
    """Return a look-up of builders by architecture over all sources."""
    catalogues: list[Architectures] = [source.architectures for source in sources]

    def find(name: str) -> Callable[..., SourceNetwork] | None:
        return next((c[name] for c in catalogues if name in c), None)

    return find


def _entry(table: Any, folder: Path, find: Callable[[str], Any]) -> _Entry:
    """Check one table.

    Raises:
        InvalidDataError: It cannot be used; the message is the reason of the skip.
    """
    if not isinstance(table, dict):
        raise InvalidDataError(f"its entry is {table!r} instead of a table")
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise InvalidDataError(
            f"its name {name!r} is not a bare file name; use letters, digits and any of _ . + -"
        )
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        raise InvalidDataError(f"the folder has no file {file.name!r}")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidDataError(f"{file.name!r} links to a file outside the folder; copy it")
    kwargs = _checked_kwargs(table.get("kwargs", {}))
    architecture = table.get("architecture")
    wanted = name if architecture == "described" else architecture
    build = find(wanted) if isinstance(wanted, str) else None
    if build is None:
        raise InvalidDataError(
            f"no installed plugin builds the architecture {wanted!r}; install the distribution "
            "that adds it, see `autotl plugins`"
        )
    return _Entry(
        name=name,
        file=file,
        build=build,
        kwargs=kwargs,
        preprocessing=_preprocessing(table),
        facts=_facts(table),
    )


def _checked_kwargs(kwargs: Any) -> dict[str, Any]:
    if not isinstance(kwargs, dict):
        raise InvalidDataError(f"its kwargs are {kwargs!r} instead of a table")
    for key, value in kwargs.items():
        if key not in _KWARGS:
            allowed = ", ".join(_KWARGS)
            raise InvalidDataError(f"its kwargs set {key!r}; only {allowed} are allowed")
        if not _KWARGS[key](value):
            raise InvalidDataError(f"its kwargs set {key} to {value!r}, which is out of range")
    return dict(kwargs)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _preprocessing(table: Mapping[str, Any]) -> dict[str, Any]:
    from autotl.shelf.images import image_preprocess

    size = table.get("input_size")
    if not (
        isinstance(size, list)
        and all(type(n) is int and n <= _MAX_SIDE for n in size)
        and all(
            isinstance(table.get(key), list) and all(map(_is_number, table[key]))
            for key in ("mean", "std")
        )
    ):
        raise InvalidDataError(
            f"its input_size, mean and std are {size!r}, {table.get('mean')!r} and "
            f"{table.get('std')!r}; expected lists such as [3, 224, 224], [0.5, 0.5, 0.5] and "
            "[0.5, 0.5, 0.5]"
        )
    found: dict[str, Any] = {
        "input_size": tuple(size),
        "mean": tuple(table["mean"]),
        "std": tuple(table["std"]),
    }
    found |= {key: table[key] for key in ("interpolation", "crop") if key in table}
    try:
        image_preprocess(**found)
    except TypeError as error:
        raise InvalidDataError(f"its preprocessing cannot be used ({error})") from error
    return found


def _facts(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that go into the spec as they are; a wrong one is left out.

    Raises:
        InvalidDataError: `permissive` is no truth value; a guess at what was meant could mislead.
    """
    words = ("summary", "reference", "source_domain", "license", "source_terms")
    facts: dict[str, Any] = {
        k: _printable(table[k]) for k in words if isinstance(table.get(k), str)
    }
    accuracy = table.get("published_accuracy")
    if _is_number(accuracy) and 0 <= accuracy <= 1:  # type: ignore[operator]  # a number by now
        facts["published_accuracy"] = float(accuracy)  # type: ignore[arg-type]  # as above
    if type(table.get("embed_dim")) is int and table["embed_dim"] > 0:
        facts["embed_dim"] = table["embed_dim"]
    facts["permissive"] = table.get("permissive", False)
    if not isinstance(facts["permissive"], bool):
        raise InvalidDataError(
            f"its permissive is {facts['permissive']!r}; use true where the weights and their "
            "data allow commercial use, and false or nothing otherwise"
        )
    return facts


def _spec(entry: _Entry) -> BackboneSpec:
    facts = {"summary": f"Local weights {entry.file.name}.", "embed_dim": None, **entry.facts}
    return BackboneSpec(
        name=PREFIX + entry.name,
        modality=MODALITY,
        load=functools.partial(_load, entry),
        unavailable=lambda: None if entry.file.is_file() else f"{entry.file} is gone",
        weights_digest=lambda: _digest(entry.file, *_stamp(entry.file)),
        n_params=_n_params(entry.file),
        input_size=entry.preprocessing["input_size"],
        has_source_probs=entry.kwargs.get("num_classes") != 0,
        **facts,
    )


def _n_params(file: Path) -> int:
    """Count the parameters by the file's header; the statistics of batch norm do not count."""
    import math

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as tensors:
            names = [k for k in tensors.keys() if not k.endswith(_BUFFERS)]  # noqa: SIM118  # no mapping
            return sum(math.prod(tensors.get_slice(k).get_shape()) for k in names)
    except (SafetensorError, OSError) as error:
        raise InvalidDataError(f"{file.name!r} is no safetensors file ({error})") from error


def _stamp(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _digest(file: Path, _size: int, _mtime_ns: int) -> str:
    """Return the file's SHA-256; size and time make a changed file a new key."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load(entry: _Entry, device: str) -> LoadedBackbone:
    import torch

    from autotl.shelf.images import image_preprocess

    # Building draws initial weights, which must not move the caller's random state.
    with torch.random.fork_rng(devices=[]):
        try:
            source = entry.build(**entry.kwargs)
        except Exception as error:
            raise BackboneUnavailableError(
                f"The architecture of {PREFIX + entry.name!r} cannot be built with "
                f"{entry.kwargs!r} ({error}). Correct its entry in {_DESCRIPTION}."
            ) from error
    _load_strictly(entry, source.network)
    for module in (source.network, source.backbone, source.source_head):
        if module is not None:
            module.to(device).eval()
    return LoadedBackbone(
        module=source.backbone,
        preprocess=image_preprocess(**entry.preprocessing),
        layer_groups=source.layer_groups,
        source_probs=_probabilities(source),
        source_head=source.source_head,
    )


def _load_strictly(entry: _Entry, network: "torch.nn.Module") -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Iterator[tuple[str, torch.Tensor]] = iter(load_file(entry.file).items())
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in tensors}, strict=True
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines()
        raise BackboneUnavailableError(
            f"The weights {str(entry.file)!r} do not fit their architecture with "
            f"{entry.kwargs!r}: {' '.join(line.strip() for line in lines)[:400]} Correct the "
            f"entry in {_DESCRIPTION}, or replace the file."
        ) from error


def _probabilities(source: SourceNetwork) -> "Callable[[Any], torch.Tensor] | None":
    logits = source.source_logits
    return None if logits is None else lambda batch: logits(batch).softmax(dim=1)
