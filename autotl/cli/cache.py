"""`autotl cache`: what the activation cache holds, and room on the disk again."""

import fnmatch
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import json_option
from autotl.cli.render import Column, note, number, print_facts, print_json, print_table
from autotl.errors import InvalidDataError

if TYPE_CHECKING:
    from autotl.features.store import ActivationStore, EntryInfo

__all__ = ["cache"]

_SHOWN = ("backbone", "cut", "view", "dtype")


@click.command()
@click.option(
    "--backbones",
    "pattern",
    metavar="PATTERN",
    help="Only entries of backbones whose name matches, such as 'timm/*'.",
)
@click.option(
    "--clear",
    is_flag=True,
    help="Remove the entries (all, or those that --backbones chooses); autotl computes again "
    "what it needs.",
)
@json_option
@debug_option
def cache(pattern: str | None, clear: bool, as_json: bool) -> None:
    """Show or clear the activations of frozen layers that autotl keeps on disk.

    AUTOTL_CACHE_DIR says where, AUTOTL_CACHE_BYTES how much: such as 5GB, or 0 for no cache; by
    default a tenth of the free disk.
    """
    from autotl.features.limits import cache_folder, cache_limit_bytes
    from autotl.features.store import ActivationStore

    root = cache_folder()
    if root.exists() and not root.is_dir():
        raise InvalidDataError(
            f"The cache folder {str(root)!r} is a file; expected a folder. AUTOTL_CACHE_DIR says "
            "where the cache is."
        )
    store = ActivationStore(root, cache_limit_bytes(root))
    freed = (
        store.clear(lambda key: _matches(key, pattern)) if clear and pattern is not None else None
    )
    if clear and pattern is None:
        freed = store.clear()  # also what is damaged and has no name
    entries = [e for e in store.entries() if pattern is None or _matches(e.key, pattern)]
    if as_json:
        print_json(_report(store, entries, freed))
        return
    print_facts(
        [
            ("Folder", str(root)),
            ("Limit", _size(store.limit_bytes) if store.limit_bytes else _DISABLED),
            ("Used", _size(store.size_bytes())),
        ]
    )
    if entries:
        click.echo()
        _print_entries(entries)
    if freed is not None:
        note(f"Freed {_size(freed)}.")
    elif not entries:
        note("Nothing is in the cache." if pattern is None else f"No entry matches {pattern!r}.")


_DISABLED = "0 B: nothing is kept (AUTOTL_CACHE_BYTES, or no free disk)"


def _matches(key: Mapping[str, Any], pattern: str) -> bool:
    return fnmatch.fnmatchcase(str(key.get("backbone", "")), pattern)


def _print_entries(entries: list["EntryInfo"]) -> None:
    columns = [
        Column(header=name, cells=[str(e.key.get(name, "?")) for e in entries], rank=rank)
        for name, rank in zip(_SHOWN, (0, 0, 2, 3), strict=True)
    ]
    samples = [str(e.n_samples) for e in entries]
    columns += [
        Column(header="samples", cells=samples, right=True, rank=1),
        Column(header="size", cells=[_size(e.size_bytes) for e in entries], right=True),
        Column(header="last used", cells=[_when(e.used_at) for e in entries], rank=1),
    ]
    print_table(columns)


def _report(
    store: "ActivationStore", entries: list["EntryInfo"], freed_bytes: int | None
) -> dict[str, Any]:
    return {
        "schema": 1,
        "path": str(store.root),
        "enabled": store.limit_bytes > 0,
        "limit_bytes": store.limit_bytes,
        "size_bytes": store.size_bytes(),
        "freed_bytes": freed_bytes,
        "entries": [
            {
                "name": entry.name,
                "key": entry.key,
                "n_samples": entry.n_samples,
                "size_bytes": entry.size_bytes,
                "used_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.used_at)),
            }
            for entry in entries
        ],
    }


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _size(size_bytes: int) -> str:
    text = number(size_bytes)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"
