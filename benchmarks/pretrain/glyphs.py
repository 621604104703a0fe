"""Train `embedded/glyphs` on characters: rendered from fonts, rewritten by hand, invented.

Command: `python benchmarks/pretrain/glyphs.py --out plugins/autotl_embedded/weights --seed 0`
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from characters import KINDS, Bank
from common import (
    WEIGHTS,
    ZOO,
    Classifier,
    Recipe,
    embed,
    probe,
    probe_digits,
    save_weights,
    sklearn_digits,
    source_accuracy,
    train,
    zoo_images,
)
from fingerprint import add_fingerprint
from textures import grounds
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.networks import NETWORKS
from autotl_embedded.preprocessing import preprocess, standardise_glyphs

WORK = Path("build/pretrain")
NETWORK = NETWORKS["glyphs"]
GLYPH_SIZE = NETWORK.n_pixels
# Rows of a batch of 256 by kind, in the order of `KINDS`.
_SHARES = (40, 64, 100, 52)
# Of a class's rows, the weight of the rendered and of the written ones.
_SOURCE_WEIGHTS = (0.35, 0.65)
# The sizes to which digits and common characters, and the others, are shrunk and enlarged again.
_COARSE = (8, 8, 8, 10, 12, 14, 18, 22, 26, GLYPH_SIZE, GLYPH_SIZE, GLYPH_SIZE)
_FINE = (16, 20, 24, 28, GLYPH_SIZE, GLYPH_SIZE, GLYPH_SIZE, GLYPH_SIZE)
# Pictures of a lower resolution are not laid over textures.
_TEXTURED_FROM = 20
_GROUND_SIZE = 48
# The share of the steps that see smaller pictures, at half the cost, and their size.
_SMALL_SHARE, _SMALL_SIZE = 0.55, 24
_N_HELD_CLASSES, _N_HELD_EACH = 200, 10


def load_bank(work: Path) -> Bank:
    """Build or read the bank of characters, the same for every seed of training."""
    return Bank.load(work / "characters.npz", seed=0)


def held_rows(bank: Bank) -> np.ndarray:
    """Choose up to ten rows of each digit and of 190 other classes, never trained on."""
    random = np.random.default_rng(1)
    counts = np.bincount(bank.labels, minlength=len(bank.kinds))
    others = np.flatnonzero((bank.kinds > 0) & (counts >= 2 * _N_HELD_EACH))
    digits = np.flatnonzero(bank.kinds == 0)
    classes = [*digits, *random.permutation(others)[: _N_HELD_CLASSES - len(digits)]]
    rows = [random.permutation(np.flatnonzero(bank.labels == c))[:_N_HELD_EACH] for c in classes]
    return np.sort(np.concatenate(rows))


def held_out(work: Path = WORK) -> tuple[Tensor, Tensor]:
    """Return 2,000 network inputs not trained on, of shape (n, 1, 32, 32), and labels."""
    bank = load_bank(work)
    rows = held_rows(bank)
    generator = torch.Generator().manual_seed(0)
    x = _warp(torch.from_numpy(bank.images[rows]).unsqueeze(1).float() / 255.0, generator)
    return standardise_glyphs(x), torch.from_numpy(bank.labels[rows])


class Sampler:
    """Draws rows of the bank, kind by kind, and turns them into network inputs.

    Args:
        bank: The characters.
        n_grounds: Textures to lay some characters over.
    """

    def __init__(self, bank: Bank, n_grounds: int = 1600) -> None:
        free = np.ones(len(bank.labels), bool)
        free[held_rows(bank)] = False
        self.images = torch.from_numpy(bank.images)
        self.labels = torch.from_numpy(bank.labels)
        per_cell = np.zeros((len(bank.kinds), len(_SOURCE_WEIGHTS)))
        np.add.at(per_cell, (bank.labels, bank.sources), free)
        weights = np.array(_SOURCE_WEIGHTS)[bank.sources]
        weights = free * weights / per_cell[bank.labels, bank.sources].clip(1)
        kinds = bank.kinds[bank.labels]
        self.rows = [torch.from_numpy(np.flatnonzero(kinds == k)) for k in range(len(KINDS))]
        self.edges = [torch.from_numpy(np.cumsum(weights[rows.numpy()])) for rows in self.rows]
        random = np.random.default_rng(2)
        self.grounds = torch.from_numpy(grounds(n_grounds, _GROUND_SIZE, random))

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a batch of inputs (256, 1, 32, 32) and labels (256,)."""
        parts = []
        for share, rows, edges in zip(_SHARES, self.rows, self.edges, strict=True):
            at = torch.rand(share, generator=generator, dtype=torch.float64) * edges[-1]
            parts.append(rows[torch.searchsorted(edges, at).clamp_max(len(rows) - 1)])
        chosen = torch.cat(parts)
        x = self.images[chosen].unsqueeze(1).float() / 255.0
        return self.augment(x, generator), self.labels[chosen]

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Turn bitmaps of shape (256, 1, 48, 48), ordered by kind, into network inputs."""
        x = _warp(_strokes(x, generator), generator)
        n_coarse = sum(_SHARES[:2])
        coarse, may_coarse = _shrink(x[:n_coarse], _COARSE, generator)
        fine, may_fine = _shrink(x[n_coarse:], _FINE, generator)
        x = _picture(torch.cat([coarse, fine]), generator)
        share = torch.cat([may_coarse * 0.75, may_fine * 0.2])
        textured = torch.rand(len(x), generator=generator) < share
        x[textured] = self._lay(x[textured], generator)
        inverted = torch.rand(len(x), generator=generator) < 0.06
        # Polarity is settled by `standardise_glyphs`; a few errors of it are trained on.
        x = standardise_glyphs(x)
        return torch.where(inverted.view(-1, 1, 1, 1), -x, x)

    def _lay(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Lay characters over textures by absolute difference."""
        n = len(x)
        which = torch.randint(0, len(self.grounds), (n,), generator=generator)
        top, left = torch.randint(
            0, _GROUND_SIZE - GLYPH_SIZE + 1, (2,), generator=generator
        ).tolist()
        window = self.grounds[which, top : top + GLYPH_SIZE, left : left + GLYPH_SIZE]
        ground = window.unsqueeze(1).float() / 255.0
        if torch.rand(1, generator=generator) < 0.5:
            ground = ground.transpose(2, 3)
        ink = _uniform(n, 0.6, 1.0, generator).view(-1, 1, 1, 1)
        return (ground - ink * x.clamp(0.0, 1.0)).abs()


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def _spread(x: Tensor) -> Tensor:
    """Return the largest value of each 3x3 neighbourhood; faster here than pooling."""
    for axis in (2, 3):
        inner = torch.maximum(
            x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, 0, x.shape[axis] - 1)
        )
        low, high = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        x = torch.maximum(torch.cat([low, inner], axis), torch.cat([inner, high], axis))
    return x


