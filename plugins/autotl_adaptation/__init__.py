"""First-party adaptation methods, one file each."""

from collections.abc import Generator, Iterator

import autotl
from autotl.specs import Predictor

_TUNING_SPACE: dict[str, autotl.Range | autotl.Choice] = {
    "freeze_fraction": autotl.Range(low=0.0, high=0.9),
    "lr": autotl.Range(low=1e-5, high=3e-3, log=True),
    "weight_decay": autotl.Range(low=1e-5, high=1e-1, log=True),
    "epochs": autotl.Range(low=5, high=40, integer=True),
    "augment": autotl.Choice(options=(0.0, 0.3, 0.7)),
    "label_smoothing": autotl.Choice(options=(0.0, 0.1)),
    "batch_norm": autotl.Choice(options=("frozen", "train")),
}


def _linear_probe(
    task: autotl.AdaptationTask, state: autotl.SavedState | None = None
) -> Generator[autotl.Step, None, None]:
    from autotl_adaptation.linear_probe import steps

    return steps(task, state)


def _fine_tune(
    task: autotl.AdaptationTask, state: autotl.SavedState | None = None
) -> Generator[autotl.Step, None, None]:
    from autotl_adaptation.fine_tune import steps

    return steps(task, state)


def _lp_ft(
    task: autotl.AdaptationTask, state: autotl.SavedState | None = None
) -> Generator[autotl.Step, None, None]:
    from autotl_adaptation.lp_ft import steps

    return steps(task, state)


def _restore_head(saved: autotl.SavedState) -> Predictor:
    from autotl.adapt import LinearHead

    return LinearHead.restore(saved)


def _restore_network(saved: autotl.SavedState) -> Predictor:
    from autotl.adapt import TunedNetwork

    return TunedNetwork.restore(saved)


@autotl.hookimpl
def autotl_adaptations() -> Iterator[autotl.AdaptationSpec]:
    """Describe the methods, cheapest first."""
    yield autotl.AdaptationSpec(
        name="linear_probe",
        summary="Solve a linear classifier on frozen features along a regularisation path.",
        steps=_linear_probe,
        restore=_restore_head,
        space={
            "solver": autotl.Choice(options=("logistic", "ridge")),
            "scaling": autotl.Choice(options=("feature", "global")),
        },
        defaults={"solver": "logistic", "scaling": "feature"},
        max_steps=lambda _params: 9,
        resource="strength",
    )
    yield autotl.AdaptationSpec(
        name="lp_ft",
        summary="Solve a linear probe, then fine-tune head and backbone from it.",
        reference="Kumar et al., Fine-Tuning can Distort Pretrained Features, ICLR 2022",
        steps=_lp_ft,
        restore=_restore_network,
        space=_TUNING_SPACE,
        defaults={
            "freeze_fraction": 0.5,
            "lr": 2e-4,
            "weight_decay": 1e-3,
            "epochs": 15,
            "augment": 0.3,
            "label_smoothing": 0.0,
            "batch_norm": "frozen",
        },
        trains_backbone=True,
    )
    yield autotl.AdaptationSpec(
        name="fine_tune",
        summary="Train a new head and the layer groups above the freeze depth.",
        steps=_fine_tune,
        restore=_restore_network,
        space=_TUNING_SPACE,
        defaults={
            "freeze_fraction": 0.25,
            "lr": 5e-4,
            "weight_decay": 1e-3,
            "epochs": 20,
            "augment": 0.3,
            "label_smoothing": 0.1,
            "batch_norm": "frozen",
        },
        trains_backbone=True,
    )
