"""Read folders of images or texts: class folders, perhaps below a split level, or a flat one."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autotl.data.raw import RawData, SkippedSample
from autotl.errors import AmbiguousModalityError, InvalidDataError

__all__ = ["IMAGE_SUFFIXES", "SPLIT_WORDS", "TEXT_SUFFIX", "read_folder"]

IMAGE_SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

TEXT_SUFFIX = ".txt"

SPLIT_WORDS = {
    "train": "data",
    "training": "data",
    "val": "data",
    "valid": "data",
    "validation": "data",
    "dev": "data",
    "test": "holdout",
    "testing": "holdout",
    "holdout": "holdout",
}
"""What a split is called, and whether its samples are data to learn from or the holdout."""


_LOOSE = "lies in no class folder, so it has no label"


@dataclass
class _Found:
    """Files on the way to `RawData`, in the order of their paths."""

    paths: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def add(self, paths: list[Path], label: str) -> None:
        self.paths += paths
        self.labels += [label] * len(paths)


class _Walk:
    """Lists files of one modality below a folder and counts what else lies there."""

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self.others: Counter[str] = Counter()

    def files(self, folder: Path, *, nested: bool = True) -> list[Path]:
        found = []
        for path in _walk(folder, nested=nested):
            # A pipe or a broken link called x.jpg must not be opened later.
            if _modality_of(path.name) == self.modality and path.is_file():
                found.append(path)
            else:
                self.others[path.suffix.lower() or "no suffix"] += 1
        return found

    def notes(self) -> list[str]:
        if not self.others:
            return []
        kinds = ", ".join(f"{suffix}: {n}" for suffix, n in self.others.most_common(5))
        n, more = self.others.total(), ", ..." if len(self.others) > 5 else ""
        what = self.modality
        noun = f"file that is no {what}" if n == 1 else f"files that are no {what}s"
        return [f"Ignored {n} {noun} ({kinds}{more})."]


def read_folder(
    folder: Path, *, modality: str | None = None, require_labels: bool = True
) -> RawData:
    """Read images or `.txt` files and take the names of the class folders as labels.

    Args:
        folder: Holds class folders; or `train`, `val`, `test` folders that hold them; or, where
            labels are not required, just files.
        modality: "image" or "text" where the folder holds both.
        require_labels: False puts every file into `X`.

    Raises:
        InvalidDataError: There is no such file, or the labels cannot be told from the folders.
        AmbiguousModalityError: Both images and texts lie in the class folders.
    """
    walk = _Walk(modality or _find_modality(folder))
    loose = walk.files(folder, nested=False)
    classes = {sub.name: walk.files(sub) for sub in _subfolders(folder)}
    classes = {name: paths for name, paths in classes.items() if paths}
    if not loose and not classes:
        raise InvalidDataError(_no_files(folder, walk))
    if _is_split_level(folder, classes):
        data, held, unlabelled = _by_split(folder, classes, require_labels)
        loose += unlabelled
    else:
        data, held = _by_class(classes), _Found()
    if require_labels:
        _check_labelled(folder, data, held, loose, walk.modality)
    elif loose:
        data.paths, data.labels = sorted([*loose, *data.paths]), []
    return RawData(
        X=data.paths,
        y=data.labels or None,
        X_holdout=held.paths or None,
        y_holdout=held.labels or None,
        modality=walk.modality,
        ids=[str(p) for p in data.paths],
        skipped=[SkippedSample(str(p), _LOOSE) for p in loose if require_labels],
        notes=walk.notes(),
    )


def _walk(folder: Path, *, nested: bool = True) -> Iterator[Path]:
    for parent, directories, names in os.walk(folder):
        directories[:] = sorted(d for d in directories if nested and not _hidden(d))
        yield from (Path(parent, name) for name in sorted(names) if not _hidden(name))


def _modality_of(name: str) -> str | None:
    if name.lower().endswith(IMAGE_SUFFIXES):
        return "image"
    return "text" if name.lower().endswith(TEXT_SUFFIX) else None


def _find_modality(folder: Path) -> str:
    """Return the modality of the files; both count where both lie in two classes or more."""
    classes: dict[str, set[str]] = {"image": set(), "text": set()}
    counts: Counter[str] = Counter()
    for path in _walk(folder):
        modality = _modality_of(path.name)
        if modality is not None:
            counts[modality] += 1
            parents = path.relative_to(folder).parts[:-1]
            is_split = bool(parents) and parents[0].lower() in SPLIT_WORDS
            # A note beside the images of one class is no class of texts.
            classes[modality].update(parents[is_split : is_split + 1])
    several = [modality for modality, names in classes.items() if len(names) > 1]
    if len(several) > 1:
        raise AmbiguousModalityError(
            f"{str(folder)!r} holds {counts['image']} images and {counts['text']} texts in its "
            "class folders, and a search reads one of them. Decide with --modality image or "
            "--modality text."
        )
    if several:
        return several[0]
    return "text" if counts["text"] and not counts["image"] else "image"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name))


def _subfolder_names(folder: Path) -> list[str]:
    return [p.name for p in _subfolders(folder)] if folder.is_dir() else []


def _is_split_level(folder: Path, classes: dict[str, list[Path]]) -> bool:
    """Tell whether the first level is train/val/test; a mixture with other names is an error."""
    named = [n for n in classes if n.lower() in SPLIT_WORDS]
    if not named:
        return False
    others = [n for n in classes if n not in named]
    # A class may well be called "test" as long as it holds images and no folders.
    nested = [n for n in named if _subfolder_names(folder / n)]
    if others and nested:
        raise InvalidDataError(
            f"{str(folder)!r} holds the split {nested[0]!r} with class folders in it, and beside "
            f"it {', '.join(map(repr, others[:5]))}. Keep either classes or splits on one level: "
            f"move {others[0]!r} away, or give {str(folder / nested[0])!r}."
        )
    return not others


def _by_split(
    folder: Path, splits: dict[str, list[Path]], require_labels: bool
) -> tuple[_Found, _Found, list[Path]]:
    """Sort files into data, holdout and those that lie in no class folder."""
    data, held, loose = _Found(), _Found(), []
    for split, paths in splits.items():
        to_holdout = require_labels and SPLIT_WORDS[split.lower()] == "holdout"
        for path in paths:
            parts = path.relative_to(folder / split).parts
            if len(parts) == 1:
                loose.append(path)
            else:
                (held if to_holdout else data).add([path], parts[0])
    return data, held, loose


def _by_class(classes: dict[str, list[Path]]) -> _Found:
    found = _Found()
    for name, paths in classes.items():
        found.add(paths, name)
    return found


def _check_labelled(
    folder: Path, data: _Found, held: _Found, loose: list[Path], modality: str
) -> None:
    if not data.paths and not held.paths:
        raise InvalidDataError(
            f"{str(folder)!r} holds {len(loose)} {modality}s but no class folders, so they have "
            f"no labels. Put the {modality}s of each class into a folder named after it, or list "
            f"them in a CSV with a column {modality!r} and a column 'label'. Labelled ones of a "
            "similar domain may stand in for labels: --source DATA."
        )
    if not data.paths:
        raise InvalidDataError(
            f"{str(folder)!r} has labelled {modality}s in its test split only. Add a "
            "'train' folder with class folders in it, or give the folder that holds the classes."
        )
    names = sorted(set(data.labels))
    if len(names) > 1:
        return
    inner = folder / names[0]
    hint = f" Did you mean {str(inner)!r}?" if len(_subfolder_names(inner)) > 1 else ""
    raise InvalidDataError(
        f"{str(folder)!r} has {modality}s of one class only, {names[0]!r} "
        f"({len(data.paths)}). Expected one folder of {modality}s for each of at least two "
        f"classes.{hint}"
    )


def _no_files(folder: Path, walk: _Walk) -> str:
    message = f"There is no {walk.modality} in {str(folder)!r}"
    if not walk.others:
        return f"{message}: it is empty. Expected one folder of files for each class."
    kinds = ", ".join(_first(walk.others.elements(), 3))
    return (
        f"{message}; its files end in {kinds}. Images end in "
        f"{', '.join(IMAGE_SUFFIXES)}, texts in {TEXT_SUFFIX}; texts are read from CSV files too: "
        "give the path of one."
    )


def _first(items: Iterator[str], n: int) -> list[str]:
    return list(dict.fromkeys(items))[:n]
