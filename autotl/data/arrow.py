"""Read Arrow columns: cells as text, labels as values, images as bytes or paths."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.data.labels import is_missing
from autotl.errors import InvalidDataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["class_names", "encoded_image", "holds_images", "is_plain", "text_frame", "values"]


def is_plain(kind: "pa.DataType") -> bool:
    """Tell whether a column holds one text, number or date a row."""
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if isinstance(inner, pa.BaseExtensionType) or pa.types.is_nested(inner):
        return False
    return not holds_images(inner)


def holds_images(kind: "pa.DataType") -> bool:
    """Tell whether a column can hold encoded images: binary, or a struct {bytes, path}."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        return "bytes" in names and holds_images(kind.field(names.index("bytes")).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def text_frame(table: "pa.Table") -> "pd.DataFrame":
    """Return the cells as text; missing ones are empty."""
    import pandas as pd

    cells = {
        name: ["" if v is None else str(v) for v in table.column(i).to_pylist()]
        for i, name in enumerate(table.column_names)
    }
    return pd.DataFrame(cells, index=range(table.num_rows), dtype=str)


def values(column: "pa.ChunkedArray", names: Sequence[str] | None, what: str) -> list[Any]:
    """Return labels as Python objects, by name where class names are known; missing ones None.

    Raises:
        InvalidDataError: There are class names, and a label is no number of one.
    """
    found = [None if is_missing(v) else v for v in column.to_pylist()]
    if names is None:
        return [None if isinstance(v, str) and not v.strip() else v for v in found]
    wrong = [v for v in found if v is not None and v not in range(-1, len(names))]
    if wrong:
        raise InvalidDataError(
            f"Column {what!r} holds the label {wrong[0]!r}, but its metadata name {len(names)} "
            f"classes, 0 to {len(names) - 1}. Write the data again with these numbers as labels "
            "and all their names."
        )
    # -1 is how data sets without labels are marked.
    return [None if v is None or v == -1 else names[int(v)] for v in found]


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the names of classes by column that `datasets` puts into a file's metadata."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        found = {c: f["names"] for c, f in features.items() if f.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):  # none, or of another make
        return {}
    return {
        column: names
        for column, names in found.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def encoded_image(cell: Any, folder: Path) -> bytes | Path | None:
    """Return an image's encoded bytes, else the path to it, else None."""
    if isinstance(cell, Mapping):
        path = cell.get("path")
        content: bytes | None = cell.get("bytes")
        return content or (folder / path if isinstance(path, str) and path.strip() else None)
    return cell or None
