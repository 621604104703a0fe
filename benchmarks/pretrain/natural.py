"""Train `embedded/natural` on Tiny ImageNet at 64 pixels.

Command: `python benchmarks/pretrain/natural.py --out plugins/autotl_embedded/weights --seed 0`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import (
    WEIGHTS,
    ZOO,
    Recipe,
    classifier,
    embed,
    probe,
    probe_digits,
    save_weights,
    sklearn_digits,
    train,
    zoo_images,
)
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.convnet import ConvNet
from autotl_embedded.loading import NATURAL_ARCHITECTURE
from autotl_embedded.preprocessing import preprocess_natural, standardise_natural

SOURCE = "source_tinyimagenet"
N_CLASSES = 200
TRAIN_SIZE = 56
PROBES = ("cifar10_small", "clothing10", "trashnet6", "dtd10")


def images(zoo: Path, work: Path) -> tuple[Tensor, Tensor]:
    """Return uint8 images (n, 3, 64, 64) and labels (n,), decoded once."""
    cache = work / "natural.npz"
    if not cache.exists():
        work.mkdir(parents=True, exist_ok=True)
        pictures, labels = zoo_images(zoo, SOURCE, "train")
        pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
        np.savez(cache, pixels=pixels.transpose(0, 3, 1, 2), labels=labels)
    content = np.load(cache)
    return torch.from_numpy(content["pixels"]), torch.from_numpy(content["labels"])


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(n, generator=generator) * (high - low) + low
    return drawn.view(-1, 1, 1, 1)


def _crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a random box of 30 to 100 % of the area, flip it or not, resize it to 56x56."""
    n = len(x)
    side = _uniform(n, 0.30, 1.0, generator).sqrt().flatten()
    stretch = torch.exp(_uniform(n, -0.28, 0.28, generator)).flatten()
    width, height = (side * stretch).clamp_max(1.0), (side / stretch).clamp_max(1.0)
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    centre = torch.rand(2, n, generator=generator) * 2.0 - 1.0
    zero = torch.zeros(n)
    top = torch.stack([width * mirror, zero, centre[0] * (1.0 - width)], 1)
    bottom = torch.stack([zero, height, centre[1] * (1.0 - height)], 1)
    theta = torch.stack([top, bottom], 1)
    grid = functional.affine_grid(theta, [n, 3, TRAIN_SIZE, TRAIN_SIZE], align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _colour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation; make one image in ten grey."""
    n = len(x)
    grey = x.mean(1, keepdim=True)
    saturation = _uniform(n, 0.5, 1.5, generator)
    colourless = _uniform(n, 0.0, 1.0, generator) < 0.1
    x = grey + (x - grey) * torch.where(colourless, torch.zeros(()), saturation)
    mean = grey.mean((2, 3), keepdim=True)
    x = mean + (x - mean) * _uniform(n, 0.6, 1.4, generator)
    return (x * _uniform(n, 0.7, 1.3, generator)).clamp(0.0, 1.0)


def _soften(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink and enlarge the last fifth of a batch, as small images arrive in use."""
    n_soft = len(x) // 5
    size = int(torch.randint(20, 44, (1,), generator=generator))
    soft = functional.interpolate(x[-n_soft:], (size, size), mode="area")
    soft = functional.interpolate(soft, (TRAIN_SIZE, TRAIN_SIZE), mode="bilinear")
    return torch.cat([x[:-n_soft], soft])


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn images in [0, 1] of shape (n, 3, 64, 64) into network inputs (n, 3, 56, 56)."""
    return standardise_natural(_soften(_colour(_crop(x, generator), generator), generator))


def source_accuracy(model: nn.Sequential, zoo: Path) -> float:
    """Return the accuracy of backbone and linear layer on the held-out source images."""
    pictures, labels = zoo_images(zoo, SOURCE, "test")
    features = torch.from_numpy(embed(model[0], preprocess_natural(pictures)))
    with torch.inference_mode():
        predicted = model[1].cpu()(features).argmax(1).numpy()
    return float((predicted == labels).mean())


def evaluate(net: nn.Module, zoo: Path, names: tuple[str, ...] = PROBES) -> str:
    """Describe the probes of a network on the zoo and on scikit-learn's digits."""
    scores = []
    for name in names:
        parts = []
        for split in ("train", "test"):
            pictures, y = zoo_images(zoo, name, split)
            parts += [embed(net, preprocess_natural(pictures)), y]
        scores.append(probe(*parts))
    text = " ".join(f"{name} {score:.3f}" for name, score in zip(names, scores, strict=True))
    pictures, labels = sklearn_digits()
    digits = np.mean(probe_digits(embed(net, preprocess_natural(pictures)), labels))
    return f"{text} mean {np.mean(scores):.3f} digits10 {digits:.3f}"


def main() -> None:
    """Decode, train, evaluate and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--minutes", type=float, default=60.0, help="end earlier than --steps")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    pixels, labels = images(arguments.zoo, arguments.work)
    print(f"{len(pixels)} images of {N_CLASSES} classes", flush=True)
    recipe = Recipe(n_steps=arguments.steps, limit_seconds=60.0 * arguments.minutes)
    per_epoch = len(pixels) // recipe.batch_size

    def batches(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        epoch, position = divmod(step, per_epoch)
        shuffler = torch.Generator().manual_seed(arguments.seed * 7919 + epoch)
        order = torch.randperm(len(pixels), generator=shuffler)
        rows = order[position * recipe.batch_size : (position + 1) * recipe.batch_size]
        return augment(pixels[rows].float() / 255.0, generator), labels[rows]

    model = train(
        classifier(ConvNet(**NATURAL_ARCHITECTURE), N_CLASSES),
        batches,
        recipe,
        checkpoint=arguments.work / f"natural-{arguments.seed}.pt",
        seed=arguments.seed,
        report=lambda ema: evaluate(ema, arguments.zoo),
        report_every=1500,
    )
    path = save_weights(model, arguments.out, "natural")
    print(
        f"{path.name} {path.stat().st_size} bytes: {evaluate(model[0], arguments.zoo)} "
        f"source {source_accuracy(model, arguments.zoo):.3f}"
    )


if __name__ == "__main__":
    main()
