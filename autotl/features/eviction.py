"""Bytes on disk that processes share: promised before they are written, and freed oldest first.

Everything that changes the folder happens under one file lock; readers take none. A writer fills a
folder of its own under `unfinished/`, beside a lock that the system drops when the writer dies.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autotl.features.shards import used_at

__all__ = [
    "Ledger",
    "Reservation",
    "ShardOnDisk",
    "entry_folders",
    "entry_name",
    "is_entry",
    "read_key",
    "shard_folders",
    "walk",
]

_ENTRY_FILE = "entry.json"
_SCHEMA = 1
_ENTRY = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"(\d{1,18})-[0-9a-f]{32}")
_LONGEST_KEY_BYTES = 2**16
_LOCK_SECONDS, _POLL_SECONDS = 30.0, 0.002
_TOTAL_DIGITS = 20
_SLACK = 0.05  # of the limit, freed beyond need, since each eviction looks at every shard


@dataclass(frozen=True, kw_only=True)
class ShardOnDisk:
    """One shard as the file system knows it.

    Args:
        entry: Name of its entry's folder.
        folder: Its own.
        size_bytes: Of its files.
        used_at: Seconds since 1970.
    """

    entry: str
    folder: Path
    size_bytes: int
    used_at: float


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """Bytes promised to one writer.

    Args:
        folder: What it shall create and fill.
        size_bytes: The promise.
        lock: Held while it writes.
    """

    folder: Path
    size_bytes: int
    lock: FileLock


def entry_name(key: Mapping[str, Any]) -> str:
    """Return the folder name of a key: the SHA-256 of its canonical JSON."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_key(folder: Path) -> dict[str, Any] | None:
    """Return the key of an entry; None where there is none that belongs to this folder."""
    try:
        with (folder / _ENTRY_FILE).open("rb") as file:
            content = json.loads(file.read(_LONGEST_KEY_BYTES))
        key = content["key"]
        if isinstance(key, dict) and entry_name(key) == folder.name:
            return key
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        pass
    return None


def shard_folders(folder: Path) -> list[Path]:
    """Return the folders of an entry's shards, by name."""
    return [Path(e.path) for e in _folders(folder) if _SHARD.fullmatch(e.name)]


def is_entry(folder: Path) -> bool:
    """Say whether a writer made this folder: it has a key, or holds nothing but shards."""
    if (folder / _ENTRY_FILE).exists() or (folder / f"{_ENTRY_FILE}.draft").exists():
        return True
    return all(_SHARD.fullmatch(inside.name) for inside in folder.iterdir())


def entry_folders(root: Path) -> list[Path]:
    """Return the folders of all entries, by name."""
    return [Path(e.path) for e in _folders(root) if _ENTRY.fullmatch(e.name)]


def walk(root: Path) -> list[ShardOnDisk]:
    """Return every shard there is; what vanishes meanwhile counts nothing."""
    return [
        ShardOnDisk(
            entry=entry.name, folder=shard, size_bytes=_size_bytes(shard), used_at=used_at(shard)
        )
        for entry in entry_folders(root)
        for shard in shard_folders(entry)
    ]


