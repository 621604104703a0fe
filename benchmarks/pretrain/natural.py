"""Train `embedded/natural-small` or `-base` on Tiny ImageNet with an ImageNet-trained teacher.

Command: `python benchmarks/pretrain/natural.py --network natural-base --seed 0`
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
    device,
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
from imagenet_teacher import N_FEATURES, Teacher
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.networks import NETWORKS, Network
from autotl_embedded.preprocessing import preprocess, standardise_natural

SOURCE = "source_tinyimagenet"
N_VIEWS = 6
BATCH = 256
# Cycles of the learning rate: steps, its peak, and up to which share which size in pixels is seen.
# Small images are cheap; a second cycle at full size makes up for what they lack.
Cycle = tuple[int, float, tuple[tuple[float, int], ...]]
FIRST: Cycle = (2400, 4e-3, ((0.6, 40), (0.85, 48), (1.0, 56)))
CYCLES: dict[str, tuple[Cycle, ...]] = {
    "natural-small": ((1500, *FIRST[1:]),),
    "natural-base": (FIRST, (800, 2e-3, ((1.0, 64),))),
}
TEMPERATURE = 2.0
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


def held_out(zoo: Path, network: Network) -> tuple[Tensor, Tensor]:
    """Return network inputs and labels of the 2,000 source images that nothing is fitted on."""
    pictures, labels = zoo_images(zoo, SOURCE, "test")
    return preprocess(network, pictures), torch.from_numpy(labels)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(n, generator=generator) * (high - low) + low
    return drawn.view(-1, 1, 1, 1)


class Views:
    """Random boxes of 25 to 100 % of the area of each image, mirrored or not.

    There are few views of each image, so that the teacher sees each of them once.

    Args:
        n_samples: Images.
        seed: Of the boxes.
    """

    def __init__(self, n_samples: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed * 7919 + 17)
        self._theta = [self._draw(n_samples, generator) for _ in range(N_VIEWS)]

    @staticmethod
    def _draw(n: int, generator: torch.Generator) -> Tensor:
        side = _uniform(n, 0.25, 1.0, generator).sqrt().flatten()
        stretch = torch.exp(_uniform(n, -0.28, 0.28, generator)).flatten()
        width, height = (side * stretch).clamp_max(1.0), (side / stretch).clamp_max(1.0)
        mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
        centre = torch.rand(2, n, generator=generator) * 2.0 - 1.0
        zero = torch.zeros(n)
        top = torch.stack([width * mirror, zero, centre[0] * (1.0 - width)], 1)
        bottom = torch.stack([zero, height, centre[1] * (1.0 - height)], 1)
        return torch.stack([top, bottom], 1)

    def cut(self, view: int, x: Tensor, rows: Tensor | slice, size: int) -> Tensor:
        """Cut the boxes of one view out of images in [0, 1] and resize them."""
        theta = self._theta[view][rows]
        grid = functional.affine_grid(theta, [len(x), 3, size, size], align_corners=False)
        return functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _colour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation; make one image in seven grey."""
    n = len(x)
    grey = x.mean(1, keepdim=True)
    saturation = _uniform(n, 0.5, 1.5, generator)
    colourless = _uniform(n, 0.0, 1.0, generator) < 0.15
    x = grey + (x - grey) * torch.where(colourless, torch.zeros(()), saturation)
    mean = grey.mean((2, 3), keepdim=True)
    x = mean + (x - mean) * _uniform(n, 0.6, 1.4, generator)
    return (x * _uniform(n, 0.7, 1.3, generator)).clamp(0.0, 1.0)


