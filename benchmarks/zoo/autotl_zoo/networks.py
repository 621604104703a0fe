"""Networks of the zoo: all are sequences, so that a backbone is one without its last links."""

from collections import OrderedDict
from typing import Any

from torch import nn

from autotl import SourceNetwork
from autotl_zoo.layers import (
    KERAS_EPSILON,
    BasicBlock,
    Fire,
    GlobalMean,
    PooledConvs,
    ProjectedBlock,
    SameConv,
    XceptionBlock,
)

Groups = tuple[tuple[str, ...], ...]


def _source(network: nn.Module, backbone: nn.Module, groups: Groups) -> SourceNetwork:
    return SourceNetwork(
        network=network, backbone=backbone, source_logits=network, layer_groups=groups
    )


def _chain(**links: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(links))


def mobilenetv1(**kwargs: Any) -> SourceNetwork:
    """Build MobileNetV1 of any width by timm's builder."""
    # timm's named models fix the width, so that its builder is called by its private name.
    from timm.models.efficientnet import _gen_mobilenet_v1

    if "act_layer" in kwargs:
        from timm.layers import get_act_layer

        kwargs["act_layer"] = get_act_layer(kwargs["act_layer"])
    network = _gen_mobilenet_v1("mobilenetv1_100", **kwargs)
    backbone = _chain(
        conv_stem=network.conv_stem, bn1=network.bn1, blocks=network.blocks, pool=GlobalMean()
    )
    blocks = [
        (f"blocks.{stage}.{index}",)
        for stage, children in enumerate(network.blocks)
        for index in range(len(children))
    ]
    return _source(network, backbone, (("conv_stem", "bn1"), *blocks))


def squeezenet1_0(num_classes: int = 1000) -> SourceNetwork:
    """Build SqueezeNet 1.0."""
    pools = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
    features = nn.Sequential(
        *(nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pools[0]),
        *(Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), pools[1]),
        *(Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256)),
        *(pools[2], Fire(512, 64, 256)),
    )
    classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(512, num_classes, 1), nn.ReLU())
    network = _chain(features=features, classifier=classifier, pool=GlobalMean())
    groups = tuple((f"features.{i}",) for i in (0, 3, 4, 5, 7, 8, 9, 10, 12))
    return _source(network, _chain(features=features, pool=GlobalMean()), groups)


def _cifar_resnet(n_blocks: int, num_classes: int) -> SourceNetwork:
    links: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        "bn1": nn.BatchNorm2d(16),
        "act": nn.ReLU(),
    }
    groups: list[tuple[str, ...]] = [("conv1", "bn1")]
    width = 16
    for layer, wider in enumerate((16, 32, 64), start=1):
        blocks = []
        for index in range(n_blocks):
            blocks.append(BasicBlock(width, wider, 2 if index == 0 and layer > 1 else 1))
            groups.append((f"layer{layer}.{index}",))
            width = wider
        links[f"layer{layer}"] = nn.Sequential(*blocks)
    network = _chain(**links, pool=GlobalMean(), fc=nn.Linear(64, num_classes))
    return _source(network, network[:-1], tuple(groups))


def resnet20(num_classes: int = 10) -> SourceNetwork:
    """Build CIFAR's ResNet-20."""
    return _cifar_resnet(3, num_classes)


def resnet56(num_classes: int = 10) -> SourceNetwork:
    """Build CIFAR's ResNet-56."""
    return _cifar_resnet(9, num_classes)


def resnet8(num_classes: int = 10) -> SourceNetwork:
    """Build the ResNet-8 of the tiny benchmarks."""
    network = _chain(
        conv1=SameConv(3, 16, 3),
        bn1=nn.BatchNorm2d(16, eps=KERAS_EPSILON),
        act=nn.ReLU(),
        layer1=ProjectedBlock(16, 16, 1),
        layer2=ProjectedBlock(16, 32, 2),
        layer3=ProjectedBlock(32, 64, 2),
        pool=GlobalMean(),
        fc=nn.Linear(64, num_classes),
    )
    return _source(
        network, network[:-1], (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",))
    )


def big_xception(num_classes: int = 7) -> SourceNetwork:
    """Build the Xception of the facial expressions."""
    body = _chain(
        conv1=nn.Conv2d(1, 32, 3, 2, bias=False),
        bn1=nn.BatchNorm2d(32, eps=KERAS_EPSILON),
        act1=nn.ReLU(),
        conv2=nn.Conv2d(32, 64, 3, bias=False),
        bn2=nn.BatchNorm2d(64, eps=KERAS_EPSILON),
        act2=nn.ReLU(),
        blocks=nn.Sequential(
            XceptionBlock(64, 128, starts_with_relu=False),
            XceptionBlock(128, 256, starts_with_relu=True),
        ),
    )
    links = dict(body.named_children())
    network = _chain(**links, head=nn.Conv2d(256, num_classes, 3, padding=1), pool=GlobalMean())
    groups = (("conv1", "bn1"), ("conv2", "bn2"), ("blocks.0",), ("blocks.1",))
    return _source(network, _chain(**links, pool=GlobalMean()), groups)


def doodlenet(num_classes: int = 345) -> SourceNetwork:
    """Build the network of the doodles."""
    widths = (1, 16, 16, 32, 32, 64, 64)
    convs = [nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(6)]
    network = _chain(
        convs=PooledConvs(convs),
        flat=nn.Flatten(),
        fc1=nn.Linear(576, 512),
        act=nn.Tanh(),
        fc2=nn.Linear(512, num_classes),
    )
    groups = (*((f"convs.{i}",) for i in range(6)), ("fc1",))
    return _source(network, network[:-1], groups)
