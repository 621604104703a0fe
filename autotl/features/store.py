"""Activations of frozen layers on disk, so that no trial and no run computes them twice."""

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl.errors import AutotlError
from autotl.features.eviction import (
    Ledger,
    entry_folders,
    entry_name,
    is_entry,
    read_key,
    shard_folders,
    walk,
)
from autotl.features.limits import cache_folder, cache_limit_bytes
from autotl.features.shards import (
    ROW_BITS,
    DamagedShardError,
    Shard,
    checked,
    forget_open_files,
    gather,
    write_shard,
)

__all__ = [
    "ActivationStore",
    "EntryInfo",
    "MissingActivations",
    "StoredActivations",
]

_HEADER_BYTES = 1024  # more than an `.npy` header takes
_TOUCH_SECONDS = 60.0
_NEVER = -float("inf")
_REFUSED_SECONDS = 10.0


class MissingActivations(AutotlError, KeyError):  # noqa: N818  # an answer more than an error
    """Some samples are not, or no longer, in the cache: compute them again."""

    __str__ = Exception.__str__  # KeyError would put quotes around the message


@dataclass(frozen=True, kw_only=True)
class EntryInfo:
    """What `autotl cache` tells of one entry.

    Args:
        name: Of its folder.
        key: What its activations belong to; empty where that is damaged.
        n_samples: Different samples in it.
        size_bytes: On disk.
        used_at: Seconds since 1970.
    """

    name: str
    key: Mapping[str, Any]
    n_samples: int
    size_bytes: int
    used_at: float


