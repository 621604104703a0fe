"""Architectures of the zoo's weights that timm does not name, keyed by the entry's name."""

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import autotl

_BUILDERS = {
    "big_xception_fer2013": "big_xception",
    "doodlenet_quickdraw28": "doodlenet",
    "mobilenetv1_025_imagenet128": "mobilenetv1",
    "mobilenetv1_025_vww96": "mobilenetv1",
    "mobilenetv1_050_imagenet160": "mobilenetv1",
    "mobilenetv1_075_imagenet192": "mobilenetv1",
    "resnet20_cifar10": "resnet20",
    "resnet56_cifar10": "resnet56",
    "resnet8_cifar10": "resnet8",
    "squeezenet1_0_imagenet227": "squeezenet1_0",
}


def _build(builder: str, **kwargs: Any) -> autotl.SourceNetwork:
    networks = importlib.import_module("autotl_zoo.networks")
    build: Callable[..., autotl.SourceNetwork] = getattr(networks, builder)
    return build(**kwargs)


@autotl.hookimpl
def autotl_backbone_sources() -> Iterator[autotl.BackboneSourceSpec]:
    """Offer builders; the weights come from a folder given with `--weights`."""
    yield autotl.BackboneSourceSpec(
        name="zoo",
        summary="Small networks of the test zoo.",
        prefix="zoo/",
        architectures={
            name: functools.partial(_build, builder) for name, builder in _BUILDERS.items()
        },
    )
