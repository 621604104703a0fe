import numpy as np
import pytest
import torch

from autotl.testing import ArrayInputs, fake_backbone, jitter, toy_images


@pytest.fixture
def inputs():
    return ArrayInputs(toy_images(10)[0], fake_backbone().load("cpu"), augment=jitter)


def gathered(inputs, **kwargs):
    parts = list(inputs.batches(4, **kwargs))
    return np.concatenate([i for i, _ in parts]), torch.cat([b for _, b in parts])


def test_array_inputs_computes_features_once(inputs):
    first = inputs.features()

    assert first.shape == (10, 12)
    assert first.dtype == np.float32
    assert inputs.features() is first
    assert inputs.decomposition() is inputs.decomposition()


def test_array_inputs_keeps_the_order_without_a_seed(inputs):
    indices, batch = gathered(inputs, augment=1.0)

    assert indices.tolist() == list(range(10))
    assert torch.equal(batch, inputs.backbone.preprocess(inputs.samples))


def test_array_inputs_shuffles_and_augments_by_seed(inputs):
    one, first = gathered(inputs, seed=1, augment=1.0)
    again, second = gathered(inputs, seed=1, augment=1.0)
    other, _ = gathered(inputs, seed=2)

    assert one.tolist() == again.tolist() != other.tolist()
    assert sorted(one) == list(range(10))
    assert torch.equal(first, second)
    assert not torch.equal(first, inputs.backbone.preprocess([inputs.samples[i] for i in one]))


def test_array_inputs_copies_the_backbone(inputs):
    before = inputs.features().copy()
    copy = inputs.load_backbone()
    with torch.no_grad():
        for parameter in copy.module.parameters():
            parameter.zero_()

    fresh = ArrayInputs(inputs.samples, inputs.backbone)

    assert np.array_equal(fresh.features(), before)
    assert all(p.requires_grad for p in copy.module.parameters())


def test_fake_backbone_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    fake_backbone().load("cpu")

    assert torch.equal(torch.rand(1), expected)
