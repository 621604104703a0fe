import pytest
import torch
from torch import nn

from autotl.features.folding import fold_batch_norm


def noisy(module):
    """Give batch norms statistics and scales that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return module.eval()


def n_norms(module):
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


X = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(1))


class NormWithActivation(nn.BatchNorm2d):
    def __init__(self, width):
        super().__init__(width)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, NormWithActivation])
def test_folding_changes_the_work_and_not_the_result(norm, bias):
    module = noisy(nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), norm(4), nn.Conv2d(4, 2, 1)))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    folded = fold_batch_norm(module, X)

    assert n_norms(folded) == 0
    torch.testing.assert_close(folded(X), module(X), rtol=0, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert folded[2].weight is module[2].weight


def test_training_mode_is_left_alone():
    module = noisy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    module[1].train()

    assert fold_batch_norm(module, X) is module


def test_nothing_to_fold_is_left_alone():
    module = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)).eval()

    assert fold_batch_norm(module, X) is module


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


def test_a_convolution_that_others_read_too_is_left_alone():
    module = noisy(UsedTwice())

    assert fold_batch_norm(module, X) is module


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.second(self.conv(self.first(self.conv(x))))


def test_a_convolution_called_twice_is_left_alone():
    module = noisy(Shared())

    assert fold_batch_norm(module, X) is module


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_byobnet", "test_vit"])
def test_networks_of_timm(name):
    import timm

    module = noisy(timm.create_model(name, pretrained=False, num_classes=0))
    x = torch.rand((2, 3, 160, 160), generator=torch.Generator().manual_seed(2))

    folded = fold_batch_norm(module, x)

    assert n_norms(folded) == 0
    with torch.inference_mode():
        expected = module(x)
        error = (folded(x) - expected).abs().max() / expected.abs().max()
    assert error < 1e-4
