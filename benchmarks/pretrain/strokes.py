"""Strokes of a pen: traced from bitmaps, invented, redrawn by an unsteady hand.

A drawing is a list of strokes, each an array of points of shape (n_points, 2), x to the right
and y downwards, in a square from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

Drawing = list[np.ndarray]

_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))
# Pictures are drawn at twice the size that is asked for.
_OVERSAMPLING = 2


def trace(bitmap: np.ndarray, shortest: int = 4) -> Drawing:
    """Turn a bright character on dark, of shape (side, side), into strokes along its middle.

    Lines of the skeleton that meet in a junction and go straight on are one stroke. Spurs
    shorter than a few pixels are left out.
    """
    from skimage.morphology import skeletonize

    todo = {(int(y), int(x)) for y, x in np.argwhere(skeletonize(bitmap > 110))}
    lines = _split(todo)
    free = [line for line in lines if len(line) > shortest or len(lines) == 1]
    joined = _join([np.array(line, float) for line in free])
    return [(line[:, ::-1] + 0.5) / len(bitmap) for line in joined]


def _near(pixel: tuple[int, int], pixels: set[tuple[int, int]]) -> list[tuple[int, int]]:
    around = [(pixel[0] + dy, pixel[1] + dx) for dy, dx in _NEIGHBOURS]
    return [other for other in around if other in pixels]


def _split(pixels: set[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Walk a skeleton from its ends and junctions, each of which ends a line."""
    degree = {pixel: len(_near(pixel, pixels)) for pixel in pixels}
    nodes = {pixel for pixel, n in degree.items() if n != 2}
    todo = pixels - nodes
    lines = []
    for node in sorted(nodes):
        for start in _near(node, todo):
            if start not in todo:
                continue
            line = [node, start]
            todo.discard(start)
            while ahead := _near(line[-1], todo):
                line.append(ahead[0])
                todo.discard(ahead[0])
            ends = [p for p in _near(line[-1], nodes) if p != node or len(line) > 3]
            lines.append(line + ends[:1])
    while todo:  # closed curves have no node
        line = [todo.pop()]
        while ahead := _near(line[-1], todo):
            line.append(ahead[0])
            todo.discard(ahead[0])
        lines.append([*line, line[0]])
    return lines


def _join(lines: Drawing) -> Drawing:
    """Join lines whose ends are close and whose directions agree, straightest first."""
    lines = list(lines)
    while True:
        best, pair = -0.55, None
        ends = [(i, side) for i in range(len(lines)) for side in (0, -1)]
        for a, (i, side) in enumerate(ends):
            for j, other in ends[a + 1 :]:
                if i == j or np.abs(lines[i][side] - lines[j][other]).max() > 3:
                    continue
                cosine = float(_leaving(lines[i], side) @ _leaving(lines[j], other))
                if cosine < best:
                    best, pair = cosine, (i, side, j, other)
        if pair is None:
            return lines
        i, side, j, other = pair
        first = lines[i] if side == -1 else lines[i][::-1]
        second = lines[j] if other == 0 else lines[j][::-1]
        kept = [line for k, line in enumerate(lines) if k not in (i, j)]
        lines = [*kept, np.concatenate([first, second])]


def _leaving(line: np.ndarray, side: int) -> np.ndarray:
    """Return the unit vector that points into a line from one of its ends."""
    inner = line[min(6, len(line) - 1)] if side == 0 else line[max(-7, -len(line))]
    vector = inner - line[side]
    unit: np.ndarray = vector / max(1e-6, float(np.hypot(*vector)))
    return unit


