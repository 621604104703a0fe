"""Average tuned networks of one backbone, or one with the backbone as it was pretrained.

References:
    Wortsman et al.: Robust Fine-Tuning of Zero-Shot Models (WiSE-FT). CVPR 2022.
    Wortsman et al.: Model Soups. ICML 2022.
"""

from collections.abc import Sequence

import numpy as np

from autotl.adapt.heads import LinearHead
from autotl.adapt.tuned import TunedNetwork
from autotl.specs import Inputs

Part = tuple[float, TunedNetwork | LinearHead]


def blend(parts: Sequence[Part], inputs: Inputs) -> TunedNetwork:
    """Return the weighted average of networks, weights and heads.

    Args:
        parts: Weights that sum to 1, with tuned networks; a head alone stands for the pretrained
            backbone under it. At least one network is tuned.
        inputs: Any samples behind the backbone, for its pretrained weights.

    Raises:
        ValueError: No network is tuned, or the weights do not sum to 1.
    """
    tuned = [(w, p) for w, p in parts if isinstance(p, TunedNetwork)]
    if not tuned or abs(sum(w for w, _ in parts) - 1) > 1e-6:
        raise ValueError(
            f"The parts have weights {[w for w, _ in parts]} and {len(tuned)} tuned networks; "
            "expected weights that sum to 1 and at least one tuned network."
        )
    depth = min(p.freeze_depth for _, p in tuned)
    pretrained = inputs.load_backbone(depth).module.state_dict()
    names = dict.fromkeys(n for _, p in tuned for n in p.changed if n in pretrained)
    changed = {}
    for name in names:
        before = pretrained[name].detach().cpu()
        if not before.is_floating_point():  # counters of batches
            changed[name] = next(p.changed[name] for _, p in tuned if name in p.changed)
            continue
        mixed = before.double()
        for weight, part in tuned:
            if name in part.changed:
                mixed = mixed + weight * (part.changed[name].detach().cpu().double() - before)
        changed[name] = mixed.to(before.dtype)
    heads = [(w, p.head if isinstance(p, TunedNetwork) else p) for w, p in parts]
    return TunedNetwork(_blend_heads(heads), changed, depth)


def _blend_heads(heads: Sequence[tuple[float, LinearHead]]) -> LinearHead:
    """Return the head whose logits are the weighted mean of others' on the same embedding."""
    plain = [(w, h.weight / h.scale, h.bias - (h.weight / h.scale) @ h.mean) for w, h in heads]
    weight = sum(w * matrix for w, matrix, _ in plain)
    bias = sum(w * offset for w, _, offset in plain)
    width = len(heads[0][1].mean)
    return LinearHead(
        weight=np.asarray(weight, np.float32),
        bias=np.asarray(bias, np.float32),
        mean=np.zeros(width, np.float32),
        scale=np.ones(width, np.float32),
    )
