"""Read Parquet files: texts, image paths and embedded images, one row a sample."""

import contextlib
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autotl.data.arrow import (
    class_names,
    encoded_image,
    holds_images,
    is_plain,
    text_frame,
    values,
)
from autotl.data.columns import Columns
from autotl.data.raw import RawData
from autotl.data.rows import Table
from autotl.errors import InvalidDataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Blobs", "read_parquet"]

_ROWS = 64  # rows of images that are in memory at once


class Blobs(Sequence[Any]):
    """Encoded images in an unnamed temporary file, so that they take no memory.

    A Parquet file is compressed in blocks of many rows; reading one row from it costs a block.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed as soon as nobody needs it
        weakref.finalize(self, _close, self._file)
        self._ends = array("q", [0])
        self._paths: dict[int, Path] = {}

    def append(self, image: bytes | Path | None) -> None:
        """Add encoded bytes, the path of a file, or None where there is no image."""
        if isinstance(image, Path):
            self._paths[len(self)] = image
        content = image if isinstance(image, bytes) else b""
        self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))

    def finish(self) -> "Blobs":
        """Write everything out, before the first is read."""
        self._file.flush()
        return self

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        """Read one image's bytes or path; several threads may do so at once."""
        row = range(len(self))[index]
        if isinstance(row, range):
            return [self[i] for i in row]
        if row in self._paths:
            return self._paths[row]
        start, end = self._ends[row], self._ends[row + 1]
        return os.pread(self._file.fileno(), end - start, start) or None


def read_parquet(
    path: Path, columns: Columns, *, modality: str | None, require_labels: bool
) -> RawData:
    """Read a Parquet file; embedded images stay encoded, outside of memory.

    Args:
        path: A `.parquet` file. Class names in the metadata of `datasets` become the labels.
        columns: Those that the user named; the others are guessed where only one can be meant.
        modality: "image" or "text" where the columns leave it open.
        require_labels: False keeps every row in `X`, in order, and lets labels be missing.

    Raises:
        InvalidDataError: The file or a column cannot be used.
        AmbiguousModalityError: Texts or images? The message names the flags.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Read in small pieces: the file may be larger than memory.
        file = pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
        schema = file.schema_arrow
        _check_columns(path, schema, columns)
        plain = file.read(columns=[f.name for f in schema if is_plain(f.type)])
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if not file.metadata.num_rows:
        raise InvalidDataError(
            f"{str(path)!r} has the columns {', '.join(map(repr, schema.names))} but no rows. "
            "Add one row a sample."
        )
    names = class_names(schema.metadata)
    images = [f.name for f in schema if holds_images(f.type)]
    table = Table(
        frame=text_frame(plain),
        source=str(path),
        folder=path.parent,
        values=lambda column: values(plain.column(column), names.get(column), column),
        images={name: partial(_blobs, path, file, name) for name in images},
    )
    return table.read(columns, modality=modality, require_labels=require_labels)


def _check_columns(path: Path, schema: "pa.Schema", columns: Columns) -> None:
    """Refuse what could run code, and named columns of kinds that hold neither text nor images."""
    import pyarrow as pa

    for field in schema:
        marks = field.metadata or {}
        extension = isinstance(field.type, pa.BaseExtensionType)
        name = field.type.extension_name if extension else ""
        name = name or marks.get(b"ARROW:extension:name", b"").decode("utf-8", "replace")
        if "py_extension" in name or "pickle" in name:
            raise InvalidDataError(
                f"Column {field.name!r} of {str(path)!r} holds pickled Python objects ({name}), "
                "which could run code and are refused. Write the table again without it."
            )
    for flag, column in columns.given():
        at = schema.get_field_index(column)
        kind = schema.field(at).type if at >= 0 else None
        if kind is not None and not is_plain(kind) and not holds_images(kind):
            raise InvalidDataError(
                f"Column {column!r} of {str(path)!r} (--{flag}) holds {kind}. Expected text, "
                "numbers, image paths or encoded images; name another column."
            )


def _blobs(path: Path, file: "pq.ParquetFile", column: str) -> Blobs:
    try:
        blobs = Blobs()
        for cell in _cells(path, file, column):
            blobs.append(encoded_image(cell, path.parent))
        return blobs.finish()
    except OSError as error:
        folder = repr(tempfile.tempdir) if tempfile.tempdir else "for temporary files"
        raise InvalidDataError(
            f"The images of {str(path)!r} cannot be written to the folder {folder}: "
            f"{error.strerror or error}. They need about {_n_bytes(file, column)} bytes there. "
            "Make room, or name another folder in the environment variable TMPDIR."
        ) from error


def _cells(path: Path, file: "pq.ParquetFile", column: str) -> Iterator[Any]:
    """Yield a column's cells.

    Raises:
        InvalidDataError: Part of the file is damaged.
    """
    import pyarrow as pa

    try:
        for batch in file.iter_batches(_ROWS, columns=[column]):
            yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _n_bytes(file: "pq.ParquetFile", column: str) -> int:
    """Return the size of a column without compression, as the file tells it."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema == column or chunk.path_in_schema.startswith(f"{column}.")
    )


def _unreadable(path: Path, error: Exception) -> InvalidDataError:
    return InvalidDataError(
        f"{str(path)!r} cannot be read as Parquet: {str(error).strip().rstrip('.')}. "
        "Write it again, for example with DataFrame.to_parquet."
    )


def _close(file: IO[bytes]) -> None:
    # On a full disk closing fails too; that it is full has been said by then.
    with contextlib.suppress(OSError):
        file.close()
