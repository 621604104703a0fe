"""Decide which columns of a table hold samples, labels and splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from autotl.data.folders import IMAGE_SUFFIXES, SPLIT_WORDS
from autotl.errors import AmbiguousModalityError, InvalidDataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "IMAGE_NAMES",
    "LABEL_NAMES",
    "TEXT_NAMES",
    "ChosenColumns",
    "Columns",
    "choose_columns",
]

LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "intent")
TEXT_NAMES = ("text", "texts", "sentence", "content", "review", "message", "comment", "tweet")
IMAGE_NAMES = (
    "image",
    "images",
    "img",
    "image_path",
    "path",
    "filepath",
    "filename",
    "file_name",
    "file",
)
_SPLIT_NAMES = ("split", "subset", "partition")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns that the user named; None leaves one open.

    Args:
        text: Holds the texts.
        label: Holds the labels.
        split: Tells train from test rows.
        image: Holds image paths.
        groups: Equal values keep rows on one side of every split.
    """

    text: str | None = None
    label: str | None = None
    split: str | None = None
    image: str | None = None
    groups: str | None = None

    def given(self) -> Iterator[tuple[str, str]]:
        """Yield (flag, column) for those that were named."""
        for flag in ("text", "label", "split", "image", "groups"):
            value = getattr(self, flag)
            if value is not None:
                yield flag, value


@dataclass(frozen=True, kw_only=True)
class ChosenColumns:
    """Columns to read.

    Args:
        modality: "image" or "text".
        sample: Holds the paths or texts.
        label: Holds the labels, or None.
        split: Tells train from test rows, or None.
        notes: What the user should know about the choice.
    """

    modality: str
    sample: str
    label: str | None
    split: str | None
    notes: list[str] = field(default_factory=list)

    def columns(self) -> dict[str, str]:
        """Return the columns by flag, leaving out what there is not."""
        named = {self.modality: self.sample, "label": self.label, "split": self.split}
        return {flag: column for flag, column in named.items() if column is not None}


def choose_columns(
    frame: "pd.DataFrame",
    asked: Columns,
    source: str,
    modality: str | None,
    require_labels: bool,
    images: Sequence[str] = (),
) -> ChosenColumns:
    """Take the named columns and guess the others where only one can be meant.

    Args:
        frame: Cells as text.
        asked: Columns that the user named.
        source: What the table is called in messages.
        modality: "image" or "text" where the user said so.
        require_labels: Whether there must be a column of labels.
        images: Columns beside those of `frame` that hold images themselves.

    Raises:
        InvalidDataError: A named column is missing, or a guess would be a gamble; the message
            lists the columns and names the flag that decides.
        AmbiguousModalityError: Both texts and images are possible.
    """
    return _Chooser(frame, asked, source, require_labels, images).choose(modality)