class ActivationStore:
    """Activations of frozen layers on disk, shared by processes, bounded in bytes.

    Args:
        root: Folder of the cache, created when something is first added.
        limit_bytes: Of all entries together.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self.ledger = Ledger(root, limit_bytes)
        self._open: weakref.WeakSet[StoredActivations] = weakref.WeakSet()

    @classmethod
    def from_environment(
        cls, on_problem: Callable[[str], None] = lambda text: None
    ) -> "ActivationStore | None":
        """Return the cache of this user; None where it is switched off or cannot be written.

        Args:
            on_problem: Takes a sentence that says why it cannot be written.

        Raises:
            InvalidDataError: AUTOTL_CACHE_BYTES is no number of bytes.
        """
        root = cache_folder()
        try:
            limit_bytes = cache_limit_bytes(root)
            if limit_bytes <= 0:
                return None
            root.mkdir(parents=True, exist_ok=True)
            (root / "lock").touch()
            (root / "unfinished").mkdir(exist_ok=True)
        except OSError as error:
            on_problem(
                f"The cache folder {str(root)!r} cannot be used ({error.strerror or error}), so "
                "nothing is kept for later runs. AUTOTL_CACHE_DIR says where the cache is."
            )
            return None
        return cls(root, limit_bytes)

    def entry(self, key: Mapping[str, Any]) -> "StoredActivations":
        """Return the activations that belong to a key.

        Args:
            key: Facts that JSON can hold; all that the activations depend on but the sample.
        """
        entry = StoredActivations(self, key)
        self._open.add(entry)
        return entry

    def entries(self) -> list[EntryInfo]:
        """Return what is in the cache, least recently used first."""
        shards: dict[str, list[tuple[Path, int, float]]] = {}
        for shard in walk(self.root):
            row = (shard.folder, shard.size_bytes, shard.used_at)
            shards.setdefault(shard.entry, []).append(row)
        found = [
            EntryInfo(
                name=name,
                key=read_key(self.root / name) or {},
                n_samples=_n_samples([folder for folder, _, _ in rows]),
                size_bytes=sum(size for _, size, _ in rows),
                used_at=max(used for _, _, used in rows),
            )
            for name, rows in shards.items()
        ]
        return sorted(found, key=lambda info: (info.used_at, info.name))

    def size_bytes(self) -> int:
        """Return the bytes that the entries take."""
        return sum(shard.size_bytes for shard in walk(self.root))

    def clear(self, match: Callable[[Mapping[str, Any]], bool] | None = None) -> int:
        """Remove entries and return the bytes freed; who reads them now may finish or miss them.

        Args:
            match: Of a key; tells what goes. Everything goes without it.

        Raises:
            OSError: The cache cannot be locked or written.
        """

        def goes(folder: Path) -> bool:
            if match is None:
                return is_entry(folder)  # also one that is damaged and has no key
            key = read_key(folder)
            return key is not None and match(key)

        chosen = [folder for folder in entry_folders(self.root) if goes(folder)]
        freed = self.ledger.remove(chosen)
        forget_open_files()
        return freed

    def shards_in_use(self) -> dict[str, set[Path]]:
        """Return the shards that this process has read or written, by entry."""
        used: dict[str, set[Path]] = {}
        for entry in list(self._open):
            used.setdefault(entry.name, set()).update(entry.shards_in_use())
        return used


class StoredActivations:
    """Rows of named tensors for the samples of one key, found by digest of the sample.

    Args:
        store: The cache.
        key: See `ActivationStore.entry`.
    """

    def __init__(self, store: ActivationStore, key: Mapping[str, Any]) -> None:
        self.key, self.name = dict(key), entry_name(key)
        self.folder = store.root / self.name
        self._store = store
        self._shards: list[Shard | None] = []  # a located row names its place in it for ever
        self._numbers: dict[str, int] = {}
        self._ignored: set[str] = set()
        self._rows: dict[str, int] = {}
        self._kinds: dict[str, tuple[object, ...]] = {}
        self._updating = threading.RLock()
        self._refused_at = _NEVER

    def known(self, digests: Sequence[str]) -> np.ndarray:
        """Tell which samples are there now, whoever added them.

        Returns:
            Booleans of shape (n,).
        """
        self._refresh()
        rows = self._rows
        found = np.fromiter((rows.get(d, -1) for d in digests), np.int64, len(digests))
        self._touch(found[found >= 0])
        return found >= 0

    def add(self, digests: Sequence[str], tensors: Mapping[str, np.ndarray]) -> bool:
        """Keep one row of each tensor for each sample; False when that is not possible now.

        Args:
            digests: SHA-256 of each sample, in lower-case hexadecimal.
            tensors: Of shape (n, ...); axis 1 may differ from call to call, the others may not.

        Raises:
            InvalidDataError: Digests and tensors do not fit together.
        """
        raw, arrays = checked(digests, tensors)
        if not len(raw):
            return True
        kinds = {name: (a.dtype, a.ndim, a.shape[2:]) for name, a in arrays.items()}
        if any(self._shards) and kinds != self._kinds:
            return False
        size_bytes = raw.nbytes + sum(a.nbytes for a in arrays.values())
        size_bytes += _HEADER_BYTES * (len(arrays) + 1)
        try:
            shard = self._written(size_bytes, raw, arrays)
        except OSError:
            return False
        if shard is None:
            return False
        with self._updating:
            return self._index(shard, used_at=time.monotonic())

    def read(self, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the rows of all tensors in the order asked, short ones padded with zeros.

        Raises:
            MissingActivations: Some are not there.
        """
        try:
            return self.read_at(self.locate(digests))
        except MissingActivations:
            # Another process may have evicted them and somebody added them again.
            self._refresh()
            return self.read_at(self.locate(digests))

    def locate(self, digests: Sequence[str]) -> np.ndarray:
        """Return where the rows are, for `read_at`; of shape (n,), not to be looked into.

        Raises:
            MissingActivations: Some are not there.
        """
        try:
            found = self._places(digests)
        except KeyError:
            self._refresh()  # another process may have added them
            try:
                found = self._places(digests)
            except KeyError as error:
                sample = error.args[0]
                raise MissingActivations(
                    f"Sample {sample!r} is not in the activation cache."
                ) from None
        self._touch(found)
        return found

    def read_at(self, located: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows of all tensors at places that `locate` has given.

        Raises:
            MissingActivations: Some are no longer there.
        """
        shards = self._touch(located)
        if not shards:
            return {}
        try:
            return {name: gather(shards, located, name) for name in self._kinds}
        except OSError as error:
            self._forget_broken(shards)
            raise MissingActivations(f"Activations are no longer in the cache: {error}") from error

    def shards_in_use(self) -> set[Path]:
        """Return the shards that this object has read or written."""
        return {s.folder for s in list(self._shards) if s and s.touched_at > _NEVER}

    def _places(self, digests: Sequence[str]) -> np.ndarray:
        return np.fromiter(map(self._rows.__getitem__, digests), np.int64, len(digests))

    def _written(
        self, size_bytes: int, raw: np.ndarray, arrays: Mapping[str, np.ndarray]
    ) -> Path | None:
        ledger, now = self._store.ledger, time.monotonic()
        total = ledger.total_bytes()
        full = total is not None and total + size_bytes > ledger.limit_bytes
        if full and now - self._refused_at < _REFUSED_SECONDS:
            return None  # looking at every shard again would find the same
        used = self._store.shards_in_use()
        own = used.pop(self.name, set())
        reservation = ledger.reserve(size_bytes, own=own, busy=set().union(*used.values()))
        if reservation is None:
            self._refused_at = now
            return None
        try:
            write_shard(reservation.folder, raw, arrays)
            return ledger.publish(reservation, self.folder, self.key)
        except BaseException:
            ledger.cancel(reservation)
            raise

    def _refresh(self) -> None:
        """Notice shards that came or went since the last look."""
        with self._updating:
            whole = read_key(self.folder) is not None
            names = {f.name: f for f in shard_folders(self.folder)} if whole else {}
            self._forget(self._numbers.keys() - names.keys())
            for name, folder in names.items():
                if name not in self._numbers and name not in self._ignored:
                    self._index(folder)

    def _index(self, folder: Path, used_at: float = _NEVER) -> bool:
        """Take a shard up; False where it is damaged or does not go with the others."""
        if folder.name in self._numbers:
            return True
        try:
            shard = Shard(folder)
            if used_at == _NEVER:  # not what this process has just written
                shard.verify()
            digests = shard.digests()
        except DamagedShardError:
            self._ignored.add(folder.name)
            return False
        except OSError:  # gone again, or too many files are open
            return False
        if not any(self._shards):
            self._kinds = shard.kinds
        if shard.kinds != self._kinds:
            self._ignored.add(folder.name)
            return False
        shard.touched_at = used_at
        number = len(self._shards)
        self._shards.append(shard)
        self._numbers[folder.name] = number
        first = number << ROW_BITS
        self._rows.update(zip(digests, range(first, first + len(digests)), strict=True))
        return True

    def _forget(self, names: Iterable[str]) -> None:
        """Drop shards that are gone; samples that others hold too are found there."""
        gone = {self._numbers.pop(name) for name in names}
        if not gone:
            return
        for number in gone:
            self._shards[number] = None
        forget_open_files()
        kept = [(number, shard) for number, shard in enumerate(self._shards) if shard]
        rows: dict[str, int] = {}
        for number, shard in kept:
            first = number << ROW_BITS
            with contextlib.suppress(OSError):  # gone as well: the next refresh sees it
                rows.update(zip(shard.digests(), range(first, first + shard.n_rows), strict=True))
        self._rows = rows

    def _forget_broken(self, shards: Mapping[int, Shard]) -> None:
        with self._updating:
            broken = [s.folder.name for s in shards.values() if not _opens(s.folder)]
            self._forget([name for name in broken if name in self._numbers])

    def _touch(self, located: np.ndarray) -> dict[int, Shard]:
        """Return the shards of located rows by number, noting that they are in use."""
        now = time.monotonic()
        found: dict[int, Shard] = {}
        for number in np.flatnonzero(np.bincount(located >> ROW_BITS)).tolist():
            shard = self._shards[number]
            if shard is None:
                raise MissingActivations("Located activations were evicted or damaged.")
            found[number] = shard
            if now - shard.touched_at >= _TOUCH_SECONDS:
                shard.touched_at = now
                with contextlib.suppress(OSError):
                    shard.touch()
        return found


def _n_samples(folders: Sequence[Path]) -> int:
    seen: set[str] = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            seen.update(Shard(folder).digests())
    return len(seen)


def _opens(folder: Path) -> bool:
    try:
        Shard(folder)
    except OSError:
        return False
    return True
