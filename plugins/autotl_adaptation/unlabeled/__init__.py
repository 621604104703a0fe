"""Methods that learn from samples of the target without labels too."""

from collections.abc import Iterator

import autotl
from autotl_adaptation.later import call, restore_network, steps_of
from autotl_adaptation.spaces import TRAINING

_NEEDS = frozenset({"unlabeled"})
_TRADE_OFF = autotl.Range(low=0.03, high=3.0, log=True)
_THRESHOLD = autotl.Choice(options=(0.8, 0.9, 0.95))
_START = {
    "freeze_fraction": 0.5,
    "lr": 2e-4,
    "weight_decay": 1e-3,
    "epochs": 10,
    "augment": 0.3,
    "label_smoothing": 0.0,
}


def _epoch_samples(labelled: int, unlabeled: int, source: int) -> int:
    n_samples: int = call("unlabeled.training", "epoch_samples", labelled, unlabeled, source)
    return n_samples


def methods() -> Iterator[autotl.AdaptationSpec]:
    """Describe them, cheapest first."""
    yield autotl.AdaptationSpec(
        name="adabn",
        summary="Give batch norms the target's statistics, then solve a probe.",
        reference="Li et al., Revisiting Batch Normalization, 2016",
        steps=steps_of("unlabeled.adabn"),
        restore=restore_network,
        space={"share": autotl.Choice(options=(0.3, 0.7, 1.0))},
        defaults={"share": 0.7},
        max_steps=lambda _params: 1,
        trains_backbone=True,
        needs=_NEEDS,
        resource="pass",
    )
    yield autotl.AdaptationSpec(
        name="entropy",
        summary="Tune norms so that predictions on samples without labels become certain.",
        reference="Wang et al., Tent, ICLR 2021",
        steps=steps_of("unlabeled.entropy"),
        restore=restore_network,
        space={
            **TRAINING,
            "lr": autotl.Range(low=1e-4, high=1e-2, log=True),
            "trade_off": _TRADE_OFF,
        },
        defaults={**_START, "lr": 1e-3, "trade_off": 0.3},
        epoch_samples=_epoch_samples,
        trains_backbone=True,
        needs=_NEEDS,
    )
    for name, summary, reference, modalities in (
        (
            "pseudo_label",
            "Learn from certain predictions on samples without labels.",
            "Lee, Pseudo-Label, 2013",
            None,
        ),
        (
            "fixmatch",
            "Predict of strongly changed images what is certain of the images.",
            "Sohn et al., FixMatch, NeurIPS 2020",
            ("image",),
        ),
    ):
        yield autotl.AdaptationSpec(
            name=name,
            summary=summary,
            reference=reference,
            steps=steps_of(f"unlabeled.{name}"),
            restore=restore_network,
            space={**TRAINING, "trade_off": _TRADE_OFF, "threshold": _THRESHOLD},
            defaults={**_START, "trade_off": 1.0, "threshold": 0.9},
            epoch_samples=_epoch_samples,
            trains_backbone=True,
            needs=_NEEDS,
            modalities=modalities,
        )
