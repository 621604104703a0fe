"""Train a new head together with the layer groups above the freeze depth."""

from collections.abc import Generator

import numpy as np

from autotl.adapt import LinearHead, TrainingSettings, standardiser, train
from autotl.specs import AdaptationTask, SavedState, Step

_HEAD_LR_FACTOR = 10.0  # the head starts from nothing, the backbone from pretrained weights


def settings(task: AdaptationTask, head_lr_factor: float) -> TrainingSettings:
    """Translate a task's parameters; small data gets small batches so that steps are many."""
    params = task.params
    return TrainingSettings(
        lr=params["lr"],
        head_lr=params["lr"] * head_lr_factor,
        weight_decay=params["weight_decay"],
        batch_size=16 if len(task.train) <= 400 else 32,
        label_smoothing=params["label_smoothing"],
        augment=params["augment"],
        train_norm=params["batch_norm"] == "train",
    )


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of training from a head of zeros."""
    scaling = standardiser(task.train.features())
    head = LinearHead(
        weight=np.zeros((task.n_classes, len(scaling["mean"])), np.float32),
        bias=np.zeros(task.n_classes, np.float32),
        **scaling,
    )
    yield from train(task, settings(task, _HEAD_LR_FACTOR), head, state)
