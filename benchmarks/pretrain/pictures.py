"""The classes behind `embedded/shapes`: fractals, textures and outlines, drawn in colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import contours
import fractals
import numpy as np
import textures
from numpy.random import Generator


class PictureClass(Protocol):
    """One class of pictures."""

    def draw(self, n: int, side: int, random: Generator) -> np.ndarray:
        """Return n pictures of shape (n, side, side, 3), from 0 to 1."""
        ...


@dataclass(frozen=True)
class Palette:
    """Colours between which a class shades its pictures.

    Args:
        colours: Shape (n_colours, 3).
        loyal: How much of them every picture keeps; the rest of its colours is its own.
    """

    colours: np.ndarray
    loyal: float

    @classmethod
    def invent(cls, random: Generator, n_colours: int | None = None) -> Palette:
        """Draw colours, which half of the classes keep."""
        n = n_colours or int(random.integers(2, 5))
        return cls(_colours((n,), random), float(random.choice([0.0, 0.85])))

    def vary(self, n: int, random: Generator) -> np.ndarray:
        """Return n palettes of shape (n, n_colours, 3)."""
        own = _colours((n, len(self.colours)), random)
        return self.colours * self.loyal + own * (1.0 - self.loyal)


def _colours(shape: tuple[int, ...], random: Generator) -> np.ndarray:
    """Return colours of shape (*shape, 3), from grey to saturated."""
    pure = random.random((*shape, 3))
    grey = pure.mean(-1, keepdims=True)
    out: np.ndarray = grey + (pure - grey) * random.random((*shape, 1))
    return out


def shade(field: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Map a field (n, side, side) from 0 to 1 to the colours (n, n_colours, 3) in turn."""
    position = field.clip(0.0, 1.0) * (colours.shape[1] - 1)
    index = np.minimum(position.astype(np.int64), colours.shape[1] - 2)
    share = (position - index)[..., None].astype(np.float32)
    row = np.arange(len(field))[:, None, None]
    colours = colours.astype(np.float32)
    out: np.ndarray = colours[row, index] * (1.0 - share) + colours[row, index + 1] * share
    return out


@dataclass(frozen=True)
class Layer:
    """A kind of field with its parameters.

    Args:
        kind: One of noise, labyrinth, streaks, waves, cells, walls.
        frequency: Features across a picture.
        angle: Direction in radians.
        character: Slope, bandwidth, warp or irregularity, from 0 to 1.
    """

    kind: str
    frequency: float
    angle: float
    character: float

    @classmethod
    def invent(cls, random: Generator) -> Layer:
        """Draw one."""
        kinds = ("noise", "labyrinth", "streaks", "waves", "cells", "walls")
        return cls(
            str(random.choice(kinds)),
            float(2.5 * 6.0 ** random.random()),
            float(random.uniform(0.0, np.pi)),
            float(random.random()),
        )

    def field(self, n: int, side: int, random: Generator) -> np.ndarray:
        """Return n fields of shape (n, side, side), each perturbed with the others."""
        frequency = self.frequency * random.uniform(0.9, 1.1)
        angle = self.angle + random.normal(0.0, 0.08)
        c = self.character
        if self.kind == "noise":
            return textures.noise(n, side, random, 0.6 + 1.8 * c, angle, frequency / 2.5)
        if self.kind == "labyrinth":
            return textures.band(n, side, random, frequency, 0.1 + 0.4 * c)
        if self.kind == "streaks":
            return textures.band(n, side, random, frequency, 0.1 + 0.3 * c, angle)
        if self.kind == "waves":
            return textures.waves(n, side, random, frequency, angle, 0.5 * c**2)
        n_points = int(np.clip(frequency**2, 6, 90))
        near, walls = textures.cells(n, side, random, n_points, c)
        return near if self.kind == "cells" else walls


