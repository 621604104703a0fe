"""Closed outlines from formulas: polygons, stars, flowers, filled or drawn as rings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator


@dataclass(frozen=True)
class Outline:
    """How a class of outlines bends.

    Args:
        n_corners: Corners of a polygon, or 0 for a circle.
        waves: Lobes of the first and of the second wave along the outline.
        depths: Heights of the waves, as shares of the radius.
        aspect: Width over height.
        sharp: Whether the first wave has corners.
        n_rings: Copies of the outline, one inside the other; 1 fills it.
    """

    n_corners: int
    waves: tuple[int, int]
    depths: tuple[float, float]
    aspect: float
    sharp: bool
    n_rings: int


def invent_outline(random: Generator) -> Outline:
    """Draw the parameters of one class."""
    corners = int(random.choice([0, 0, 3, 4, 5, 6, 8]))
    depths = random.uniform(0.0, 0.45) * (corners == 0 or random.random() < 0.4)
    return Outline(
        n_corners=corners,
        waves=(int(random.integers(2, 13)), int(random.integers(2, 25))),
        depths=(float(depths), float(random.uniform(0.0, 0.15) * (random.random() < 0.5))),
        aspect=float(random.choice([1.0, 1.0, 1.6, 2.4])),
        sharp=bool(random.random() < 0.4),
        n_rings=int(random.choice([1, 1, 1, 2, 4, 8])),
    )


def radius(outline: Outline, angle: np.ndarray, n: int, random: Generator) -> np.ndarray:
    """Return the outline's radius at angles of shape (n, ...), each row perturbed by itself."""
    shape = (n, *([1] * (angle.ndim - 1)))
    out = np.ones_like(angle)
    if outline.n_corners:
        sector = 2.0 * np.pi / outline.n_corners
        out = np.cos(sector / 2.0) / np.cos(np.mod(angle, sector) - sector / 2.0)
    for index, (lobes, depth) in enumerate(zip(outline.waves, outline.depths, strict=True)):
        phase = random.uniform(0.0, 2.0 * np.pi, shape)
        wave = np.sin(lobes * angle + phase)
        if index == 0 and outline.sharp:
            wave = 2.0 / np.pi * np.arcsin(wave)
        out = out * (1.0 + depth * random.uniform(0.8, 1.2, shape) * wave)
    return out


def draw(
    outline: Outline,
    n: int,
    side: int,
    random: Generator,
    size: tuple[float, float] = (0.55, 0.95),
) -> np.ndarray:
    """Return the coverage of n perturbed figures, of shape (n, side, side), from 0 to 1."""
    y, x = np.mgrid[:side, :side].astype(np.float32) * (2.0 / side) - 1.0
    x, y = (axis[None] - random.uniform(-0.2, 0.2, (n, 1, 1)) for axis in (x, y))
    turn = random.uniform(0.0, 2.0 * np.pi, (n, 1, 1))
    u = (x * np.cos(turn) + y * np.sin(turn)) / outline.aspect**0.5
    v = (y * np.cos(turn) - x * np.sin(turn)) * outline.aspect**0.5
    edge = radius(outline, np.arctan2(v, u), n, random) * random.uniform(*size, (n, 1, 1)) * 0.8
    inner = (edge - np.hypot(u, v)) / edge.mean((1, 2), keepdims=True)
    softness = side / 3.0
    filled = (inner * softness + 0.5).clip(0.0, 1.0)
    if outline.n_rings == 1:
        return filled.astype(np.float32)
    # Rings are stripes of the distance from the outline, relative to the radius.
    share = np.hypot(u, v) / np.maximum(edge, 1e-3)
    stripes = np.cos(np.pi * outline.n_rings * 2.0 * (share - 1.0))
    duty = random.uniform(-0.5, 0.6, (n, 1, 1))
    ringed = ((stripes - duty) * softness / outline.n_rings / 3.0 + 0.5).clip(0.0, 1.0)
    return (ringed * (share < 1.08)).astype(np.float32)