def invent(random: Generator) -> Drawing:
    """Invent a character of one to four strokes, most of which touch an earlier one."""
    drawing: Drawing = []
    for _ in range(int(random.choice([1, 2, 3, 4], p=[0.2, 0.35, 0.3, 0.15]))):
        stroke = _invent_stroke(random)
        if drawing and random.random() < 0.75:
            other = drawing[int(random.integers(len(drawing)))]
            place = other[int(random.choice([0, len(other) // 2, len(other) - 1]))]
            own = stroke[int(random.choice([0, len(stroke) // 2, len(stroke) - 1]))]
            stroke = stroke + place - own
        drawing.append(stroke)
    return fit(drawing)


def _invent_stroke(random: Generator) -> np.ndarray:
    """Return a line, a bent line, an arc, a wave, a hook or a spiral."""
    t = np.linspace(0.0, 1.0, 24)[:, None]
    kind = random.integers(6)
    angle = random.integers(8) * np.pi / 4 + random.normal() * 0.15
    along = np.array([[np.cos(angle), np.sin(angle)]])
    across = along[:, ::-1] * np.array([[-1.0, 1.0]])
    length = random.uniform(0.25, 0.8)
    if kind == 0:
        return along * t * length
    if kind == 1:
        turn = np.where(t < 0.5, t, 1.0 - t) * random.uniform(0.4, 2.0)
        return (along * t + across * turn * random.choice([-1.0, 1.0])) * length
    if kind == 2 or kind == 3:
        sweep = random.uniform(0.5, 2.1) * np.pi * random.choice([-1.0, 1.0])
        shrink = 1.0 - t * (random.uniform(0.3, 0.8) if kind == 3 else 0.0)
        around = angle + sweep * t
        circle = np.concatenate([np.cos(around), np.sin(around) * random.uniform(0.6, 1.4)], 1)
        return circle * shrink * length * 0.5
    if kind == 4:
        wave = np.sin(t * np.pi * random.integers(2, 6)) * random.uniform(0.1, 0.3)
        return (along * t + across * wave) * length
    knots = np.cumsum(random.normal(0.0, 0.3, (int(random.integers(3, 6)), 2)), 0)
    return through(knots, 24)


def fit(drawing: Drawing, margin: float = 0.06) -> Drawing:
    """Move and scale a drawing so that it fills the square, its proportions kept."""
    points = np.concatenate(drawing)
    low, high = points.min(0), points.max(0)
    scale = (1.0 - 2.0 * margin) / max(1e-3, float((high - low).max()))
    return [(stroke - (low + high) / 2.0) * scale + 0.5 for stroke in drawing]


def through(knots: np.ndarray, n: int = 48) -> np.ndarray:
    """Return n points on the smooth curve through knots (Catmull-Rom)."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    position = np.linspace(0.0, len(knots) - 1.0, n)
    index = np.minimum(position.astype(int), len(knots) - 2)
    t = (position - index)[:, None]
    p0, p1, p2, p3 = (padded[index + k] for k in range(4))
    cubic = (3.0 * (p1 - p2) + p3 - p0) * t + 2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3
    return 0.5 * ((cubic * t + p2 - p0) * t + 2.0 * p1)


def resample(stroke: np.ndarray, n: int) -> np.ndarray:
    """Return n points at equal distances along a stroke."""
    steps = np.hypot(*np.diff(stroke, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, at[-1], n)
    return np.stack([np.interp(wanted, at, stroke[:, axis]) for axis in (0, 1)], 1)


def rewrite(drawing: Drawing, random: Generator, looseness: float = 1.0) -> Drawing:
    """Draw the strokes again as another hand would, with jitter, tremor and gaps."""
    amount = looseness * random.uniform(0.4, 1.3)
    bend = np.eye(2) + random.normal(0.0, 0.08 * amount, (2, 2))
    out: Drawing = []
    for stroke in drawing:
        length = float(np.hypot(*np.diff(stroke, axis=0).T).sum())
        n_knots = max(3, min(14, round(length / 0.13)))
        knots = resample(stroke, n_knots)
        knots = knots + random.normal(0.0, 0.02 * amount, knots.shape)
        centre = knots.mean(0)
        own = np.eye(2) + random.normal(0.0, 0.05 * amount, (2, 2))
        knots = (knots - centre) @ own + centre + random.normal(0.0, 0.02 * amount, 2)
        # The pen lands early or late, and leaves so.
        for end, inner in ((0, 1), (-1, -2)):
            reach = random.normal(0.05, 0.18) * amount
            knots[end] += (knots[end] - knots[inner]) * reach
        line = through(knots, max(8, round(length * 26)))
        line = line + random.normal(0.0, 0.005 * amount, line.shape)
        if random.random() < 0.05 and len(line) > 12:
            gap = int(random.integers(3, len(line) - 4))
            out += [line[: gap - 1] @ bend, line[gap + 2 :] @ bend]
        else:
            out.append(line @ bend)
    return fit(out, margin=0.0)


def ink(drawing: Drawing, random: Generator, canvas: int, longer_side: int) -> np.ndarray:
    """Draw strokes with a round pen of random and varying width; shape (canvas, canvas)."""
    side = canvas * _OVERSAMPLING
    width = longer_side * _OVERSAMPLING * np.exp(random.uniform(np.log(0.03), np.log(0.15)))
    span = longer_side * _OVERSAMPLING - width
    image = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(image)
    pressure = random.uniform(0.0, 0.35) if random.random() < 0.5 else 0.0
    for stroke in drawing:
        points = (stroke - 0.5) * span + side / 2.0
        swell = 1.0 + pressure * np.sin(np.linspace(0.0, 6.0, len(points)) + random.uniform(0, 6))
        _draw(pen, points, width * swell if pressure else np.full(len(points), width))
    if random.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2.0)))
    return np.asarray(image.resize((canvas, canvas), Image.Resampling.BOX))


def _draw(pen: ImageDraw.ImageDraw, points: np.ndarray, widths: np.ndarray) -> None:
    """Draw segments and, at their ends where it shows, discs."""
    for (x, y), width in zip(points, widths, strict=True):
        r = width / 2.0
        if r < 1.5:
            break
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    for start, end, width in zip(points, points[1:], widths, strict=False):
        pen.line((*start, *end), fill=255, width=max(1, round(width)))
