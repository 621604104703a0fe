"""The convolutional networks behind the embedded image backbones, built from timm's blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "Network"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A residual network without its classifier, fully convolutional.

    Args:
        n_channels: Channels of the input, 1 for grey and 3 for RGB.
        n_pixels: Height and width to which images are resized; the network takes any.
        stem_width: Channels after the stem, which has stride 2.
        stages: (depth, width, stride) of each stage of basic residual blocks.
        embed_dim: Channels of the last, pointwise convolution, which are averaged over space.
        n_classes: Source classes that the weights' linear layer tells apart.
    """

    n_channels: int
    n_pixels: int
    stem_width: int
    stages: tuple[tuple[int, int, int], ...]
    embed_dim: int
    n_classes: int

    def build(self) -> nn.Module:
        """Return the untrained network; it maps images to (n_samples, embed_dim)."""
        from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

        blocks = tuple(
            ByoBlockCfg(type="basic", d=depth, c=width, s=stride, br=1.0)
            for depth, width, stride in self.stages
        )
        config = ByoModelCfg(
            blocks=blocks, stem_chs=self.stem_width, stem_pool="", num_features=self.embed_dim
        )
        return ByobNet(config, num_classes=0, in_chans=self.n_channels)

    @property
    def layer_groups(self) -> tuple[tuple[str, ...], ...]:
        """Parameter-name prefixes: the stem, each block, the pointwise convolution."""
        blocks = [
            f"stages.{stage}.{block}"
            for stage, (depth, _width, _stride) in enumerate(self.stages)
            for block in range(depth)
        ]
        return tuple((name,) for name in ("stem", *blocks, "final_conv"))


NETWORKS = {
    "glyphs": Network(
        n_channels=1,
        n_pixels=32,
        stem_width=32,
        stages=((1, 40, 1), (2, 96, 2), (2, 160, 2)),
        embed_dim=256,
        n_classes=3302,
    ),
    "natural-small": Network(
        n_channels=3,
        n_pixels=64,
        stem_width=24,
        stages=((1, 24, 1), (1, 56, 2), (2, 104, 2)),
        embed_dim=192,
        n_classes=200,
    ),
    "natural-base": Network(
        n_channels=3,
        n_pixels=96,
        stem_width=32,
        stages=((1, 32, 1), (2, 80, 2), (2, 176, 2)),
        embed_dim=320,
        n_classes=200,
    ),
    "shapes": Network(
        n_channels=3,
        n_pixels=64,
        stem_width=32,
        stages=((1, 32, 1), (1, 72, 2), (2, 144, 2)),
        embed_dim=256,
        n_classes=500,
    ),
}
