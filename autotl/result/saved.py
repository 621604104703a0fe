"""Write and read tensors and JSON: the only things autotl stores. No pickle."""

import json
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from autotl.errors import InvalidDataError, ModelFormatError
from autotl.specs import SavedState


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented; NaN and infinity become null."""
    text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ModelFormatError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFormatError(
            f"{str(path)!r} does not exist; expected a folder that autotl wrote. "
            "Give the run folder, or the folder that was passed to save()."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelFormatError(
            f"{str(path)!r} cannot be read as JSON ({error}); the folder is damaged. "
            "Restore it, or run the search again."
        ) from error


def plain(value: Any) -> Any:
    """Return a value made of what JSON knows; NumPy scalars and arrays are converted."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def write_state(folder: Path, name: str, state: SavedState) -> None:
    """Write `name.safetensors` and `name.json` into a folder, the JSON last."""
    import torch
    from safetensors.torch import save_file

    tensors = {k: torch.as_tensor(v).contiguous() for k, v in state.tensors.items()}
    temporary = folder / f".{name}.safetensors.{os.getpid()}"
    save_file(tensors, str(temporary))
    temporary.replace(folder / f"{name}.safetensors")
    write_json(folder / f"{name}.json", dict(state.config))


def read_state(folder: Path, name: str) -> SavedState:
    """Read what `write_state` wrote.

    Raises:
        ModelFormatError: A file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(folder / f"{name}.json")
    path = folder / f"{name}.safetensors"
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelFormatError(
            f"{str(path)!r} cannot be read as safetensors ({error}); the model is damaged. "
            "Restore the folder, or run the search again."
        ) from error
    return SavedState(tensors=tensors, config=config)


def encode_label(label: Hashable) -> Any:
    """Return a label as JSON that `decode_label` turns back into the same label.

    Raises:
        InvalidDataError: The label is neither str, number, bool nor a tuple of these.
    """
    if isinstance(label, str | int | float | bool):
        return label
    if isinstance(label, tuple):
        return {"tuple": [encode_label(part) for part in label]}
    raise InvalidDataError(
        f"Label {label!r} of type {type(label).__name__} cannot be saved as JSON; expected str, "
        "int, float, bool or tuples of these. Convert the labels before fitting."
    )


def decode_label(stored: Any) -> Hashable:
    """Return the label that `encode_label` stored."""
    if isinstance(stored, dict) and isinstance(stored.get("tuple"), list):
        return tuple(decode_label(part) for part in stored["tuple"])
    if not isinstance(stored, str | int | float | bool):
        raise ModelFormatError(
            f"{stored!r} is no label; expected str, number, bool or a tuple of these. "
            "The model is damaged; save it again."
        )
    return stored