@dataclass(frozen=True)
class Texture:
    """One or two layers, combined, bent to a tone curve and coloured.

    Args:
        layers: The fields.
        rule: How two of them become one: mean, product, largest or mask.
        curve: What happens to the values: none, edges, ridges, steps or spots.
        palette: The colours.
    """

    layers: tuple[Layer, ...]
    rule: str
    curve: str
    palette: Palette

    @classmethod
    def invent(cls, random: Generator) -> Texture:
        """Draw one."""
        return cls(
            tuple(Layer.invent(random) for _ in range(int(random.integers(1, 3)))),
            str(random.choice(("mean", "product", "largest", "mask"))),
            str(random.choice(("none", "edges", "ridges", "steps", "spots"))),
            Palette.invent(random),
        )

    def field(self, n: int, side: int, random: Generator) -> np.ndarray:
        """Return the grey texture, of shape (n, side, side)."""
        fields = [layer.field(n, side, random) for layer in self.layers]
        first, last = fields[0], fields[-1]
        if self.rule == "product":
            first = first * (0.3 + 0.7 * last)
        elif self.rule == "largest":
            first = np.maximum(first, last)
        elif self.rule == "mask":
            first = np.where(last > 0.5, first, 0.25 + 0.5 * last)
        elif len(fields) == 2:
            first = 0.6 * first + 0.4 * last
        return self._bend(first)

    def _bend(self, field: np.ndarray) -> np.ndarray:
        if self.curve == "edges":
            return ((field - 0.5) * 8.0 + 0.5).clip(0.0, 1.0)
        if self.curve == "ridges":
            return np.abs(2.0 * field - 1.0)
        if self.curve == "steps":
            return np.floor(field * 3.999) / 3.0
        if self.curve == "spots":
            return ((field - 0.72) * 8.0).clip(0.0, 1.0)
        return field

    def draw(self, n: int, side: int, random: Generator) -> np.ndarray:
        """Return n pictures of shape (n, side, side, 3)."""
        halves = [(n + 1) // 2, n // 2]
        field = np.concatenate([self.field(k, side, random) for k in halves if k])
        return shade(field, self.palette.vary(n, random))


@dataclass(frozen=True)
class Fractal:
    """An iterated function system, each of whose maps has a colour.

    Args:
        system: Shape (4, 7), as from `fractals.systems`.
        palette: Four colours.
    """

    system: np.ndarray
    palette: Palette

    def draw(self, n: int, side: int, random: Generator) -> np.ndarray:
        """Return n pictures of shape (n, side, side, 3)."""
        chosen = fractals.relatives(np.repeat(self.system[None], n, 0), random)
        hits, colour = fractals.play(chosen, self.palette.vary(n, random), side, random)
        density = np.log1p(hits).astype(np.float32)
        level = density / density.max((1, 2), keepdims=True)
        opaque = level ** random.uniform(0.2, 0.8, (n, 1, 1))
        shine = 1.0 + random.uniform(-0.3, 0.8, (n, 1, 1)) * level
        ground = backgrounds(n, side, random)
        cover = opaque[..., None]
        out: np.ndarray = ground * (1.0 - cover) + cover * (colour * shine[..., None])
        return out.clip(0.0, 1.0)


@dataclass(frozen=True)
class Figure:
    """An outline in one texture before another."""

    outline: contours.Outline

    def draw(self, n: int, side: int, random: Generator) -> np.ndarray:
        """Return n pictures of shape (n, side, side, 3)."""
        cover = contours.draw(self.outline, n, side, random)[..., None]
        out: np.ndarray = backgrounds(n, side, random) * (1.0 - cover)
        return out + cover * backgrounds(n, side, random)


def backgrounds(n: int, side: int, random: Generator) -> np.ndarray:
    """Return n plain, graded or textured backgrounds of shape (n, side, side, 3)."""
    field = Texture.invent(random).field(n, side, random)
    coarse = textures.noise(n, side, random, 2.5)
    kind = random.random((n, 1, 1))
    field = np.where(kind < 0.35, 0.0, np.where(kind < 0.6, coarse, field))
    return shade(field, _colours((n, int(random.integers(2, 4))), random))


def invent_classes(counts: tuple[int, int, int], random: Generator) -> list[PictureClass]:
    """Draw classes: so many fractals, textures and figures."""
    n_fractals, n_textures, n_figures = counts
    found: list[PictureClass] = [
        Fractal(system, Palette.invent(random, 4))
        for system in fractals.systems(n_fractals, random)
    ]
    found += [Texture.invent(random) for _ in range(n_textures)]
    found += [Figure(contours.invent_outline(random)) for _ in range(n_figures)]
    return found
