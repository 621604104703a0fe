"""Divergence of what reaches the batch norms of a backbone from what did in pretraining."""

import numpy as np

from autotl.errors import InvalidDataError
from autotl.specs import DomainSample, LayerStatistics

_LEAST_VARIANCE = 1e-5
_LEAST_SHARE = 1e-3
"""Of the mean variance of a layer: channels that pretraining left dead would decide all else."""


def batch_norm_kl(source: DomainSample, target: DomainSample) -> float:
    """Compare the channels of each batch norm as Gaussians.

    Per channel the mean of KL(target || source) and KL(source || target) in nats, averaged over
    the channels of a layer, then over layers. Variances are floored at 1e-5 and at a thousandth
    of the layer's mean variance.

    Raises:
        InvalidDataError: A domain has no layers, or the two do not have the same ones.
    """
    _check_names(source, target)
    layers = sorted(source.layers)
    return float(np.mean([_layer(k, source.layers[k], target.layers[k]) for k in layers]))


def _layer(name: str, source: LayerStatistics, target: LayerStatistics) -> float:
    given = source.mean, source.variance, target.mean, target.variance
    values = [np.asarray(value, dtype=np.float64) for value in given]
    if len({value.shape for value in values}) > 1 or not np.isfinite(values).all():
        raise InvalidDataError(
            f"The moments of layer {name!r} have the shapes {[v.shape for v in values]} in source "
            "and target; expected one shape (n_channels,) and finite numbers. Take both from the "
            "same backbone."
        )
    source_mean, source_variance, target_mean, target_variance = values
    floor = max(_LEAST_VARIANCE, _LEAST_SHARE * float(source_variance.mean()))
    floor = max(floor, _LEAST_SHARE * float(target_variance.mean()))
    source_variance = source_variance.clip(min=floor)
    target_variance = target_variance.clip(min=floor)
    gap = (source_mean - target_mean) ** 2
    # The logarithms of the two directions cancel.
    there = (target_variance + gap) / source_variance
    back = (source_variance + gap) / target_variance
    return float(np.mean((there + back) / 4 - 0.5).clip(min=0.0))


def _check_names(source: DomainSample, target: DomainSample) -> None:
    for side, domain in (("source", source), ("target", target)):
        if not domain.layers:
            raise InvalidDataError(
                f"The {side} has no layers: moments at the batch norms of the backbone. Choose a "
                "measure that needs moments where a backbone has no batch norms."
            )
    only_one = sorted(set(source.layers) ^ set(target.layers))
    if only_one:
        raise InvalidDataError(
            f"The layers {only_one[:3]} are in one of source and target only; expected the same "
            "names in both. Take both from the same backbone."
        )