class _Chooser:
    def __init__(
        self,
        frame: "pd.DataFrame",
        asked: Columns,
        source: str,
        require_labels: bool,
        images: Sequence[str],
    ) -> None:
        self.frame, self.asked, self.source = frame, asked, source
        self.require_labels, self.images = require_labels, list(images)
        self.notes: list[str] = []
        # A column without a name is the index that pandas writes.
        self.names = [str(c) for c in frame.columns if not str(c).startswith("Unnamed: ")]

    def choose(self, modality: str | None) -> ChosenColumns:
        self._check_asked(modality)
        split = self.asked.split or self._guess_split()
        label = self.asked.label or self._named(LABEL_NAMES)
        taken = {c for c in (split, label, self.asked.groups) if c}
        modality, sample = self._sample(modality, taken)
        if label is None:
            label = self._guess_label(taken | {sample})
        if sample in (label, split):
            self._fail(f"Column {sample!r} cannot hold the samples and the labels or splits too.")
        return ChosenColumns(
            modality=modality, sample=sample, label=label, split=split, notes=self.notes
        )

    def _check_asked(self, modality: str | None) -> None:
        for flag, column in self.asked.given():
            if column in self.images and flag != "image":
                self._fail(f"Column {column!r} holds images and cannot serve as --{flag}.")
            if column not in self.frame.columns and column not in self.images:
                self._fail(f"There is no column {column!r} (--{flag}).")
        if self.asked.text and self.asked.image:
            raise AmbiguousModalityError(
                f"--text {self.asked.text!r} and --image {self.asked.image!r} are both given. "
                "A search reads one of them: leave the other out."
            )
        if modality not in (None, "image", "text"):
            raise InvalidDataError(
                f"A table holds 'text' or 'image' samples, not {modality!r}. "
                "Give one of these as --modality."
            )
        for flag, other in (("text", "image"), ("image", "text")):
            if getattr(self.asked, flag) and modality == other:
                raise InvalidDataError(
                    f"--{flag} {getattr(self.asked, flag)!r} contradicts --modality {other}. "
                    "Leave one of them out."
                )

    def _sample(self, modality: str | None, taken: set[str]) -> tuple[str, str]:
        if self.asked.text:
            return "text", self.asked.text
        if self.asked.image:
            return "image", self.asked.image
        free = [c for c in self.names if c not in taken]
        images = self._image_columns(free) if modality != "text" else []
        texts = self._text_columns(free, images) if modality != "image" else []
        found = [("image", c) for c in images] + [("text", c) for c in texts]
        if len(found) == 1:
            return found[0]
        if images and texts:
            raise AmbiguousModalityError(
                f"{self.source!r} could be images (column {images[0]!r}) or texts (column "
                f"{texts[0]!r}). Decide with --image {images[0]!r} or --text {texts[0]!r} "
                "(in Python: modality='image' or modality='text')."
            )
        flag = {"image": "--image", "text": "--text"}.get(modality or "", "--text or --image")
        which = ", ".join(repr(c) for _, c in found)
        problem = f"More than one column could hold the samples: {which}."
        if not found:
            problem = "No column is clearly the one that holds the samples."
        return self._fail(problem, f"Name it with {flag}.")

    def _image_columns(self, free: Sequence[str]) -> list[str]:
        # Beside the images themselves, a column of paths says where they came from.
        return self.images or [c for c in free if self._looks_like_images(c)]

    def _text_columns(self, free: Sequence[str], images: Sequence[str]) -> list[str]:
        rest = [c for c in free if c not in images]
        named = [c for c in rest if c.lower() in TEXT_NAMES]
        if named or images:
            return named
        # Without a telling name, only a column alone in holding words can be meant.
        unlikely = {c for c in rest if c.lower() in IMAGE_NAMES}
        return [c for c in rest if c not in unlikely and self._looks_like_words(c)]

    def _looks_like_images(self, column: str) -> bool:
        cells = [c.strip().lower() for c in self.frame[column].head(200) if c.strip()]
        n_images = sum(c.endswith(IMAGE_SUFFIXES) for c in cells)
        named = column.lower() in IMAGE_NAMES
        return bool(cells) and (n_images == len(cells) or (named and n_images > len(cells) / 2))

    def _looks_like_words(self, column: str) -> bool:
        cells = [c for c in self.frame[column].head(200) if c.strip()]
        return sum(any(x.isalpha() for x in c) for c in cells) > len(cells) / 2

    def _named(self, names: Sequence[str]) -> str | None:
        """Find the only column with one of these names; two of them are left to the user."""
        asked = {column for _, column in self.asked.given()}
        found = [c for c in self.names if c.lower() in names and c not in asked]
        return found[0] if len(found) == 1 else None

    def _guess_label(self, taken: set[str]) -> str | None:
        rest = [c for c in self.names if c not in taken and not self._numbers_rows(c)]
        if len(rest) == 1 and self.require_labels:
            return rest[0]
        if not self.require_labels:
            return None
        if not rest:
            self._fail("There is no column left for the labels.", "Add one, for example 'label'.")
        return self._fail("No column is clearly the one with the labels.", "Name it with --label.")

    def _numbers_rows(self, column: str) -> bool:
        named = column.lower() in ("id", "idx", "index", "uuid")
        return named or (len(self.frame) >= 10 and self.frame[column].is_unique)

    def _guess_split(self) -> str | None:
        column = self._named(_SPLIT_NAMES)
        if column is None or not self.require_labels:
            return None
        values = {c.strip().lower() for c in self.frame[column]}
        if values <= set(SPLIT_WORDS):
            return column
        unknown = min(values - set(SPLIT_WORDS))
        self.notes.append(
            f"Column {column!r} is not used as the split: it says {unknown!r}, and only "
            f"{', '.join(SPLIT_WORDS)} are known."
        )
        return None

    def _fail(self, problem: str, advice: str = "") -> NoReturn:
        listed = ", ".join(repr(c) for c in [*self.names, *self.images])
        raise InvalidDataError(
            f"{problem} {self.source!r} has the columns {listed}. {advice}".rstrip()
        )
