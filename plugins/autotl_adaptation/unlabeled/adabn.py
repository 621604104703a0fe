"""Give batch norms the statistics of the target, then solve a probe on what the network becomes.

References:
    Li, Wang, Shi, Hou, Liu: Revisiting Batch Normalization for Practical Domain Adaptation. 2016.
    Schneider et al.: Improving robustness against common corruptions by covariate shift
    adaptation. NeurIPS 2020 (mixing both statistics).
"""

from collections.abc import Generator, Iterator

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from autotl.adapt import LinearHead, TunedNetwork, embed, solve_logistic_panel, standardiser
from autotl.specs import AdaptationTask, Inputs, SavedState, Step

_BATCH_SIZE = 32
_INVERSE_STRENGTH = 0.1


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield once: there is nothing to train but the probe."""
    if state is not None:
        return
    if task.unlabeled is None:
        raise ValueError("The task has no samples without labels; expected task.unlabeled.")
    tail = task.train.load_backbone(task.freeze_depth)
    norms = {n: m for n, m in tail.module.named_modules() if isinstance(m, _BatchNorm)}
    remembered = {name: _statistics(norm) for name, norm in norms.items()}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.training = True
    with torch.no_grad():
        for batch in _batches([task.train, task.unlabeled], tail.start):
            tail.module(batch)
    share = task.params["share"]
    for name, norm in norms.items():
        norm.training = False
        for key, before in remembered[name].items():
            now = getattr(norm, key)
            now.copy_(share * now + (1 - share) * before)
    features = embed(tail.module, task.train, tail.start)
    scaling = standardiser(features)
    panel = solve_logistic_panel(
        (features - scaling["mean"]) / scaling["scale"],
        task.y,
        task.n_classes,
        [_INVERSE_STRENGTH],
        class_weights=task.class_weights,
    )
    head = LinearHead(weight=panel.weights[0], bias=panel.biases[0], **scaling)
    changed = {
        f"{name}.{key}": getattr(norm, key) for name, norm in norms.items() for key in _KEYS
    }
    yield Step(
        predictor=TunedNetwork(head, changed, task.freeze_depth, tail),
        state=lambda: SavedState(tensors={}, config={"done": True}),
        loss=float(panel.losses[0]),
    )


_KEYS = ("running_mean", "running_var")


def _statistics(norm: _BatchNorm) -> dict[str, torch.Tensor]:
    found = {key: getattr(norm, key) for key in _KEYS}
    return {key: value.clone() for key, value in found.items() if value is not None}


def _batches(sets: list[Inputs], start: int) -> Iterator[object]:
    """Yield batches of all samples; one of a single sample has no statistics of its own."""
    for inputs in sets:
        for rows, batch in inputs.batches(_BATCH_SIZE, start=start):
            if len(rows) > 1 or len(inputs) == 1:
                yield batch
