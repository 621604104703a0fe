"""Read data that comes as arrays: `.npz` files and scikit-learn's bundled digits."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.raw import RawData
from autotl.errors import InvalidDataError, UnknownNameError

__all__ = ["read_npz", "read_sklearn"]

_LAYOUTS = (("x_train", "y_train", "x_test", "y_test"), ("x", "y", "x_holdout", "y_holdout"))
_WANTED = "'X' and 'y', or 'x_train', 'y_train', 'x_test' and 'y_test'"


def read_npz(path: Path, *, modality: str | None, require_labels: bool) -> RawData:
    """Read `X`/`y` or `x_train`/`y_train`/`x_test`/`y_test`, in upper or lower case.

    Raises:
        InvalidDataError: The file is damaged, holds Python objects or lacks the arrays.
    """
    names, arrays = _load(path)
    x_key, y_key, x_test, y_test = _layout(path, names, arrays, require_labels)
    X, y = arrays[x_key], arrays.get(y_key)
    held, y_held = arrays.get(x_test), arrays.get(y_test)
    if require_labels and y is None:
        raise InvalidDataError(
            f"{str(path)!r} holds {_listed(names)}, but no {y_key!r} with the labels. Add it: "
            "`numpy.savez(path, X=X, y=y)`."
        )
    if X.ndim == 0:
        raise InvalidDataError(
            f"{x_key!r} in {str(path)!r} is the single value {X.item()!r}. "
            "Expected an array with one sample for each entry of its first axis."
        )
    if not require_labels and held is not None and x_key != x_test:
        X, y, held, y_held = _join(X, y, held, y_held)
    return RawData(
        X=X,
        y=y,
        X_holdout=held if require_labels else None,
        y_holdout=y_held if require_labels and held is not None else None,
        modality=modality,
        ids=[f"X[{i}]" for i in range(len(X))],
    )


def _load(path: Path) -> tuple[list[str], dict[str, "np.ndarray[Any, Any]"]]:
    """Return the names of all arrays, and those that are understood by lower-case name."""
    if not zipfile.is_zipfile(path):
        raise InvalidDataError(
            f"{str(path)!r} is not an .npz file, or is cut short. Save it with "
            f"`numpy.savez(path, X=X, y=y)`; expected {_WANTED}."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            # Only what is understood is unpacked: another array may be huge or hold objects.
            wanted = {k for layout in _LAYOUTS for k in layout}
            return file.files, {k.lower(): file[k] for k in file.files if k.lower() in wanted}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidDataError(
            f"{str(path)!r} cannot be read: {str(error).rstrip('.')}. Arrays of Python objects "
            f"are refused, since they could run code; save numbers or texts as {_WANTED}."
        ) from error


def _layout(
    path: Path, names: list[str], arrays: dict[str, Any], require_labels: bool
) -> tuple[str, str, str, str]:
    for layout in _LAYOUTS:
        if layout[0] in arrays:
            return layout
    if not require_labels and "x_test" in arrays:
        return ("x_test", "y_test", "x_test", "y_test")
    raise InvalidDataError(f"{str(path)!r} holds {_listed(names)}. Expected {_WANTED}.")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "nothing"


def _join(X: Any, y: Any, held: Any, y_held: Any) -> tuple[Any, Any, None, None]:
    if X.shape[1:] != held.shape[1:]:
        raise InvalidDataError(
            f"The samples differ in shape: {X.shape[1:]} in the training part and "
            f"{held.shape[1:]} in the test part. Save the ones to predict as 'X'."
        )
    labels = None if y is None or y_held is None else np.concatenate([y, y_held])
    return np.concatenate([X, held]), labels, None, None


def read_sklearn(name: str) -> RawData:
    """Read a data set that scikit-learn installs with itself.

    Raises:
        UnknownNameError: There is none of this name here.
    """
    if name != "sklearn:digits":
        raise UnknownNameError(
            "data set", name, ["sklearn:digits"], "For files and folders give their path."
        )
    from sklearn.datasets import load_digits

    bunch = load_digits()
    ids = [f"X[{i}]" for i in range(len(bunch.target))]
    return RawData(X=bunch.images, y=bunch.target, modality="image", ids=ids)
