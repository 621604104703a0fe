import numpy as np
import pytest
import torch

from autotl.adapt.mixing import Mixture

PICTURES = torch.arange(4, dtype=torch.float32)[:, None, None, None].expand(4, 3, 8, 8).clone()
ONE_HOT = torch.eye(4)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("seed", range(8))
def test_targets_are_shared_out_as_the_pixels_are(kind, seed):
    mixture = Mixture(kind, 4, np.random.default_rng(seed))

    mixed = mixture.values(PICTURES)
    targets = mixture.targets(ONE_HOT)

    # Each picture holds its own number throughout, so that its mean tells the shares.
    expected = targets @ torch.arange(4, dtype=torch.float32)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected, atol=1e-5, rtol=0)


def test_cutmix_keeps_every_pixel_whole():
    mixture = Mixture("cutmix", 4, np.random.default_rng(0))

    assert set(mixture.values(PICTURES).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_tokens_are_not_mixed_as_they_are():
    assert not Mixture.mixes({"input_ids": torch.zeros(2, 3, dtype=torch.long)})
    assert not Mixture.mixes(torch.zeros(2, 3, dtype=torch.uint8))
    assert Mixture.mixes(PICTURES)
