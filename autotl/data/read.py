"""Read a data source that is named on the command line: a folder, a file or a data set's name."""

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autotl.data.arrays import read_npz, read_sklearn
from autotl.data.folders import IMAGE_SUFFIXES, TEXT_SUFFIX, read_folder
from autotl.data.parquet import read_parquet
from autotl.data.raw import RawData, SkippedSample
from autotl.data.tables import Columns, read_table
from autotl.errors import InvalidDataError

__all__ = ["RawData", "SkippedSample", "read"]

_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def read(  # noqa: PLR0913  # one parameter for each flag of the command line
    source: str | Path,
    *,
    modality: str | None = None,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    image: str | None = None,
    groups: str | None = None,
    require_labels: bool = True,
) -> RawData:
    """Read samples and labels; images stay paths until they are turned into samples.

    Args:
        source: A folder of images or `.txt` files, a `.csv`, `.tsv` (also with `.gz`), `.parquet`
            or `.npz` file, one image or text, or "sklearn:digits".
        modality: "image" or "text" where the source leaves it open.
        text: Column of a table that holds the texts.
        label: Column that holds the labels.
        split: Column that says which rows are the holdout ("test", "holdout") and which are data
            ("train", "val", "validation", "dev").
        image: Column that holds images, or their paths relative to the table's folder.
        groups: Column whose equal values keep rows on one side of every split.
        require_labels: False reads data to predict: labels may be missing, and every sample goes
            to `X` in the order of the source, whatever its split.

    Raises:
        InvalidDataError: The source is missing, empty or not understood.
        AmbiguousModalityError: More than one reading is possible; the message names the flag.
        UnknownNameError: There is no such named data set.
    """
    columns = Columns(text=text, label=label, split=split, image=image, groups=groups)
    name = str(source)
    if name.startswith("sklearn:"):
        _refuse_columns(columns, name, "a named data set")
        return read_sklearn(name)
    path = Path(source).expanduser()
    if not path.exists():
        raise InvalidDataError(_missing(path))
    if path.is_dir():
        _refuse_columns(columns, name, "a folder")
        _refuse_modality(modality, name)
        return read_folder(path, modality=modality, require_labels=require_labels)
    reader = _file_reader(path, columns, modality, require_labels)
    if reader is None:
        raise InvalidDataError(
            f"{name!r} is not a kind of file that can be read here. Expected a folder of images "
            f"or texts, {', '.join(_TABLES)}, .parquet or .npz; convert it to one of these."
        )
    return reader()


def _file_reader(
    path: Path, columns: "Columns", modality: str | None, require_labels: bool
) -> Callable[[], RawData] | None:
    name = path.name.lower()
    if name.endswith(_TABLES):
        return partial(read_table, path, columns, modality=modality, require_labels=require_labels)
    if name.endswith(".parquet"):
        return partial(
            read_parquet, path, columns, modality=modality, require_labels=require_labels
        )
    if name.endswith(".npz"):
        _refuse_columns(columns, str(path), "an .npz file")
        return partial(read_npz, path, modality=modality, require_labels=require_labels)
    if name.endswith(IMAGE_SUFFIXES):
        _refuse_columns(columns, str(path), "an image")
        return partial(_one_file, path, "image", require_labels)
    if name.endswith(TEXT_SUFFIX):
        _refuse_columns(columns, str(path), "a text")
        return partial(_one_file, path, "text", require_labels)
    return None


def _one_file(path: Path, modality: str, require_labels: bool) -> RawData:
    if require_labels:
        raise InvalidDataError(
            f"{str(path)!r} is one {modality}, and a search needs labelled ones. "
            f"Give a folder with one folder of {modality}s for each class, or a CSV file."
        )
    return RawData(X=[path], modality=modality, ids=[str(path)])


def _refuse_columns(columns: "Columns", source: str, kind: str) -> None:
    for flag, value in columns.given():
        raise InvalidDataError(
            f"--{flag} {value!r} names a column, but {source!r} is {kind}. "
            f"Leave --{flag} out, or give a CSV file."
        )


def _refuse_modality(modality: str | None, source: str) -> None:
    if modality not in (None, "image", "text"):
        raise InvalidDataError(
            f"{source!r} is a folder, and folders hold images or texts, not {modality!r}. "
            "Give --modality image or --modality text, or leave it out."
        )


def _missing(path: Path) -> str:
    message = f"There is no file or folder {str(path)!r}."
    if not path.parent.is_dir():
        return f"{message} Not even its folder {str(path.parent)!r} exists; check the path."
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    if near:
        return f"{message} Did you mean {str(path.parent / near[0])!r}?"
    return (
        f"{message} Give a folder of images or texts, a CSV, Parquet or .npz file, or "
        f"'sklearn:digits'; relative paths start at {str(Path.cwd())!r}."
    )
