from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from autotl.data import build_task
from autotl.features import BackboneSession, layer_average, layer_means, norm_moments, source_probs
from autotl.specs import LoadedBackbone
from autotl.testing.fakes import fake_backbone, toy_images


def session_of(module, source_probs=None):
    images, y = toy_images(40)
    task = build_task(images, y)
    session = BackboneSession(fake_backbone(), task.samples, task.modality)

    def preprocess(samples):
        arrays = [np.asarray(s, np.float32).transpose(2, 0, 1) / 255 for s in samples]
        return torch.tensor(np.stack(arrays))

    session.loaded = LoadedBackbone(
        module=module.eval(), preprocess=preprocess, source_probs=source_probs
    )
    return session


def network():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_mean.copy_(torch.arange(4.0))
    norm.running_var.copy_(torch.arange(1.0, 5.0))
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3), norm=norm, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()
        )
    )


@pytest.mark.parametrize("n_rows", [1, 7, 40])
def test_moments_are_those_of_all_positions(n_rows):
    module = network()
    session, rows = session_of(module), np.arange(n_rows)

    remembered, met = norm_moments(session, rows)

    with torch.no_grad():
        before = module.conv(session.prepare(rows)).double().numpy()
    assert remembered["norm"].mean.tolist() == [0, 1, 2, 3]
    assert remembered["norm"].variance.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(met["norm"].mean, before.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(met["norm"].variance, before.var(axis=(0, 2, 3)), rtol=1e-4)


def test_moments_leave_no_hook_behind():
    module = network()
    norm_moments(session_of(module), np.arange(3))

    assert not module.norm._forward_pre_hooks


def test_networks_without_batch_norm_have_no_moments():
    assert norm_moments(session_of(nn.Sequential(nn.Flatten())), np.arange(3)) == ({}, {})


def test_source_probs_come_in_order():
    def classify(batch):
        return torch.softmax(batch.flatten(1)[:, :5], dim=1)

    session = session_of(network(), classify)
    rows = np.array([5, 3, 30])

    expected = classify(session.prepare(rows)).numpy()

    np.testing.assert_allclose(source_probs(session, rows), expected, rtol=1e-6)
    assert source_probs(session_of(network()), rows) is None


def test_layer_average_is_the_mean_of_scaled_token_means():
    from autotl.registry import get_registry

    texts = [f"text number {i} " + "word " * (i % 7) for i in range(20)]
    task = build_task(texts, [i % 2 for i in range(20)])
    spec = get_registry().backbones.get("embedded/sentences")
    session = BackboneSession(spec, task.samples, task.modality)
    rows = np.array([4, 0, 11])

    found = layer_average(layer_means(session, rows))

    batch, layers = session.ready(session.prepare(rows)), []
    depths = session.cuts.depths
    for start, stop in pairwise(depths):
        with torch.no_grad():
            batch = session.part(start, stop)(batch)
        if isinstance(batch, dict):
            mask = batch["attention_mask"][:, :, None].float()
            (hidden,) = (v for k, v in batch.items() if k != "attention_mask")
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        else:
            pooled = batch
        layers.append(pooled / pooled.pow(2).mean().sqrt())
    np.testing.assert_allclose(found, torch.stack(layers).mean(0).numpy(), rtol=1e-4, atol=1e-5)


def test_images_have_no_layer_average():
    module = network()
    module.register_forward_hook(lambda *_: pytest.fail("an image backbone was run for nothing"))

    assert layer_means(session_of(module), np.arange(3)) is None
