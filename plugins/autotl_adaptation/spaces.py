"""Search dimensions that several methods share."""

from collections.abc import Mapping
from typing import Any

from autotl.specs import Choice, Range

TRAINING: dict[str, Range | Choice] = {
    "freeze_fraction": Range(low=0.0, high=0.9),
    "lr": Range(low=1e-5, high=3e-3, log=True),
    "weight_decay": Range(low=1e-5, high=1e-1, log=True),
    "epochs": Range(low=5, high=40, integer=True),
    "augment": Choice(options=(0.0, 0.3, 0.7, 1.0)),  # 1 is RandAugment
    "label_smoothing": Choice(options=(0.0, 0.1)),
}
TUNING: dict[str, Range | Choice] = {
    **TRAINING,
    "batch_norm": Choice(options=("frozen", "train")),
    "layer_decay": Choice(options=(1.0, 0.75, 0.5)),
    "mix": Choice(options=("none", "mixup", "cutmix")),
    "dropout": Choice(options=(0.0, 0.2, 0.5)),
    "balance": Choice(options=("weights", "sampling", "logits")),
    "regulariser": Choice(options=("none", "l2_sp", "bss", "delta", "stoch_norm", "co_tuning")),
    "regulariser_strength": Range(
        low=0.1,
        high=10.0,
        log=True,
        when={"regulariser": ("l2_sp", "bss", "delta", "co_tuning")},
    ),
}
PLAIN: Mapping[str, Any] = {
    "batch_norm": "frozen",
    "layer_decay": 1.0,
    "mix": "none",
    "dropout": 0.0,
    "balance": "weights",
    "regulariser": "none",
    "regulariser_strength": 1.0,
}
"""Options of tuning that nobody asked for."""
FROM_SCRATCH: Mapping[str, Any] = {
    # Random layers must not stay frozen, nor may norms keep statistics of data they never saw;
    # and there is nothing that a regulariser could keep.
    "freeze_fraction": 0.0,
    "batch_norm": "train",
    "layer_decay": 1.0,
    "regulariser": "none",
}


def without(space: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a space, or values for one, without some names."""
    return {name: dimension for name, dimension in space.items() if name not in names}
