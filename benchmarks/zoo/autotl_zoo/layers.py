"""Blocks of the zoo's networks, each with the key names of its weights files."""

import torch
from torch import Tensor, nn
from torch.nn import functional

KERAS_EPSILON = 1e-3  # of batch norm in networks that come from Keras


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad as TensorFlow's "same": what cannot be split evenly goes to the right and bottom."""
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(size // -stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads, value=value)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


class SamePool(nn.MaxPool2d):
    """A 3x3 maximum with stride 2 and TensorFlow's "same" padding."""

    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, 3, 2, -torch.inf))


class GlobalMean(nn.Module):
    """Average a map over its height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Fire(nn.Module):
    """SqueezeNet's block: a narrow 1x1 convolution, then 1x1 and 3x3 ones side by side."""

    def __init__(self, n_in: int, n_squeeze: int, n_expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n_in, n_squeeze, 1)
        self.expand1x1 = nn.Conv2d(n_squeeze, n_expand, 1)
        self.expand3x3 = nn.Conv2d(n_squeeze, n_expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat(
            [functional.relu(self.expand1x1(x)), functional.relu(self.expand3x3(x))], dim=1
        )


class BasicBlock(nn.Module):
    """CIFAR ResNet's block; its shortcut has no parameters and pads channels with zeros."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.stride, self.n_added = stride, (n_out - n_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return functional.relu(
            out + functional.pad(shortcut, (0, 0, 0, 0, self.n_added, self.n_added))
        )


class ProjectedBlock(nn.Module):
    """ResNet-8's block; a convolution with bias is its shortcut where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = SameConv(n_in, n_out, 3, stride)
        self.bn1 = nn.BatchNorm2d(n_out, eps=KERAS_EPSILON)
        self.conv2 = SameConv(n_out, n_out, 3)
        self.bn2 = nn.BatchNorm2d(n_out, eps=KERAS_EPSILON)
        self.downsample = SameConv(n_in, n_out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + self.downsample(x))


class Separable(nn.Module):
    """A 3x3 convolution within channels, a 1x1 one across them, batch norm."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, bias=False)
        self.pw = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=KERAS_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.pw(self.dw(x)))
        return out


class XceptionBlock(nn.Module):
    """Two separable convolutions and a maximum beside a projected shortcut."""

    def __init__(self, n_in: int, n_out: int, *, starts_with_relu: bool) -> None:
        super().__init__()
        self.skip = nn.Conv2d(n_in, n_out, 1, 2, bias=False)
        self.skip_bn = nn.BatchNorm2d(n_out, eps=KERAS_EPSILON)
        self.sep1 = Separable(n_in, n_out)
        self.sep2 = Separable(n_out, n_out)
        self.pool = SamePool()
        self.starts_with_relu = starts_with_relu

    def forward(self, x: Tensor) -> Tensor:
        start = functional.relu(x) if self.starts_with_relu else x
        main = self.pool(self.sep2(functional.relu(self.sep1(start))))
        return main + self.skip_bn(self.skip(x))


class PooledConvs(nn.ModuleList):
    """Convolutions with ReLU, and a maximum of 2x2 after every second one."""

    def forward(self, x: Tensor) -> Tensor:
        for index, conv in enumerate(self):
            x = functional.relu(conv(x))
            if index % 2:
                x = functional.max_pool2d(x, 2)
        return x
