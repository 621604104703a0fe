"""One shard of the activation cache: a folder of `.npy` files that is never trusted.

Rows are copied with positional reads, not through memory maps: a file that someone cuts short
gives an error instead of SIGBUS, and a process's memory does not grow with what it has looked at.
"""

import errno
import functools
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotl.errors import InvalidDataError

__all__ = [
    "DamagedShardError",
    "Shard",
    "checked",
    "forget_open_files",
    "gather",
    "used_at",
    "write_shard",
]

_DIGEST_BYTES = 32
ROW_BITS = 32  # a located row is (number of its shard << ROW_BITS) | row

_ROW_MASK = (1 << ROW_BITS) - 1
_DIGESTS, _SUMS = "digests", "crc32.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_KINDS = "biuf"
_MOST_OPEN_FILES = 128  # macOS allows a process 256
_BLOCK_BYTES = 2**20  # read at once, then picked apart in the processor's cache
_GAP_BYTES = 2**14  # reading over so many unwanted bytes costs less than another call


class DamagedShardError(OSError):
    """A shard is not what a writer leaves; it holds nothing."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.EIO, problem)


@dataclass(frozen=True)
class _Tensor:
    """Where the numbers of one `.npy` file are.

    Args:
        path: The file.
        dtype: Of its numbers.
        shape: (n_rows, ...).
        offset: Bytes before the first number.
        row_bytes: Bytes of shape[1:].
    """

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    row_bytes: int

    @classmethod
    def open(cls, path: Path) -> "_Tensor":
        """Read the header and compare what it promises with the size of the file."""
        with path.open("rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, fortran_order, dtype = read(file)
            except Exception as error:  # the parser of headers raises many kinds
                raise DamagedShardError(f"{path} has no readable header: {error}") from error
            offset = file.tell()
            n_bytes = os.fstat(file.fileno()).st_size
        sound = dtype.kind in _KINDS and not fortran_order and shape and min(shape) >= 0
        if not sound or n_bytes != offset + math.prod(shape) * dtype.itemsize:
            raise DamagedShardError(f"{path} does not hold the {dtype} {shape} of its header.")
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        return cls(str(path), dtype, shape, offset, row_bytes)

    @property
    def kind(self) -> tuple[object, ...]:
        """What tensors of one name have in common, whatever the length of axis 1."""
        return self.dtype, len(self.shape), self.shape[2:]

    def block(self, row: int, n_rows: int) -> np.ndarray:
        """Return consecutive rows of shape (n_rows, ...)."""
        block = np.empty((n_rows, *self.shape[1:]), dtype=self.dtype)
        if block.nbytes:
            self.read_into(block.reshape(-1).view(np.uint8).data, row)
        return block

    def read_into(self, target: memoryview, row: int) -> None:
        """Fill bytes with the rows from this one on."""
        file = _opened(self.path, self.offset + self.shape[0] * self.row_bytes)
        place, done = self.offset + row * self.row_bytes, 0
        while done < len(target):
            n = os.preadv(file.descriptor, [target[done:] if done else target], place + done)
            if n == 0:
                raise DamagedShardError(f"{self.path} ends at byte {place + done}.")
            done += n


class _OpenFile:
    """A descriptor that lives as long as somebody, in whichever thread, reads from it."""

    def __init__(self, path: str, n_bytes: int) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)
        if os.fstat(self.descriptor).st_size != n_bytes:
            raise DamagedShardError(f"{path} no longer has {n_bytes} bytes.")

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


_opened = functools.lru_cache(maxsize=_MOST_OPEN_FILES)(_OpenFile)


class Shard:
    """Rows of some named tensors, found by digest.

    Args:
        folder: Where the files are.

    Raises:
        OSError: The shard is gone or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = {p.stem: _Tensor.open(p) for p in folder.glob("*.npy") if _NAME.fullmatch(p.stem)}
        digests = found.pop(_DIGESTS, None)
        if digests is None or not found:
            raise DamagedShardError(f"{folder} lacks digests or tensors.")
        if digests.dtype != np.uint8 or digests.shape[1:] != (_DIGEST_BYTES,):
            raise DamagedShardError(f"{digests.path} holds {digests.dtype} {digests.shape}.")
        self.n_rows = digests.shape[0]
        if any(t.shape[0] != self.n_rows for t in found.values()):
            raise DamagedShardError(f"{folder} has tensors of other lengths than its digests.")
        self.tensors: Mapping[str, _Tensor] = found
        self._digests = digests
        self.touched_at = -math.inf

    @property
    def kinds(self) -> dict[str, tuple[object, ...]]:
        """Tensor name to what it must share with its namesakes in other shards."""
        return {name: tensor.kind for name, tensor in self.tensors.items()}

    def digests(self) -> list[str]:
        """Return the digest of each row, in hexadecimal."""
        text, width = self._digests.block(0, self.n_rows).tobytes().hex(), 2 * _DIGEST_BYTES
        return [text[i : i + width] for i in range(0, len(text), width)]

    def verify(self) -> None:
        """Compare all files with what their writer noted.

        Raises:
            OSError: They differ, or one is gone.
        """
        try:
            noted = json.loads((self.folder / _SUMS).read_bytes())
        except (FileNotFoundError, ValueError) as error:
            raise DamagedShardError(f"{self.folder} has no sums: {error}") from error
        if noted != _sums(self.folder):
            raise DamagedShardError(f"{self.folder} is not what was written.")

    def touch(self) -> None:
        """Note on disk that the shard is in use.

        Raises:
            OSError: It is gone, or belongs to somebody else.
        """
        os.utime(self._digests.path)


