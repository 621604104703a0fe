"""The small convolutional network behind both embedded image backbones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch  # noqa: TID253  # imported by `load` only
from torch import Tensor, nn  # noqa: TID253  # imported by `load` only

__all__ = ["ConvNet"]


class Block(nn.Module):
    """Add two 3x3 convolutions to a shortcut; a stride halves height and width."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.act = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            # ceil_mode keeps odd sizes equal to those of the strided convolution.
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity()
            project = nn.Conv2d(n_in, n_out, 1, bias=False)
            self.shortcut = nn.Sequential(
                OrderedDict(pool=pool, conv=project, norm=nn.BatchNorm2d(n_out))
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map features of shape (n_samples, n_in, height, width) to n_out channels."""
        out = self.act(self.norm1(self.conv1(x)))
        total: Tensor = self.act(self.norm2(self.conv2(out)) + self.shortcut(x))
        return total


class ConvNet(nn.Module):
    """Embed images of any size from 8 to 128 pixels with a small residual network.

    Modules run in the order in which they are registered (`stem`, `stage1`, `stage2`, ...),
    so `layer_groups` lists parameter-name prefixes from the input to the output.

    Args:
        n_channels: Channels of the input, 1 for grey and 3 for RGB.
        stem_width: Channels after the stem, which has stride 2.
        widths: Channels of each stage; every stage but the first halves the resolution.
        depths: Residual blocks of each stage.
    """

    def __init__(
        self,
        n_channels: int = 3,
        stem_width: int = 32,
        widths: Sequence[int] = (48, 96, 160),
        depths: Sequence[int] = (2, 2, 2),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(n_channels, stem_width, 5, 2, 2, bias=False),
                norm=nn.BatchNorm2d(stem_width),
                act=nn.ReLU(inplace=True),
            )
        )
        self.layer_groups: list[str] = ["stem"]
        previous = stem_width
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            stage = nn.Sequential()
            for block in range(depth):
                stride = 2 if block == 0 and index > 1 else 1
                stage.add_module(f"block{block + 1}", Block(previous, width, stride))
                self.layer_groups.append(f"stage{index}.block{block + 1}")
                previous = width
            self.add_module(f"stage{index}", stage)
        self.n_stages = len(widths)
        self.embed_dim = previous

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings of shape (n_samples, embed_dim)."""
        x = self.stem(x)
        for index in range(1, self.n_stages + 1):
            x = self.get_submodule(f"stage{index}")(x)
        return torch.mean(x, dim=(2, 3))
