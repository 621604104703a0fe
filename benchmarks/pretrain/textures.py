"""Textures from formulas: filtered noise, waves, cells and overlapping patches, all in batches.

A field is an array of shape (n, side, side) with values from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator


def _unit(field: np.ndarray) -> np.ndarray:
    """Scale each field to 0..1, its extreme hundredths cut off."""
    flat = np.sort(field.reshape(len(field), -1), axis=1)
    cut = flat.shape[1] // 100
    low, high = flat[:, cut, None, None], flat[:, -1 - cut, None, None]
    out: np.ndarray = ((field - low) / np.maximum(high - low, 1e-6)).clip(0.0, 1.0)
    return out.astype(np.float32)


def frequencies(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vertical and horizontal frequencies of `rfft2`, in cycles per picture."""
    return np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None, :] * side


def noise(
    n: int, side: int, random: Generator, slope: float, angle: float = 0.0, stretch: float = 1.0
) -> np.ndarray:
    """Return noise whose amplitude falls as frequency ** -slope, drawn out along an angle."""
    fy, fx = frequencies(side)
    u = (fx * np.cos(angle) + fy * np.sin(angle)) * stretch
    v = fy * np.cos(angle) - fx * np.sin(angle)
    return _filtered(n, side, random, (1.0 + np.hypot(u, v)) ** -slope)


def band(
    n: int,
    side: int,
    random: Generator,
    frequency: float,
    width: float,
    angle: float | None = None,
    spread: float = 0.3,
) -> np.ndarray:
    """Return noise of one wavelength: labyrinths and spots, or streaks across an angle."""
    fy, fx = frequencies(side)
    radius = np.hypot(fx, fy)
    gain = np.exp(-0.5 * ((radius - frequency) / (width * frequency)) ** 2)
    if angle is not None:
        off = np.angle(np.exp(2j * (np.arctan2(fy, fx) - angle))) / 2.0
        gain = gain * np.exp(-0.5 * (off / spread) ** 2)
    return _filtered(n, side, random, gain)


def _filtered(n: int, side: int, random: Generator, gain: np.ndarray) -> np.ndarray:
    white = random.standard_normal((n, side, side), dtype=np.float32)
    return _unit(np.fft.irfft2(np.fft.rfft2(white) * gain, (side, side)))


def waves(
    n: int, side: int, random: Generator, frequency: float, angle: float, warp: float
) -> np.ndarray:
    """Return a grating of random phase, bent by smooth noise."""
    y, x = np.mgrid[:side, :side] / side
    along = x * np.cos(angle) + y * np.sin(angle)
    bend = (noise(n, side, random, 2.5) - 0.5) * warp
    phase = random.uniform(0.0, 1.0, (n, 1, 1))
    wave = 0.5 + 0.5 * np.sin(2.0 * np.pi * (frequency * along + phase + bend * frequency))
    return wave.astype(np.float32)


def cells(
    n: int, side: int, random: Generator, n_points: int, irregularity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to the nearest of n_points and to the border of its cell, repeated."""
    rows = max(1, round(n_points**0.5))
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(rows)), -1).reshape(-1, 2) + 0.5
    points = (grid + random.uniform(-0.5, 0.5, (n, rows**2, 2)) * irregularity) / rows
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side
    offset = np.abs(axis[None, None, :, None] - points[:, :, None, :].astype(np.float32))
    square = np.minimum(offset, 1.0 - offset) ** 2  # the plane repeats
    total = square[:, :, :, None, 1] + square[:, :, None, :, 0]
    two = np.sqrt(np.partition(total, 1, axis=1)[:, :2]) if rows > 1 else np.sqrt(total)
    return _unit(two[:, 0]), _unit(two[:, -1] - two[:, 0])


def patches(n: int, side: int, random: Generator, n_patches: int = 40) -> np.ndarray:
    """Return overlapping discs and half-planes of random shades, as in dead leaves."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    field = np.broadcast_to(random.random((n, 1, 1), dtype=np.float32), (n, side, side)).copy()
    for _ in range(n_patches):
        cx, cy, angle, shade = random.random((4, n, 1, 1), dtype=np.float32)
        radius = 0.05 + 0.4 * random.random((n, 1, 1), dtype=np.float32) ** 2.5
        dx, dy = x - cx, y - cy
        u = dx * np.cos(6.3 * angle) + dy * np.sin(6.3 * angle)
        v = dy * np.cos(6.3 * angle) - dx * np.sin(6.3 * angle)
        kind = random.random((n, 1, 1)) < 0.5
        inside = np.where(
            kind, np.hypot(u, v) < radius, np.maximum(np.abs(u), 2 * np.abs(v)) < radius
        )
        tone = shade + (u + v) * random.normal(0.0, 0.5, (n, 1, 1))
        field = np.where(inside, tone.astype(np.float32), field)
    return field.clip(0.0, 1.0)


def grounds(n: int, side: int, random: Generator) -> np.ndarray:
    """Return n grey backgrounds of all kinds, of shape (n, side, side), as uint8."""
    parts = []
    share = max(1, n // 40)
    while sum(map(len, parts)) < n:
        kind = random.integers(5)
        angle = random.uniform(0.0, np.pi)
        if kind == 0:
            field = noise(
                share, side, random, random.uniform(0.6, 2.5), angle, random.uniform(1, 5)
            )
        elif kind == 1:
            field = band(
                share, side, random, random.uniform(2, 12), random.uniform(0.1, 0.5), angle
            )
        elif kind == 2:
            field = waves(
                share, side, random, random.uniform(1, 10), angle, random.uniform(0, 0.6)
            )
        else:
            field = patches(share, side, random, int(random.integers(8, 40)))
            grain = noise(share, side, random, random.uniform(0.2, 1.5))
            field = field + (grain - 0.5) * random.uniform(0.0, 0.6, (share, 1, 1))
        low, high = np.sort(random.uniform(0.0, 1.0, (2, share, 1, 1)), axis=0)
        parts.append(low + (high - low) * field)
    return (np.concatenate(parts)[:n].clip(0.0, 1.0) * 255.0).astype(np.uint8)
