"""Fractals of iterated function systems: a class is a system, its pictures are relatives of it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

_N_MAPS = 4
# Particles that wander at the same time, and the steps before the first one that is drawn.
_N_PARTICLES, _N_STEPS, _N_SKIPPED = 256, 56, 12
# The share of pixels that a system must reach to be taken.
_FILLED = 0.16


def systems(n: int, random: Generator) -> np.ndarray:
    """Invent systems of two to four affine maps whose pictures are not almost empty.

    Returns:
        Shape (n, 4, 7): the matrix, row by row, the shift and the weight of each map.
    """
    found: list[np.ndarray] = []
    while sum(map(len, found)) < n:
        new = _propose(4 * n, random)
        hits, _ = play(new, np.full((len(new), _N_MAPS, 3), 0.5), 32, random)
        filled = (hits > 0).mean((1, 2))
        found.append(new[filled > _FILLED])
    return np.concatenate(found)[:n]


def _propose(n: int, random: Generator) -> np.ndarray:
    """Draw maps as rotation, stretch, rotation; larger maps are visited more often."""
    first, second = random.uniform(0.0, 2.0 * np.pi, (2, n, _N_MAPS))
    large = random.uniform(0.3, 0.9, (n, _N_MAPS))
    small = large * random.uniform(0.15, 1.0, (n, _N_MAPS))
    flip = random.choice([-1.0, 1.0], (n, _N_MAPS))
    c1, s1, c2, s2 = np.cos(first), np.sin(first), np.cos(second), np.sin(second)
    matrix = np.stack(
        [
            large * c1 * c2 - small * flip * s1 * s2,
            -large * c1 * s2 - small * flip * s1 * c2,
            large * s1 * c2 + small * flip * c1 * s2,
            -large * s1 * s2 + small * flip * c1 * c2,
        ],
        -1,
    )
    shift = random.uniform(-1.0, 1.0, (n, _N_MAPS, 2))
    weight = large * small + 0.02
    # The first two maps are always there.
    weight[:, 2:] *= random.random((n, _N_MAPS - 2)) < 0.6
    weight = weight / weight.sum(1, keepdims=True)
    return np.concatenate([matrix, shift, weight[..., None]], -1)


def relatives(chosen: np.ndarray, random: Generator) -> np.ndarray:
    """Perturb every coefficient of systems a little; shape as given."""
    out = chosen.copy()
    out[..., :6] *= random.uniform(0.9, 1.1, out[..., :6].shape)
    return out


def play(
    chosen: np.ndarray, colours: np.ndarray, side: int, random: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Play the chaos game on many systems at once.

    Args:
        chosen: Shape (n, 4, 7), as from `systems`.
        colours: Shape (n, 4, 3): a particle takes on some of the colour of each map it passes.
        side: Pixels of a side of the pictures.
        random: Draws the maps.

    Returns:
        Visits of each pixel (n, side, side) and their mean colour (n, side, side, 3).
    """
    n = len(chosen)
    row = np.arange(n)[:, None]
    edges = np.cumsum(chosen[..., 6], 1)[:, None, :]
    point = random.uniform(-0.5, 0.5, (n, _N_PARTICLES, 2)).astype(np.float32)
    colour = np.full((n, _N_PARTICLES, 3), 0.5, np.float32)
    maps, tints = chosen[..., :6].astype(np.float32), colours.astype(np.float32)
    points, hues = [], []
    for step in range(_N_STEPS):
        draw = random.random((n, _N_PARTICLES, 1), dtype=np.float32)
        which = (draw > edges[..., :-1]).sum(-1)
        a = maps[row, which]
        x, y = point[..., 0], point[..., 1]
        point = np.stack(
            [a[..., 0] * x + a[..., 1] * y + a[..., 4], a[..., 2] * x + a[..., 3] * y + a[..., 5]],
            -1,
        )
        colour = 0.5 * (colour + tints[row, which])
        if step >= _N_SKIPPED:
            points.append(point)
            hues.append(colour)
    return _accumulate(np.concatenate(points, 1), np.concatenate(hues, 1), side)


def _accumulate(points: np.ndarray, hues: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Count points (n, n_points, 2) and average their colours in the pixels of a fitted frame."""
    n = len(points)
    low, high = np.percentile(points[:, ::8], [1.0, 99.0], axis=1)
    centre, half = (low + high)[:, None] / 2.0, (high - low).max(1)[:, None, None] * 0.54
    scaled = (points - centre) / np.maximum(half, 1e-6)
    pixel = ((scaled + 1.0) * (side / 2.0)).clip(-1, side).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < side)).all(-1)
    flat = (np.arange(n)[:, None] * side + pixel[..., 1]) * side + pixel[..., 0]
    flat = flat[inside]
    size = n * side * side
    hits = np.bincount(flat, minlength=size)
    mean = np.stack([np.bincount(flat, hues[..., k][inside], size) for k in range(3)], -1)
    mean /= np.maximum(hits, 1)[:, None]
    return hits.reshape(n, side, side), mean.reshape(n, side, side, 3).astype(np.float32)
