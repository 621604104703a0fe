"""Train `embedded/shapes` on pictures made by formulas, without any photograph.

Command: `python benchmarks/pretrain/shapes.py --out plugins/autotl_embedded/weights --seed 0`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import (
    WEIGHTS,
    ZOO,
    Classifier,
    Recipe,
    embed,
    probe,
    save_weights,
    source_accuracy,
    train,
    zoo_images,
)
from fingerprint import add_fingerprint
from pictures import invent_classes
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.networks import NETWORKS
from autotl_embedded.preprocessing import preprocess, standardise_natural

WORK = Path("build/pretrain")
SIDE = 72
NETWORK = NETWORKS["shapes"]
# Fractals, textures, figures.
_COUNTS = (170, 200, 130)
_N_EACH = 110
_N_HELD_EACH = 4
# Sizes of the crops that are trained on, each up to a share of the schedule.
_CROPS = ((0.55, 32), (1.0, 48))
_PROBES = ("dtd10", "cifar10_small", "trashnet6", "gtsrb43")


def draw_pictures(n_each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures of every class, of shape (n, 72, 72, 3), as uint8, and their labels.

    The classes are always the same; the seed perturbs the pictures.
    """
    classes = invent_classes(_COUNTS, np.random.default_rng(0))
    images = np.empty((len(classes) * n_each, SIDE, SIDE, 3), np.uint8)
    for label, made in enumerate(classes):
        drawn = made.draw(n_each, SIDE, np.random.default_rng([seed, label]))
        images[label * n_each : (label + 1) * n_each] = np.rint(drawn * 255.0)
    return images, np.repeat(np.arange(len(classes)), n_each)


def load_pictures(work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the pictures of training, drawn once, mapped into memory."""
    path = work / "shapes.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        images, _ = draw_pictures(_N_EACH, seed=1)
        np.save(path, images)
    return np.load(path, mmap_mode="r"), np.repeat(np.arange(sum(_COUNTS)), _N_EACH)


def held_out(n_each: int = _N_HELD_EACH) -> tuple[Tensor, Tensor]:
    """Return 2,000 network inputs from another seed, of shape (n, 3, 64, 64), and labels."""
    images, labels = draw_pictures(n_each, seed=2)
    edge = (SIDE - NETWORK.n_pixels) // 2
    middle = images[:, edge:-edge, edge:-edge]
    x = torch.from_numpy(middle).permute(0, 3, 1, 2).float() / 255.0
    return standardise_natural(x), torch.from_numpy(labels)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=generator) * (high - low) + low).view(-1, 1, 1, 1)


def _crop(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Cut a part of each picture, of any place, size and aspect, mirrored half of the time."""
    n = len(x)
    share = _uniform(n, 0.4, 1.0, generator).view(-1)
    aspect = torch.exp(torch.randn(n, generator=generator) * 0.12)
    wide, high = (share * aspect).clamp_max(1.0), (share / aspect).clamp_max(1.0)
    place = torch.rand(n, 2, generator=generator) * 2.0 - 1.0
    mirror = (torch.rand(n, generator=generator) < 0.5).float() * 2.0 - 1.0
    turn = torch.randn(n, generator=generator) * 0.1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = wide * mirror, turn * high
    theta[:, 1, 0], theta[:, 1, 1] = -turn * wide * mirror, high
    theta[:, 0, 2], theta[:, 1, 2] = place[:, 0] * (1.0 - wide), place[:, 1] * (1.0 - high)
    grid = functional.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _recolour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and the channels' gains; some become grey."""
    n = len(x)
    gain = torch.exp(torch.randn(n, 3, 1, 1, generator=generator) * 0.15)
    x = x * gain * _uniform(n, 0.6, 1.4, generator)
    grey = x.mean(1, keepdim=True)
    share = _uniform(n, 0.4, 1.5, generator)
    share = torch.where(_uniform(n, 0.0, 1.0, generator) < 0.12, torch.zeros(()), share)
    x = grey + (x - grey) * share
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * _uniform(n, 0.5, 1.4, generator)).clamp(0.0, 1.0)


def _blur(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink a third of a batch and enlarge it again; add noise to another third."""
    size, third = x.shape[-1], len(x) // 3
    share = float(torch.rand(1, generator=generator)) * 0.5 + 0.4
    small = functional.interpolate(x[:third], scale_factor=share, mode="area")
    soft = functional.interpolate(small, (size, size), mode="bilinear")
    rough = x[third : 2 * third]
    amount = _uniform(len(rough), 0.0, 0.12, generator)
    rough = rough + torch.randn(rough.shape, generator=generator) * amount
    return torch.cat([soft, rough, x[2 * third :]])


def augment(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Turn pictures of shape (n, 3, 72, 72) in [0, 1] into inputs (n, 3, size, size)."""
    x = _recolour(_crop(x, size, generator), generator)
    return standardise_natural(_blur(x, generator))


def evaluate(net: nn.Module, zoo: Path, names: tuple[str, ...] = _PROBES) -> str:
    """Describe the probes of a network on image sets of the zoo."""
    scores = []
    for name in names if zoo.exists() else ():
        parts = []
        for split in ("train", "test"):
            pictures, y = zoo_images(zoo, name, split)
            parts += [embed(net, preprocess(NETWORK, pictures)), y]
        scores.append(f"{name} {probe(*parts, strength=0.01):.3f}")
    return " ".join(scores)


def main() -> None:
    """Draw, train, evaluate and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--minutes", type=float, default=240.0, help="end earlier than --steps")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    images, labels = load_pictures(arguments.work)
    print(f"{len(images)} pictures of {labels.max() + 1} classes", flush=True)
    recipe = Recipe(n_steps=arguments.steps, limit_seconds=60.0 * arguments.minutes)

    def batches(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        size = next(size for share, size in _CROPS if step < share * recipe.n_steps or share == 1)
        rows = torch.randint(0, len(images), (recipe.batch_size,), generator=generator).sort()[0]
        x = torch.from_numpy(images[rows.numpy()]).permute(0, 3, 1, 2).float() / 255.0
        order = torch.randperm(len(x), generator=generator)
        return augment(x[order], size, generator), torch.from_numpy(labels)[rows[order]]

    model = train(
        Classifier(NETWORK),
        batches,
        recipe,
        checkpoint=arguments.work / f"shapes-{arguments.seed}.pt",
        seed=arguments.seed,
    )
    path = save_weights(model, arguments.out, "shapes")
    inputs, held_labels = held_out()
    add_fingerprint(arguments.out, "shapes", inputs, held_labels.numpy())
    accuracy = source_accuracy(model, inputs, held_labels)
    print(f"{path.stat().st_size} bytes, source {accuracy:.3f}", flush=True)
    print(evaluate(model.backbone, arguments.zoo))


if __name__ == "__main__":
    main()
