"""What learns from labelled samples alone: probes, tuning of all layers, and of a part of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import autotl
from autotl_adaptation.later import call, restore_head, restore_network, restored_by, steps_of
from autotl_adaptation.spaces import FROM_SCRATCH, PLAIN, TRAINING, TUNING, without

_EFFICIENT_LR = autotl.Range(low=1e-4, high=1e-2, log=True)  # few parameters take larger steps
_ENCODER_LR = autotl.Range(low=1e-5, high=1e-3, log=True)


def probes() -> Iterator[autotl.AdaptationSpec]:
    """Describe what is solved on frozen features."""
    yield autotl.AdaptationSpec(
        name="linear_probe",
        summary="Solve a linear classifier on frozen features along a regularisation path.",
        steps=steps_of("supervised.linear_probe"),
        restore=restore_head,
        space={
            "solver": autotl.Choice(options=("logistic", "ridge")),
            "scaling": autotl.Choice(options=("feature", "global")),
        },
        defaults={"solver": "logistic", "scaling": "feature"},
        max_steps=lambda _params: 9,
        resource="strength",
    )
    yield autotl.AdaptationSpec(
        name="head2toe",
        summary="Solve a linear classifier on the features of all layers that matter.",
        reference="Evci et al., Head2Toe, ICML 2022",
        steps=steps_of("supervised.head2toe"),
        restore=restored_by("supervised.head2toe"),
        space={"share": autotl.Choice(options=(0.02, 0.1, 0.5))},
        defaults={"share": 0.1},
        max_steps=lambda _params: 9,
        resource="strength",
        reads_layers=True,
    )


def full_tuning() -> Iterator[autotl.AdaptationSpec]:
    """Describe what trains all layers above the freeze depth."""
    yield autotl.AdaptationSpec(
        name="lp_ft",
        summary="Solve a linear probe, then fine-tune head and backbone from it.",
        reference="Kumar et al., Fine-Tuning can Distort Pretrained Features, ICLR 2022",
        steps=steps_of("supervised.lp_ft"),
        restore=restore_network,
        space=TUNING,
        defaults={
            **PLAIN,
            "freeze_fraction": 0.5,
            "lr": 2e-4,
            "weight_decay": 1e-3,
            "epochs": 15,
            "augment": 0.3,
            "label_smoothing": 0.0,
        },
        trains_backbone=True,
        from_scratch=FROM_SCRATCH,
    )
    yield autotl.AdaptationSpec(
        name="fine_tune",
        summary="Train a new head and the layer groups above the freeze depth.",
        steps=steps_of("supervised.fine_tune"),
        restore=restore_network,
        space=TUNING,
        defaults={
            **PLAIN,
            "freeze_fraction": 0.25,
            "lr": 5e-4,
            "weight_decay": 1e-3,
            "epochs": 20,
            "augment": 0.3,
            "label_smoothing": 0.1,
        },
        trains_backbone=True,
        from_scratch=FROM_SCRATCH,
    )
    yield autotl.AdaptationSpec(
        name="gradual_unfreeze",
        summary="Train the last layer group first and let the others in one by one.",
        reference="Howard and Ruder, Universal Language Model Fine-tuning, ACL 2018",
        steps=steps_of("supervised.gradual_unfreeze"),
        restore=restore_network,
        space={**TRAINING, "layer_decay": autotl.Choice(options=(1 / 2.6, 0.65, 1.0))},
        defaults={
            "freeze_fraction": 0.25,
            "lr": 1e-3,
            "weight_decay": 1e-3,
            "epochs": 15,
            "augment": 0.3,
            "label_smoothing": 0.1,
            "layer_decay": 0.65,
        },
        trains_backbone=True,
    )


def _frozen_before(params: Mapping[str, Any]) -> float:
    share: float = call("supervised.surgical", "frozen_before", params)
    return share


def partial_tuning() -> Iterator[autotl.AdaptationSpec]:
    """Describe what trains some parameters of a network."""
    start = {
        "freeze_fraction": 0.25,
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "epochs": 15,
        "augment": 0.3,
        "label_smoothing": 0.0,
    }
    yield autotl.AdaptationSpec(
        name="surgical",
        summary="Train one contiguous quarter of the layers from a solved probe.",
        reference="Lee et al., Surgical Fine-Tuning, ICLR 2023",
        steps=steps_of("supervised.surgical"),
        restore=restore_network,
        space={
            "block": autotl.Choice(options=("first", "second", "third", "last")),
            **without(TRAINING, "freeze_fraction"),
        },
        defaults={"block": "last", **without(start, "freeze_fraction"), "lr": 5e-4},
        trains_backbone=True,
        freeze_fraction=_frozen_before,
    )
    efficient = {**TRAINING, "lr": _EFFICIENT_LR}
    yield autotl.AdaptationSpec(
        name="bitfit",
        summary="Train biases and head from a solved probe.",
        reference="Ben Zaken et al., BitFit, ACL 2022",
        steps=steps_of("supervised.bitfit"),
        restore=restore_network,
        space=efficient,
        defaults=start,
        trains_backbone=True,
    )
    yield autotl.AdaptationSpec(
        name="norm_tune",
        summary="Train the scales and shifts of norms and the head from a solved probe.",
        reference="Frankle et al., Training BatchNorm and Only BatchNorm, ICLR 2021",
        steps=steps_of("supervised.norm_tune"),
        restore=restore_network,
        space=efficient,
        defaults=start,
        trains_backbone=True,
    )
    yield autotl.AdaptationSpec(
        name="lora",
        summary="Train low-rank additions to the weights and the head from a solved probe.",
        reference="Hu et al., LoRA, ICLR 2022",
        steps=steps_of("supervised.lora"),
        restore=restore_network,
        space={**efficient, "rank": autotl.Choice(options=(4, 8, 16))},
        defaults={**start, "rank": 8},
        trains_backbone=True,
    )
    yield autotl.AdaptationSpec(
        name="setfit",
        summary="Draw texts of one class together, then solve a probe on the tuned encoder.",
        reference="Tunstall et al., Efficient Few-Shot Learning Without Prompts, 2022",
        steps=steps_of("supervised.setfit"),
        restore=restore_network,
        space=without({**TRAINING, "lr": _ENCODER_LR}, "augment", "label_smoothing"),
        defaults={"freeze_fraction": 0.25, "lr": 1e-4, "weight_decay": 1e-3, "epochs": 8},
        trains_backbone=True,
        modalities=("text",),
    )
