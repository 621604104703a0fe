"""The bank of characters behind `embedded/glyphs`: rendered, rewritten by hand, invented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from alphabets import COMMON, DIGITS, alphabets
from digits import manners
from fonts import Typeface, find_fonts
from numpy.random import Generator
from strokes import Drawing, ink, invent, rewrite, trace

# The longer side of a character fills two thirds of the canvas, which leaves room for warps.
CANVAS, LONGER_SIDE = 48, 32
KINDS = ("digits", "common", "rare", "invented")
SOURCES = ("rendered", "written")
N_INVENTED = 500
_WRITTEN_INVENTED = 16
_WRITTEN_MANNER = 60
# Of each kind of character: fonts that render it, fonts that are traced, copies of a tracing.
_PLAN = {"digits": (300, 40, 6), "common": (110, 12, 6), "rare": (8, 2, 5)}
# Characters whose rendered shapes have a higher cosine than this are one class.
_SAME_SHAPE = 0.965


@dataclass(frozen=True)
class Bank:
    """Bitmaps with their classes, and where each came from.

    Args:
        images: Shape (n, 48, 48), uint8, bright on dark.
        labels: Shape (n,).
        sources: Shape (n,), an index into `SOURCES`.
        kinds: Shape (n_classes,), an index into `KINDS`.
        names: What the characters of each class are, joined; shape (n_classes,).
    """

    images: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    kinds: np.ndarray
    names: np.ndarray

    @classmethod
    def load(cls, path: Path, seed: int) -> Bank:
        """Read the bank, which is built once."""
        if not path.exists():
            bank = build(seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **vars(bank))
        with np.load(path) as content:
            return cls(**{name: content[name] for name in content.files})


Row = tuple[np.ndarray, str, int]


def build(seed: int) -> Bank:
    """Render, trace, rewrite and invent characters, and merge those of the same shape."""
    random = np.random.default_rng(seed)
    kinds = dict.fromkeys(DIGITS, "digits")
    kinds |= dict.fromkeys(COMMON, "common")
    for letters in alphabets().values():
        kinds |= {letter: "rare" for letter in letters if letter not in kinds}
    rows = list(_from_fonts(kinds, random))
    rows += _digits(random)
    print(f"{len(rows)} pictures of {len(kinds)} characters", flush=True)
    classes = merge(rows, kinds)
    names = sorted(set(classes.values()), key=lambda name: (KINDS.index(kinds[name[0]]), name))
    number = {name: label for label, name in enumerate(names)}
    labels = [number[classes[character]] for _, character, _ in rows]
    invented = list(_invented(random))
    return Bank(
        images=np.stack([row[0] for row in rows] + [image for image, _ in invented]),
        labels=np.array(labels + [len(names) + label for _, label in invented]),
        sources=np.array([row[2] for row in rows] + [1] * len(invented), np.uint8),
        kinds=np.array([KINDS.index(kinds[name[0]]) for name in names] + [3] * N_INVENTED),
        names=np.array(names + [f"invented {i}" for i in range(N_INVENTED)]),
    )


def _from_fonts(kinds: dict[str, str], random: Generator) -> Iterator[Row]:
    """Render every character with some of the fonts that have it, and rewrite tracings."""
    paths = find_fonts()
    having: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        for character in Typeface(path).characters & kinds.keys():
            having.setdefault(character, []).append(index)
    chosen: dict[int, list[tuple[str, bool]]] = {}
    for character in sorted(having):
        n_rendered, n_traced, _ = _PLAN[kinds[character]]
        order = random.permutation(having[character])[:n_rendered]
        for rank, index in enumerate(order):
            chosen.setdefault(int(index), []).append((character, rank < n_traced))
    for index, characters in sorted(chosen.items()):
        typeface = Typeface(paths[index])
        for character, traced in characters:
            image = typeface.draw(character, CANVAS, LONGER_SIDE)
            if image is None:
                continue
            yield image, character, 0
            if traced:
                large = typeface.draw(character, 72, 64)
                drawing = trace(large) if large is not None else []
                for _ in range(_PLAN[kinds[character]][2]):
                    yield from _written(drawing, character, random)


def _written(drawing: Drawing, character: str, random: Generator) -> Iterator[Row]:
    if drawing:
        image = ink(rewrite(drawing, random), random, CANVAS, LONGER_SIDE)
        yield image, character, 1


def _digits(random: Generator) -> Iterator[Row]:
    """Write digits in the manners that people have."""
    for digit in DIGITS:
        for manner in manners(int(digit)):
            for _ in range(_WRITTEN_MANNER):
                yield from _written(manner, digit, random)


def _invented(random: Generator) -> Iterator[tuple[np.ndarray, int]]:
    for label in range(N_INVENTED):
        drawing = invent(random)
        for _ in range(_WRITTEN_INVENTED):
            yield ink(rewrite(drawing, random), random, CANVAS, LONGER_SIDE), label


def merge(rows: list[Row], kinds: dict[str, str]) -> dict[str, str]:
    """Map each character to its class: the characters whose mean renderings look the same."""
    from scipy.ndimage import gaussian_filter
    from scipy.sparse.csgraph import connected_components

    total: dict[str, np.ndarray] = {}
    for image, character, source in rows:
        if source == 0:
            total[character] = total.get(character, 0.0) + image.astype(np.float32)
    characters = sorted(total, key=lambda c: (KINDS.index(kinds[c]), c))
    means = np.stack([gaussian_filter(total[c], 1.0)[::2, ::2].ravel() for c in characters])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    same = means @ means.T > _SAME_SHAPE
    # Digits stay apart from each other; O and o join 0.
    digits = np.array([kinds[c] == "digits" for c in characters])
    same[np.ix_(digits, digits)] = False
    _, groups = connected_components(same, directed=False)
    names: dict[int, str] = {}
    for character, group in zip(characters, groups, strict=True):
        names[group] = names.get(group, "") + character
    return {c: names[g] for c, g in zip(characters, groups, strict=True)}
