"""Methods that learn from labelled samples of another domain too."""

from collections.abc import Iterator

import autotl
from autotl_adaptation.later import (
    call,
    restore_head,
    restore_network,
    restored_by,
    steps_of,
)
from autotl_adaptation.spaces import TRAINING

_SHARED = frozenset({"source"})
_ANY = frozenset({"any_source"})
_TARGET_WEIGHT = autotl.Choice(options=(1.0, 3.0, 10.0))
_WEIGHT_ALONE = frozenset({"target_weight"})
_START = {
    "freeze_fraction": 0.25,
    "lr": 3e-4,
    "weight_decay": 1e-3,
    "epochs": 10,
    "augment": 0.3,
    "label_smoothing": 0.0,
}
_ALIGNED = (
    ("pooled", "Solve a probe on both domains as they are.", ""),
    (
        "coral",
        "Give the source's features the target's covariance, then solve a probe on both.",
        "Sun et al., Return of Frustratingly Easy Domain Adaptation, AAAI 2016",
    ),
    (
        "lin_ot",
        "Move the source's features by Gaussian optimal transport, then solve a probe on both.",
        "Flamary et al., Concentration bounds for linear Monge mapping, 2019",
    ),
)
_DEEP = (
    (
        "deep_coral",
        "Train on both domains while their covariances come together.",
        "Sun and Saenko, Deep CORAL, ECCV 2016",
        1.0,
    ),
    (
        "dan",
        "Train on both domains while their means agree in many kernels' spaces.",
        "Long et al., Deep Adaptation Networks, ICML 2015",
        1.0,
    ),
    (
        "dann",
        "Train on both domains so that a discriminator cannot tell them apart.",
        "Ganin et al., Domain-Adversarial Training, JMLR 2016",
        1.0,
    ),
    (
        "cdan",
        "Train so that a discriminator that knows the classes cannot tell domains apart.",
        "Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018",
        1.0,
    ),
    (
        "mcc",
        "Train so that predictions on the target do not mix classes up.",
        "Jin et al., Minimum Class Confusion, ECCV 2020",
        1.0,
    ),
)


def _epoch_samples(labelled: int, unlabeled: int, source: int) -> int:
    n_samples: int = call("source.training", "epoch_samples", labelled, unlabeled, source)
    return n_samples


def _twice(labelled: int, _unlabeled: int, _source: int) -> int:
    return 2 * labelled


def _all_strengths(_params: object) -> int:
    return 9


def methods() -> Iterator[autotl.AdaptationSpec]:
    """Describe them: on frozen features, on trained layers, and for several tasks at once."""
    yield from _on_features()
    yield autotl.AdaptationSpec(
        name="pooled_fine_tune",
        summary="Fine-tune on the classes of both domains as they are.",
        steps=steps_of("source.pooled_fine_tune"),
        restore=restore_network,
        space=TRAINING,
        defaults=_START,
        epoch_samples=_epoch_samples,
        trains_backbone=True,
        needs=_SHARED,
        needs_labels=False,
    )
    for name, summary, reference, trade_off in _DEEP:
        yield autotl.AdaptationSpec(
            name=name,
            summary=summary,
            reference=reference,
            steps=steps_of(f"source.{name}"),
            restore=restore_network,
            space={**TRAINING, "trade_off": autotl.Range(low=0.03, high=3.0, log=True)},
            defaults={**_START, "trade_off": trade_off},
            epoch_samples=_epoch_samples,
            trains_backbone=True,
            needs=_SHARED,
            needs_labels=False,
        )
    yield from _several_tasks()


def _on_features() -> Iterator[autotl.AdaptationSpec]:
    yield autotl.AdaptationSpec(
        name="source_only",
        summary="Solve a probe on the source's samples alone.",
        steps=steps_of("source.pooled", "source_only"),
        restore=restore_head,
        max_steps=_all_strengths,
        needs=_SHARED,
        needs_labels=False,
        resource="strength",
    )
    for name, summary, reference in _ALIGNED:
        yield autotl.AdaptationSpec(
            name=name,
            summary=summary,
            reference=reference,
            steps=steps_of(f"source.{name}"),
            restore=restore_head,
            space={"target_weight": _TARGET_WEIGHT},
            defaults={"target_weight": 3.0},
            max_steps=_all_strengths,
            needs=_SHARED,
            needs_labels=name == "pooled",  # else it is source_only
            label_params=_WEIGHT_ALONE,
            resource="strength",
        )
    yield autotl.AdaptationSpec(
        name="subspace",
        summary="Align the source's principal directions with the target's, then solve a probe.",
        reference="Fernando et al., Subspace Alignment, ICCV 2013",
        steps=steps_of("source.subspace"),
        restore=restore_head,
        space={
            "target_weight": _TARGET_WEIGHT,
            "n_directions": autotl.Choice(options=(10, 30, 100)),
        },
        defaults={"target_weight": 3.0, "n_directions": 30},
        max_steps=_all_strengths,
        needs=_SHARED,
        needs_labels=False,
        label_params=_WEIGHT_ALONE,
        resource="strength",
    )
    yield autotl.AdaptationSpec(
        name="reweighting",
        summary="Let samples of the source count the more, the more they look like the target's.",
        reference="Shimodaira, Improving predictive inference under covariate shift, 2000",
        steps=steps_of("source.reweighting"),
        restore=restore_head,
        space={
            "target_weight": _TARGET_WEIGHT,
            "estimator": autotl.Choice(options=("discriminator", "mean_matching")),
        },
        defaults={"target_weight": 3.0, "estimator": "discriminator"},
        max_steps=_all_strengths,
        needs=_SHARED,
        needs_labels=False,
        label_params=_WEIGHT_ALONE,
        resource="strength",
    )
    yield autotl.AdaptationSpec(
        name="tradaboost",
        summary="Boost a probe that forgets the samples of the source that mislead it.",
        reference="Dai et al., Boosting for Transfer Learning, ICML 2007",
        steps=steps_of("source.tradaboost"),
        restore=restored_by("source.tradaboost"),
        max_steps=lambda _params: 10,
        needs=_SHARED,
        resource="round",
    )


def _several_tasks() -> Iterator[autotl.AdaptationSpec]:
    yield autotl.AdaptationSpec(
        name="multi_task",
        summary="Train on the task and on the source's own classes at once.",
        reference="Caruana, Multitask Learning, 1997; Kendall et al., CVPR 2018",
        steps=steps_of("source.multi_task"),
        restore=restore_network,
        space={
            **TRAINING,
            "weighting": autotl.Choice(options=("fixed", "uncertainty")),
            "source_weight": autotl.Range(
                low=0.03, high=3.0, log=True, when={"weighting": ("fixed",)}
            ),
        },
        defaults={**_START, "weighting": "fixed", "source_weight": 0.3},
        epoch_samples=_twice,
        trains_backbone=True,
        needs=_ANY,
    )
    yield autotl.AdaptationSpec(
        name="rehearsal",
        summary="Fine-tune while a few samples of the source keep what was known of it.",
        reference="Robins, Catastrophic Forgetting, Rehearsal and Pseudorehearsal, 1995",
        steps=steps_of("source.rehearsal"),
        restore=restore_network,
        space={**TRAINING, "rehearsed": autotl.Choice(options=(0.1, 0.25, 0.5))},
        defaults={**_START, "rehearsed": 0.25},
        epoch_samples=_twice,
        trains_backbone=True,
        needs=_ANY,
    )
