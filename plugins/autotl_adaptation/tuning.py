"""What the methods that train layers have in common: space, settings and where the head starts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from autotl.adapt import (
    LinearHead,
    Selection,
    TrainingSettings,
    above,
    decayed,
    standardiser,
)
from autotl.specs import AdaptationTask

HEAD_LR_FACTOR = 10.0  # the head starts from nothing, the backbone from pretrained weights
_FEW = 400  # samples; small data gets small batches so that steps are many


def settings(task: AdaptationTask, head_lr_factor: float = HEAD_LR_FACTOR) -> TrainingSettings:
    """Translate a task's parameters; those that a method lacks keep their usual values."""
    params = task.params
    return TrainingSettings(
        lr=params["lr"],
        head_lr=params["lr"] * head_lr_factor,
        weight_decay=params["weight_decay"],
        batch_size=16 if len(task.train) <= _FEW else 32,
        label_smoothing=params.get("label_smoothing", 0.0),
        augment=params.get("augment", 0.0),
        train_norm=params.get("batch_norm", "frozen") == "train"
        or params.get("regulariser") == "stoch_norm",  # which is about what batch norms train on
        mix=params.get("mix", "none"),
        dropout=params.get("dropout", 0.0),
        balance=params.get("balance", "weights"),
    )


def selection(params: Mapping[str, Any]) -> Selection:
    """Return which layers train: all above the freeze depth, earlier ones more slowly if asked."""
    factor = params.get("layer_decay", 1.0)
    return above if factor == 1.0 else decayed(factor)


def zero_head(task: AdaptationTask) -> LinearHead:
    """Return a head that knows nothing, on standardised features."""
    scaling = standardiser(task.train.features())
    return LinearHead(
        weight=np.zeros((task.n_classes, len(scaling["mean"])), np.float32),
        bias=np.zeros(task.n_classes, np.float32),
        **scaling,
    )