class Ledger:
    """What is kept and promised under one root.

    Args:
        root: Created when first needed.
        limit_bytes: More is never kept and promised together.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self._unfinished = root / "unfinished"
        self._total_file = root / "total"
        self._swept = False

    def total_bytes(self) -> int | None:
        """Return the bytes kept and promised, at most too many after a crash; None if unknown."""
        try:
            digits = self._total_file.read_bytes()
        except OSError:
            return None
        return int(digits) if len(digits) == _TOTAL_DIGITS and digits.isdigit() else None

    def reserve(
        self, size_bytes: int, *, own: Set[Path] = frozenset(), busy: Set[Path] = frozenset()
    ) -> Reservation | None:
        """Promise bytes, evicting what was used longest ago; None when there is no room.

        Args:
            size_bytes: At least what the files will take.
            own: Shards that must stay.
            busy: Shards that go after all others.

        Raises:
            OSError: The folder cannot be written or locked.
        """
        if size_bytes > self.limit_bytes:
            return None
        with self._locked():
            if not self._swept:
                self._sweep()
            total = self.total_bytes()
            if total is None or total + size_bytes > self.limit_bytes:
                total = self._make_room(size_bytes, own, busy)
            if total + size_bytes > self.limit_bytes:
                return None
            self._note_total(total + size_bytes)
            return self._begin(size_bytes)

    def publish(self, reservation: Reservation, entry: Path, key: Mapping[str, Any]) -> Path:
        """Turn a finished folder into a shard of an entry, at once; return where it is.

        Raises:
            OSError: Somebody removed the folder, or the entry cannot be written.
        """
        with self._locked():
            if read_key(entry) is None:
                self._discard([entry])  # what it holds may belong to any key
                entry.mkdir()
                draft = entry / f"{_ENTRY_FILE}.draft"
                draft.write_text(json.dumps({"schema": _SCHEMA, "key": key}, allow_nan=False))
                draft.replace(entry / _ENTRY_FILE)
            shard = entry / uuid.uuid4().hex
            reservation.folder.replace(shard)
            self._end(reservation)
        return shard

    def cancel(self, reservation: Reservation) -> None:
        """Give promised bytes back and remove what was written, as far as that is possible."""
        with contextlib.suppress(OSError), self._locked():
            shutil.rmtree(reservation.folder, ignore_errors=True)
            total = self.total_bytes()
            if total is not None:
                self._note_total(total - reservation.size_bytes)
        self._end(reservation)

    def remove(self, entries: Sequence[Path]) -> int:
        """Remove whole entries and what dead writers left; return the bytes freed.

        Raises:
            OSError: The folder cannot be locked.
        """
        if not self.root.is_dir():
            return 0
        with self._locked():
            before = self._kept_bytes()
            self._discard(entries)
            promised = self._sweep()
            after = self._kept_bytes()
            self._note_total(after + promised)
        return before - after

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._unfinished.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "lock")
        with lock.acquire(timeout=_LOCK_SECONDS, poll_interval=_POLL_SECONDS):
            yield

    def _note_total(self, total: int) -> None:
        # In place, at a fixed length: file systems flush a file that was emptied first.
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._total_file, flags, 0o666)
        try:
            os.pwrite(descriptor, b"%0*d" % (_TOTAL_DIGITS, max(0, total)), 0)
        finally:
            os.close(descriptor)

    def _begin(self, size_bytes: int) -> Reservation:
        folder = self._unfinished / f"{size_bytes}-{uuid.uuid4().hex}"
        lock = FileLock(f"{folder}.lock")
        lock.acquire(timeout=0)
        return Reservation(folder=folder, size_bytes=size_bytes, lock=lock)

    def _end(self, reservation: Reservation) -> None:
        # Removed before it is released: nobody then takes it for that of a dead writer.
        Path(reservation.lock.lock_file).unlink(missing_ok=True)
        reservation.lock.release()

    def _make_room(self, size_bytes: int, own: Set[Path], busy: Set[Path]) -> int:
        """Return the true total, after evicting enough for so many bytes, or nothing at all."""
        shards = walk(self.root)
        promised = self._sweep()
        kept = sum(s.size_bytes for s in shards)
        missing = kept + promised + size_bytes - self.limit_bytes
        spare = int(_SLACK * self.limit_bytes)
        chosen: list[ShardOnDisk] = []
        freed = 0
        ranked = sorted(
            (s.folder in busy, s.used_at, s.folder, s) for s in shards if s.folder not in own
        )
        for is_busy, _, _, shard in ranked if missing > 0 else ():
            if freed >= missing + (0 if is_busy else spare):
                break
            chosen.append(shard)
            freed += shard.size_bytes
        if chosen and freed >= missing:
            self._discard([s.folder for s in chosen])
            kept = self._kept_bytes()
        self._note_total(kept + promised)
        return kept + promised

    def _kept_bytes(self) -> int:
        return sum(s.size_bytes for s in walk(self.root))

    def _discard(self, folders: Sequence[Path]) -> None:
        """Take shards or entries out of sight at once, then remove them."""
        for folder in folders:
            with contextlib.suppress(OSError):
                grave = self._unfinished / f"0-{uuid.uuid4().hex}"
                folder.replace(grave)
                shutil.rmtree(grave, ignore_errors=True)
        for entry in {f.parent for f in folders if f.parent != self.root}:
            if not shard_folders(entry):
                shutil.rmtree(entry, ignore_errors=True)

    def _sweep(self) -> int:
        """Remove what dead writers left; return the bytes promised to those alive."""
        self._swept = True
        promised = 0
        names = {p.name.removesuffix(".lock") for p in self._unfinished.iterdir()}
        for name in names:
            match = _UNFINISHED.fullmatch(name)
            if match is None:
                continue
            folder = self._unfinished / name
            lock = FileLock(f"{folder}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                promised += int(match[1])
                continue
            except OSError:  # no lock that a writer of ours made
                continue
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
        return promised


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if e.is_dir(follow_symlinks=False)), key=_by_name)
    except OSError:
        return []


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _size_bytes(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for file in found:
            with contextlib.suppress(OSError):
                total += file.stat(follow_symlinks=False).st_size
    return total