def gather(shards: Mapping[int, Shard], located: np.ndarray, name: str) -> np.ndarray:
    """Return the located rows of one tensor, padded with zeros to the longest axis 1 among them.

    Args:
        shards: By number; all that `located` mentions, at least one.
        located: Shape (n,), see `ROW_BITS`.
        name: Of the tensor.

    Raises:
        OSError: A shard is gone or damaged.
    """
    tensors = {number: shard.tensors[name] for number, shard in shards.items()}
    shape = list(next(iter(tensors.values())).shape)
    shape[:1] = [len(located)]
    if len(shape) > 1:
        shape[1] = max(t.shape[1] for t in tensors.values())
    out = np.empty(shape, dtype=next(iter(tensors.values())).dtype)
    if out.nbytes:
        _fill(out, tensors, located)
    return out


def _fill(out: np.ndarray, tensors: Mapping[int, _Tensor], located: np.ndarray) -> None:
    """Read runs of neighbouring rows at once and put each row in its place."""
    row_bytes = out.nbytes // len(out)
    order = np.argsort(located, kind="stable")
    ranked = located[order]
    # Rows of different shards are further apart than any gap that is worth reading over.
    far = np.diff(ranked) > 1 + _GAP_BYTES // row_bytes
    blocks = (ranked & _ROW_MASK) * row_bytes // _BLOCK_BYTES
    starts = np.flatnonzero(np.r_[True, far | (np.diff(blocks) != 0)])
    stops = np.r_[starts[1:], len(order)]
    view = out.reshape(-1).view(np.uint8).data
    runs = (starts, stops, ranked[starts], ranked[stops - 1], order[starts])
    for start, stop, first, last, place in zip(*(r.tolist() for r in runs), strict=True):
        tensor, row, span = tensors[first >> ROW_BITS], first & _ROW_MASK, last - first + 1
        places = order[start:stop]
        if tensor.row_bytes < row_bytes:
            out[places, tensor.shape[1] :] = 0
        straight = stop - start == 1 or (
            tensor.row_bytes == row_bytes
            and span == stop - start
            and bool((places - ranked[start:stop] == place - first).all())
        )
        if straight:
            at = place * row_bytes
            tensor.read_into(view[at : at + span * tensor.row_bytes], row)
        else:
            wide = tensor.row_bytes == row_bytes
            target = out if wide else out[:, : tensor.shape[1]]
            target[places] = tensor.block(row, span)[ranked[start:stop] - first]


def forget_open_files() -> None:
    """Close what no thread reads just now, so that removed files give their space back."""
    _opened.cache_clear()


def checked(
    digests: Sequence[str], tensors: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return digests of shape (n, _DIGEST_BYTES) and contiguous tensors.

    Raises:
        InvalidDataError: They are not what a shard can hold.
    """
    raw = b"".join(_raw(digest) for digest in digests)
    lowered = {name.lower() for name in tensors}  # file systems may not tell A from a
    if not tensors or len(lowered) < len(tensors) or _DIGESTS in lowered:
        raise InvalidDataError(
            f"The tensors are named {sorted(tensors)}; give at least one, with names that differ "
            f"in more than case, and none named {_DIGESTS!r}."
        )
    for name, tensor in tensors.items():
        if not _NAME.fullmatch(name):
            raise InvalidDataError(f"Tensor name {name!r} is no plain word of letters and digits.")
        if tensor.dtype.kind not in _KINDS or tensor.shape[:1] != (len(digests),):
            raise InvalidDataError(
                f"Tensor {name!r} is {tensor.dtype} {tensor.shape}; expected numbers of shape "
                f"({len(digests)}, ...), one row for each digest."
            )
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
    return rows, {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _raw(digest: str) -> bytes:
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        raw = b""
    # Only the one spelling that a shard gives back is found again.
    if raw.hex() != digest or len(raw) != _DIGEST_BYTES:
        raise InvalidDataError(
            f"Digest {digest!r} is no SHA-256 in {2 * _DIGEST_BYTES} lower-case hexadecimals."
        )
    return raw


def write_shard(folder: Path, digests: np.ndarray, tensors: Mapping[str, np.ndarray]) -> None:
    """Write one shard into a new folder that no reader looks into yet.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    folder.mkdir()
    for name, tensor in tensors.items():
        np.save(folder / f"{name}.npy", tensor, allow_pickle=False)
    np.save(folder / f"{_DIGESTS}.npy", digests, allow_pickle=False)
    (folder / _SUMS).write_text(json.dumps(_sums(folder)))


def _sums(folder: Path) -> dict[str, int]:
    """Return the CRC-32 of each file of a shard."""
    sums = {}
    for path in folder.glob("*.npy"):
        if _NAME.fullmatch(path.stem):
            sums[path.name] = 0
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    sums[path.name] = zlib.crc32(block, sums[path.name])
    return sums


def used_at(folder: Path) -> float:
    """Return when a shard was last touched, in seconds since 1970; 0 where it is damaged."""
    try:
        return (folder / f"{_DIGESTS}.npy").stat().st_mtime
    except OSError:
        return 0.0
