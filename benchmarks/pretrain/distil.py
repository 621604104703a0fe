"""Teach a text encoder to embed as its teacher did: batches, loss, loop and checkpoints."""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import device, rate_at
from teacher import batches_by_length
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from autotl_embedded.tokens import padded

# How much the similarities between the texts of a batch count beside each text's own.
_PAIRS = 4.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast to distil.

    Args:
        n_epochs: Passes over the texts.
        limit_seconds: Training time after which the schedule is compressed to end early.
        batch_tokens: Tokens a step, padding included.
        peak_rate: Highest learning rate, reached after a tenth of the schedule.
        weight_decay: Decoupled decay of the weights that have two or more dimensions.
        ema: Decay of the averaged weights, which are the ones that are kept.
    """

    n_epochs: int
    limit_seconds: float
    batch_tokens: int = 2048
    peak_rate: float = 6e-4
    weight_decay: float = 0.01
    ema: float = 0.995


def loss_of(embedded: Tensor, targets: Tensor) -> Tensor:
    """Return one minus the mean cosine, plus the squared errors of cosines between texts.

    Args:
        embedded: Shape (n_texts, embed_dim).
        targets: The teacher's embeddings, of the same shape and length 1.
    """
    own = functional.normalize(embedded.float(), dim=1)
    pairs = (own @ own.T - targets @ targets.T).square().mean()
    return 1.0 - (own * targets).sum(1).mean() + _PAIRS * pairs


class Distillation:
    """A student on the way to its teacher, with all that a checkpoint holds.

    Args:
        student: Maps `input_ids` and `attention_mask` to embeddings.
        rows: Token numbers of each text.
        targets: The teacher's embeddings, of shape (n_texts, embed_dim) and length 1.
        held_out: The last texts, which only `report` reads.
        recipe: Length and rates.
        seed: Of the order of the texts.
    """

    def __init__(
        self,
        student: nn.Module,
        rows: list[list[int]],
        targets: Tensor,
        held_out: int,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.where = device()
        self.student = student.to(self.where).train()
        self.average = copy.deepcopy(student).eval()
        self.rows, self.targets, self.recipe, self.seed = rows, targets, recipe, seed
        self.lengths = np.array([len(row) for row in rows])
        self.n_trained = len(rows) - held_out
        decayed = [p for p in student.parameters() if p.ndim > 1]
        others = [p for p in student.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
            recipe.peak_rate,
            betas=(0.9, 0.98),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.state = {"epoch": 0, "at": 0, "step": 0, "seconds": 0.0, "progress": 0.0}
        self.running = 1.0

    def run(self, checkpoint: Path) -> nn.Module:
        """Train to the end of the schedule and return the averaged student, on the CPU."""
        self._resume(checkpoint)
        saved_at = time.monotonic()
        while self.state["progress"] < 1.0:
            groups = self._groups(int(self.state["epoch"]))
            while self.state["at"] < len(groups) and self.state["progress"] < 1.0:
                self._step(groups)
                if self.state["step"] % 100 == 0:
                    print(self._line(), flush=True)
                if time.monotonic() - saved_at > 60.0:
                    self._save(checkpoint)
                    saved_at = time.monotonic()
            print(f"  held-out cosine {self.report():.4f}", flush=True)
            self.state["epoch"] += 1
            self.state["at"] = 0
        self._save(checkpoint)
        return self.average.to("cpu").eval()

    def report(self) -> float:
        """Return the mean cosine of the averaged student to the teacher on held-out texts."""
        chosen = np.arange(self.n_trained, len(self.rows))
        total = 0.0
        for group in batches_by_length(self.lengths[chosen], self.recipe.batch_tokens):
            with torch.inference_mode():
                embedded, targets = self._embed(self.average, chosen[group])
            total += float(functional.cosine_similarity(embedded.float(), targets).sum())
        return total / len(chosen)

    def _groups(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of an epoch: texts of similar length out of random thousands."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(self.n_trained)
        groups = []
        for at in range(0, len(order), 4096):
            part = order[at : at + 4096]
            found = batches_by_length(self.lengths[part], self.recipe.batch_tokens)
            groups += [part[group] for group in found]
        return [groups[index] for index in random.permutation(len(groups))]

    def _embed(self, student: nn.Module, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return a student's and the teacher's embeddings of some texts."""
        batch = padded([self.rows[index] for index in chosen])
        batch = {name: value.to(self.where) for name, value in batch.items()}
        # bfloat16 is several times as fast on processors that have it in hardware, but not the
        # gradient of their fused attention, which takes more time than all the rest.
        on_processor = self.where.type == "cpu"
        attention = sdpa_kernel(SDPBackend.MATH) if on_processor else nullcontext()
        with attention, torch.autocast(self.where.type, torch.bfloat16):
            embedded = student(batch)
        return embedded, self.targets[chosen].float().to(self.where)

    def _step(self, groups: list[np.ndarray]) -> None:
        """Update the weights and their average on one batch, and advance the schedule."""
        start = time.monotonic()
        embedded, targets = self._embed(self.student, groups[int(self.state["at"])])
        loss = loss_of(embedded, targets)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.state["progress"], self.recipe.peak_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        number = self.state["step"]
        decay = min(self.recipe.ema, (1 + number) / (10 + number))
        with torch.no_grad():
            kept, new = list(self.average.parameters()), list(self.student.parameters())
            torch._foreach_lerp_(kept, new, 1.0 - decay)
        self.running += 0.02 * (float(loss.detach()) - self.running)
        self.state["step"] += 1
        self.state["at"] += 1
        self.state["seconds"] += time.monotonic() - start
        epochs = self.state["epoch"] + self.state["at"] / len(groups)
        by_time = self.state["seconds"] / self.recipe.limit_seconds
        self.state["progress"] = max(epochs / self.recipe.n_epochs, by_time)

    def _line(self) -> str:
        state = self.state
        return (
            f"step {state['step']} epoch {state['epoch']} {state['progress']:.0%} "
            f"{state['seconds']:.0f} s loss {self.running:.4f}"
        )

    def _resume(self, checkpoint: Path) -> None:
        if not checkpoint.exists():
            return
        saved = torch.load(checkpoint, map_location=self.where, weights_only=True)
        self.student.load_state_dict(saved["student"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = saved["state"]
        print(f"resumed: {self._line()}", flush=True)

    def _save(self, checkpoint: Path) -> None:
        """Write the checkpoint atomically."""
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
        }
        part = checkpoint.with_suffix(".part")
        torch.save(content, part)
        part.replace(checkpoint)