def _soften(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink and enlarge the last fifth of a batch, as small images arrive in use."""
    n_soft, size = len(x) // 5, x.shape[-1]
    small = int(torch.randint(size * 2 // 5, size * 4 // 5, (1,), generator=generator))
    soft = functional.interpolate(x[-n_soft:], (small, small), mode="area")
    soft = functional.interpolate(soft, (size, size), mode="bilinear")
    return torch.cat([x[:-n_soft], soft])


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn views in [0, 1] into network inputs of the same shape."""
    return standardise_natural(_soften(_colour(x, generator), generator))


class Student(Classifier):
    """A classifier whose embeddings also foretell the teacher's, by one more linear layer.

    Args:
        network: What to build.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.to_teacher = nn.Linear(network.embed_dim, N_FEATURES)


class Distillation:
    """Cross-entropy on the labels, agreement with the teacher's embedding and its logits.

    Args:
        teacher: Gives logits from embeddings.
        mean: Of the teacher's embeddings, shape (768,).
    """

    def __init__(self, teacher: Teacher, mean: Tensor) -> None:
        self._teacher, self._mean = teacher, mean.to(device())

    def __call__(
        self, model: Student, inputs: Tensor, targets: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the accuracy on the source classes."""
        labels, wanted = targets
        embeddings = model.backbone(inputs)
        logits = model.head(embeddings).float()
        found = model.to_teacher(embeddings).float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
        # Embeddings of rectified channels share a large mean, which would hide the differences.
        angle = functional.cosine_similarity(found - self._mean, wanted - self._mean).mean()
        soft = functional.log_softmax(self._teacher.logits(wanted) / TEMPERATURE, 1)
        divergence = functional.kl_div(
            functional.log_softmax(self._predicted(found) / TEMPERATURE, 1),
            soft,
            reduction="batchmean",
            log_target=True,
        )
        right = (logits.argmax(1) == labels).float().mean()
        return 0.5 * loss + 2.0 * (1.0 - angle) + TEMPERATURE**2 * divergence, right

    def _predicted(self, embeddings: Tensor) -> Tensor:
        """Return the logits that the teacher's classifier gives the student's embeddings."""
        classifier = self._teacher.classifier
        return functional.linear(embeddings, classifier.weight.detach(), classifier.bias.detach())


class Batches:
    """Inputs with labels and the teacher's embeddings of the same views, epoch after epoch.

    Args:
        source: Images of `images` and their labels.
        views: What is cut out of them.
        wanted: The teacher's embeddings of each view, each of shape (n_samples, 768).
        cycle: Steps, peak rate and sizes, as in `CYCLES`.
        seed: Of the order.
    """

    def __init__(
        self,
        source: tuple[Tensor, Tensor],
        views: Views,
        wanted: list[Tensor],
        cycle: Cycle,
        seed: int,
    ) -> None:
        self._pixels, self._labels = source
        self._views, self._wanted, self._seed = views, wanted, seed
        self._n_steps, _, self._sizes = cycle

    def __call__(
        self, step: int, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the batch of a step."""
        epoch, position = divmod(step, len(self._pixels) // BATCH)
        shuffler = torch.Generator().manual_seed(self._seed * 7919 + epoch)
        order = torch.randperm(len(self._pixels), generator=shuffler)
        rows = order[position * BATCH : (position + 1) * BATCH]
        size = next(size for until, size in self._sizes if step <= until * self._n_steps)
        view = epoch % N_VIEWS
        x = self._views.cut(view, self._pixels[rows].float() / 255.0, rows, size)
        return augment(x, generator), (self._labels[rows], self._wanted[view][rows].float())


def evaluate(net: nn.Module, zoo: Path, network: Network) -> str:
    """Describe the probes of a network on the zoo and on scikit-learn's digits."""
    scores = []
    for name in PROBES:
        parts = []
        for split in ("train", "test"):
            pictures, y = zoo_images(zoo, name, split)
            parts += [embed(net, preprocess(network, pictures)), y]
        scores.append(probe(*parts))
    text = " ".join(f"{name} {score:.3f}" for name, score in zip(PROBES, scores, strict=True))
    pictures, labels = sklearn_digits()
    digits = np.mean(probe_digits(embed(net, preprocess(network, pictures)), labels))
    return f"{text} mean {np.mean(scores):.3f} digits10 {digits:.3f}"


def main() -> None:
    """Decode, ask the teacher, train, evaluate and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("natural-small", "natural-base"), required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=240.0, help="limit of each cycle")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = NETWORKS[arguments.network]
    pixels, labels = images(arguments.zoo, arguments.work)
    print(f"{len(pixels)} images", flush=True)
    teacher, views = Teacher(arguments.zoo, arguments.work), Views(len(pixels), seed=0)
    wanted = [
        torch.from_numpy(teacher.view(v, pixels, lambda x, r, s, v=v: views.cut(v, x, r, s)))
        for v in range(N_VIEWS)
    ]
    objective = Distillation(teacher, torch.cat(wanted).float().mean(0))
    model = Student(network)
    for number, cycle in enumerate(CYCLES[arguments.network]):
        n_steps, peak_rate, _ = cycle
        recipe = Recipe(
            n_steps=n_steps,
            limit_seconds=60.0 * arguments.minutes,
            batch_size=BATCH,
            peak_rate=peak_rate,
        )
        model = train(
            model,
            Batches((pixels, labels), views, wanted, cycle, arguments.seed),
            recipe,
            checkpoint=arguments.work / f"{arguments.network}-{arguments.seed}-{number}.pt",
            seed=arguments.seed + 100 * number,
            objective=objective,
            report=lambda ema: evaluate(ema, arguments.zoo, network),
        )
    path = save_weights(model, arguments.out, arguments.network)
    inputs, held_labels = held_out(arguments.zoo, network)
    add_fingerprint(arguments.out, arguments.network, inputs, held_labels.numpy())
    print(f"{path.stat().st_size} bytes, source {source_accuracy(model, inputs, held_labels):.3f}")
    print(evaluate(model.backbone, arguments.zoo, network))


if __name__ == "__main__":
    main()
