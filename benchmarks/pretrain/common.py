"""What the pretraining scripts share: the training loop, checkpoints, weights, probes."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from autotl_embedded.networks import Network  # noqa: E402  # found through the line above
from autotl_embedded.quantised import quantise  # noqa: E402

ZOO = ROOT.parent / "shared" / "zoo"
WEIGHTS = ROOT / "plugins" / "autotl_embedded" / "weights"

Batches = Callable[[int, torch.Generator], tuple[Tensor, Any]]
"""Maps a step number and a seeded generator to inputs and what the objective compares with."""

Objective = Callable[[Any, Tensor, Any], tuple[Tensor, Tensor]]
"""Maps a model, inputs and targets to a loss and the share of right answers."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast to train.

    Args:
        n_steps: Optimiser steps of the whole schedule.
        limit_seconds: Training time after which the schedule is compressed to end early.
        batch_size: Samples per step.
        peak_rate: Highest learning rate, reached after a tenth of the schedule.
        weight_decay: Decoupled decay of the weights that have two or more dimensions.
        ema: Decay of the averaged weights, which are the ones that are kept.
        report_every: Steps between two lines about the averaged backbone.
    """

    n_steps: int
    limit_seconds: float
    batch_size: int = 256
    peak_rate: float = 4e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    report_every: int = 1000


def device() -> torch.device:
    """Return the first GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rate_at(progress: float, peak: float) -> float:
    """Return a linear warm-up over the first tenth, then half a cosine down to zero."""
    if progress < 0.1:
        return peak * (0.05 + 0.95 * progress / 0.1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - 0.1) / 0.9)))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build AdamW without decay on biases and norms."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, recipe.peak_rate, weight_decay=recipe.weight_decay)


def _average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights one step towards the current ones."""
    with torch.no_grad():
        pairs = zip(ema.state_dict().values(), model.state_dict().values(), strict=True)
        for kept, new in pairs:
            if kept.is_floating_point():
                kept.lerp_(new, 1.0 - decay)
            else:
                kept.copy_(new)


class Classifier(nn.Module):
    """A backbone with a linear layer over its source classes.

    Args:
        network: What to build.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone = network.build()
        self.head = nn.Linear(network.embed_dim, network.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (n_samples, n_classes)."""
        logits: Tensor = self.head(self.backbone(x))
        return logits


def cross_entropy(model: Classifier, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with a tenth of label smoothing, and the accuracy."""
    logits = model(inputs).float()
    right = (logits.argmax(1) == labels).float().mean()
    return functional.cross_entropy(logits, labels, label_smoothing=0.1), right


def train(
    model: Classifier,
    batches: Batches,
    recipe: Recipe,
    *,
    checkpoint: Path,
    seed: int,
    objective: Objective = cross_entropy,
    report: Callable[[nn.Module], str] | None = None,
) -> Classifier:
    """Train backbone and linear layers and return their average over time.

    The checkpoint is written once a minute and, where it exists, resumed from.

    Args:
        model: What to train.
        batches: Inputs and targets of a step.
        recipe: Length and rates.
        checkpoint: File of the resumable state.
        seed: With the step's number, the seed of each batch.
        objective: What to minimise.
        report: Returns a line to print about the averaged backbone.
    """
    target = device()
    model = model.to(target, memory_format=torch.channels_last)
    ema = copy.deepcopy(model).eval()
    optimizer = _optimizer(model, recipe)
    state = {"step": 0, "seconds": 0.0, "progress": 0.0}
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=target, weights_only=True)
        model.load_state_dict(saved["model"])
        ema.load_state_dict(saved["ema"])
        optimizer.load_state_dict(saved["optimizer"])
        state = saved["state"]
        print(f"resumed at step {state['step']} after {state['seconds']:.0f} s", flush=True)
    loop = _Loop((model, ema, optimizer), recipe, batches, objective, state, seed)
    loop.place()
    saved_at = time.monotonic()
    while state["progress"] < 1.0:
        loop.step(target)
        if state["step"] % 100 == 0:
            print(loop.line(), flush=True)
        if report is not None and state["step"] % recipe.report_every == 0:
            print(f"  {report(ema.backbone)}", flush=True)
        if time.monotonic() - saved_at > 60.0 or state["progress"] >= 1.0:
            loop.save(checkpoint)
            saved_at = time.monotonic()
    return ema.to("cpu").eval()