def _strokes(x: Tensor, generator: torch.Generator) -> Tensor:
    """Make some strokes thinner or thicker by up to two pixels of the 48."""
    x = x.clone()
    kind = torch.randint(0, 8, (len(x),), generator=generator)
    for rows in (torch.nonzero(kind < 2)[:, 0], torch.nonzero(kind == 0)[:, 0]):
        share = _uniform(len(rows), 0.3, 1.0, generator).view(-1, 1, 1, 1)
        x[rows] = torch.lerp(x[rows], _spread(x[rows]), share)
    rows = torch.nonzero(kind >= 6)[:, 0]
    thin = -_spread(-x[rows])
    # Eroding a thin stroke would erase it.
    erodible = thin.sum((1, 2, 3)) > 0.45 * x[rows].sum((1, 2, 3))
    share = _uniform(len(rows), 0.3, 1.0, generator) * erodible
    x[rows] = torch.lerp(x[rows], thin, share.view(-1, 1, 1, 1))
    return x


def _warp(x: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random affine map and a smooth random displacement, at 32x32."""
    n = len(x)
    angle = torch.randn(n, generator=generator) * 0.16
    shear = torch.randn(n, generator=generator) * 0.22
    # A scale of 2/3 lets the longer side fill the canvas, a larger one shrinks the glyph.
    size = 2.0 / 3.0 * torch.exp(_uniform(n, -0.12, 0.55, generator).square().mul(2.2) - 0.08)
    stretch = torch.exp(torch.randn(n, generator=generator) * 0.16)
    cos, sin = torch.cos(angle), torch.sin(angle)
    sx, sy = size * stretch, size / stretch
    top = torch.stack([cos * sx, (shear * cos - sin) * sy], 1)
    bottom = torch.stack([sin * sx, (shear * sin + cos) * sy], 1)
    shift = torch.randn(n, 2, 1, generator=generator) * 0.06
    theta = torch.cat([torch.stack([top, bottom], 1), shift], 2)
    grid = functional.affine_grid(theta, [n, 1, GLYPH_SIZE, GLYPH_SIZE], align_corners=False)
    knots = 3 + int(torch.randint(0, 4, (1,), generator=generator))
    noise = torch.randn(n, 2, knots, knots, generator=generator)
    amount = (_uniform(n, 0.0, 1.0, generator).square() * 0.14).view(-1, 1, 1, 1)
    field = functional.interpolate(
        noise, (GLYPH_SIZE, GLYPH_SIZE), mode="bicubic", align_corners=True
    )
    grid = grid + (field * amount).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=False)


def _shrink(
    x: Tensor, sizes: tuple[int, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Shrink parts of a batch to each size and enlarge them; tell which stayed fine."""
    order = torch.randperm(len(x), generator=generator)
    out, fine = torch.empty_like(x), torch.empty(len(x))
    for size, rows in zip(sizes, order.chunk(len(sizes)), strict=False):
        part = x[rows]
        if size != GLYPH_SIZE:
            small = functional.interpolate(part, (size, size), mode="area")
            part = functional.interpolate(small, (GLYPH_SIZE, GLYPH_SIZE), mode="bilinear")
        out[rows], fine[rows] = part, float(size >= _TEXTURED_FROM)
    return out, fine


def _picture(x: Tensor, generator: torch.Generator) -> Tensor:
    """Add contrast, a soft background and noise to some of the images."""
    n = len(x)
    level = torch.exp(torch.randn(n, 1, 1, 1, generator=generator) * 0.35)
    x = x.clamp(0.0, 1.0).pow(level)
    coarse = torch.rand(n, 1, 4, 4, generator=generator)
    ground = functional.interpolate(coarse, (GLYPH_SIZE, GLYPH_SIZE), mode="bilinear")
    share = (_uniform(n, -1.2, 0.6, generator).clamp_min(0.0)).view(-1, 1, 1, 1)
    x = x * (1.0 - share) + ground * share
    amount = _uniform(n, -0.2, 0.12, generator).clamp_min(0.0).view(-1, 1, 1, 1)
    return x + torch.randn(x.shape, generator=generator) * amount


def evaluate(net: nn.Module, zoo: Path, *, full: bool) -> str:
    """Describe the probes of a network on scikit-learn's digits and, if full, the zoo."""
    images, labels = sklearn_digits()
    scores = probe_digits(embed(net, preprocess(NETWORK, images)), labels)
    text = f"digits10 {np.mean(scores):.4f} [{min(scores):.3f}, {max(scores):.3f}]"
    names = ("omniglot100", "da_digits_mnist", "da_digits_usps", "da_digits_mnistm")
    for name in names if full and zoo.exists() else ():
        parts = []
        for split in ("train", "test"):
            pictures, y = zoo_images(zoo, name, split)
            parts += [embed(net, preprocess(NETWORK, pictures)), y]
        text += f" {name} {probe(*parts):.3f}"
    return text


def main() -> None:
    """Render, train, evaluate and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--minutes", type=float, default=60.0, help="end earlier than --steps")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    bank = load_bank(arguments.work)
    network = NETWORKS["glyphs"]
    if network.n_classes != len(bank.kinds):
        # Other fonts give other classes; the shipped head belongs to those in the README.
        print(f"{len(bank.kinds)} classes where the network lists {network.n_classes}")
        network = replace(network, n_classes=len(bank.kinds))
    print(f"{len(bank.labels)} pictures of {len(bank.kinds)} classes", flush=True)
    sampler = Sampler(bank)
    recipe = Recipe(
        n_steps=arguments.steps, limit_seconds=60.0 * arguments.minutes, report_every=500
    )

    def batches(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, labels = sampler.draw(generator)
        if step < _SMALL_SHARE * recipe.n_steps:
            x = functional.interpolate(x, (_SMALL_SIZE, _SMALL_SIZE), mode="area")
        return x, labels

    model = train(
        Classifier(network),
        batches,
        recipe,
        checkpoint=arguments.work / f"glyphs-{arguments.seed}.pt",
        seed=arguments.seed,
        report=lambda ema: evaluate(ema, arguments.zoo, full=False),
    )
    path = save_weights(model, arguments.out, "glyphs")
    inputs, held_labels = held_out(arguments.work)
    add_fingerprint(arguments.out, "glyphs", inputs, held_labels.numpy())
    accuracy = source_accuracy(model, inputs, held_labels)
    print(f"{path.stat().st_size} bytes, source {accuracy:.3f}", flush=True)
    print(evaluate(model.backbone, arguments.zoo, full=True))


if __name__ == "__main__":
    main()