class _Loop:
    """One optimiser step at a time, with the state that a checkpoint holds."""

    def __init__(
        self,
        trained: tuple[Classifier, Classifier, torch.optim.Optimizer],
        recipe: Recipe,
        batches: Batches,
        objective: Objective,
        state: dict[str, Any],
        seed: int,
    ) -> None:
        self.model, self.ema, self.optimizer = trained
        self.recipe, self.batches, self.objective = recipe, batches, objective
        self.state, self.seed = state, seed
        self.running, self.right = math.log(self.model.head.out_features), 0.0

    def step(self, target: torch.device) -> None:
        """Draw a batch, update the weights and their average, advance the schedule."""
        start = time.monotonic()
        number = self.state["step"]
        # A generator per step makes a resumed run draw the batches of an unbroken one.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        inputs, targets = self.batches(number, generator)
        inputs = inputs.to(target).contiguous(memory_format=torch.channels_last)
        targets = tree_map(lambda tensor: tensor.to(target), targets)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.state["progress"], self.recipe.peak_rate)
        self.model.train()
        # bfloat16 doubles the speed on processors that have it in hardware.
        with torch.autocast(target.type, torch.bfloat16):
            loss, right = self.objective(self.model, inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        _average(self.ema, self.model, min(self.recipe.ema, (1 + number) / (10 + number)))
        self.running += 0.02 * (float(loss.detach()) - self.running)
        self.right += 0.02 * (float(right) - self.right)
        self.state["step"] = number + 1
        self.state["seconds"] += time.monotonic() - start
        self.place()

    def place(self) -> None:
        """Work out how far the schedule is, by steps or by time, whichever is further."""
        by_steps = self.state["step"] / self.recipe.n_steps
        by_time = self.state["seconds"] / self.recipe.limit_seconds
        self.state["progress"] = max(by_steps, by_time)

    def line(self) -> str:
        """Describe the run in one line."""
        state = self.state
        return (
            f"step {state['step']}/{self.recipe.n_steps} {state['progress']:.0%} "
            f"{state['seconds']:.0f} s loss {self.running:.3f} accuracy {self.right:.3f}"
        )

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
        }
        part = path.with_suffix(".part")
        torch.save(content, part)
        part.replace(path)


def save_weights(model: Classifier, out: Path, name: str) -> Path:
    """Write backbone and linear layer as int8 safetensors with scales, and their digest."""
    from safetensors.torch import save_file

    tensors = {
        f"{part}.{key}": value
        for part in ("backbone", "head")
        for key, value in model.get_submodule(part).state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path = out / name / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(quantise(tensors), path)
    path.chmod(0o644)
    update_manifest(out)
    return path


def update_manifest(out: Path) -> None:
    """Write the SHA-256 of every weight file below a folder to its manifest.json."""
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.name != "manifest.json")
    digests = {
        p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.suffix in {".safetensors", ".json"}
    }
    (out / "manifest.json").write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")


def zoo_images(zoo: Path, name: str, split: str) -> tuple[list[Any], np.ndarray]:
    """Read one split of an image file of the zoo as PIL images and labels."""
    import io

    from PIL import Image

    content = np.load(zoo / "images" / f"{name}.npz", allow_pickle=False)
    labels = content[f"y_{split}"]
    if f"x_{split}" in content.files:
        return [Image.fromarray(image.squeeze()) for image in content[f"x_{split}"]], labels
    data = content[f"{split}_jpeg_bytes"].tobytes()
    at = content[f"{split}_offsets"]
    streams = (io.BytesIO(data[at[i] : at[i + 1]]) for i in range(len(labels)))
    return [Image.open(stream) for stream in streams], labels


def embed(net: nn.Module, batch: Tensor, batch_size: int = 256) -> np.ndarray:
    """Return embeddings of shape (n_samples, embed_dim), computed in eval mode."""
    where = next(net.parameters()).device
    was_training = net.training
    net.eval()
    with torch.inference_mode():
        parts = [net(part.to(where)).float().cpu() for part in batch.split(batch_size)]
    net.train(was_training)
    return torch.cat(parts).numpy()


def source_accuracy(model: Classifier, inputs: Tensor, labels: Tensor) -> float:
    """Return the accuracy of backbone and linear layer on held-out source data."""
    features = torch.from_numpy(embed(model.backbone, inputs))
    with torch.inference_mode():
        predicted = model.head.cpu()(features).argmax(1)
    return float((predicted == labels).float().mean())


def probe(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    strength: float = 0.1,
) -> float:
    """Return the test accuracy of logistic regression on standardised features.

    Args:
        train_x: Shape (n_train, embed_dim).
        train_y: Shape (n_train,).
        test_x: Shape (n_test, embed_dim).
        test_y: Shape (n_test,).
        strength: Inverse of the penalty.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=400))
    return float(model.fit(train_x, train_y).score(test_x, test_y))


def probe_digits(features: np.ndarray, labels: np.ndarray, n_per_class: int = 10) -> list[float]:
    """Return five accuracies on digits, each fitted on a few labels a class."""
    scores = []
    for draw in range(5):
        random = np.random.default_rng(draw)
        chosen = np.concatenate(
            [random.choice(np.flatnonzero(labels == c), n_per_class, False) for c in range(10)]
        )
        rest = np.setdiff1d(np.arange(len(labels)), chosen)
        scores.append(probe(features[chosen], labels[chosen], features[rest], labels[rest]))
    return scores


def sklearn_digits() -> tuple[list[Any], np.ndarray]:
    """Return scikit-learn's digits as 8x8 PIL images and labels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    scaled = (digits.images * (255.0 / 16.0)).round().astype(np.uint8)
    return [Image.fromarray(image) for image in scaled], digits.target
