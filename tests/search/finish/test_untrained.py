import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autotl.features.untrained import UntrainedFeatures, reinitialise, untrained
from autotl.testing.fakes import fake_modality


class Mixed(nn.Module):
    """What real backbones are made of: tokens, tables, gains, scalars and attention."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 8))
        self.position = nn.Parameter(torch.ones(1, 4, 8))
        self.gamma = nn.Parameter(torch.ones(8))
        self.bias = nn.Parameter(torch.ones(8))
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.norm.running_mean.fill_(5.0)
        self.words = nn.Embedding(10, 8, padding_idx=0)
        self.register_buffer("positions", torch.arange(4))
        for parameter in self.parameters():
            parameter.data.fill_(5.0)  # what it has learnt


def state(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_same_seed_draws_the_same_weights(seed):
    one, other = Mixed(), Mixed()

    reinitialise(one, seed)
    reinitialise(other, seed)

    for name, value in state(one).items():
        assert torch.equal(value, other.state_dict()[name]), name
        assert value.isfinite().all(), name


def test_nothing_learnt_is_left():
    module = Mixed()
    before = state(module)

    reinitialise(module, 0)

    for name, value in module.named_parameters():
        assert (value != before[name]).all(), name
    assert 0.01 < module.position.std() < 0.03
    assert module.position.abs().max() <= 0.04
    assert (module.gamma == 1).all()
    assert (module.bias == 0).all()
    assert (module.norm.running_mean == 0).all()
    assert (module.words.weight[0] == 0).all()
    assert torch.equal(module.positions, before["positions"])


def test_other_seeds_draw_other_weights():
    one, other = Mixed(), Mixed()

    reinitialise(one, 0)
    reinitialise(other, 1)

    assert not torch.equal(one.position, other.position)
    assert not torch.equal(one.attention.in_proj_weight, other.attention.in_proj_weight)


def test_random_state_outside_is_not_touched():
    module = Mixed()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    reinitialise(module, 0)

    assert torch.equal(torch.rand(2), expected)


def test_frozen_statistics_are_reset_too():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.register_buffer(name, torch.full((3,), 7.0))

    module = Frozen()
    reinitialise(module, 0)

    assert [float(b[0]) for b in (module.weight, module.bias)] == [1, 0]
    assert [float(b[0]) for b in (module.running_mean, module.running_var)] == [0, 1]


def test_whole_numbers_cannot_be_drawn():
    module = nn.Module()
    module.codes = nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)

    with pytest.raises(ValueError, match="'codes' holds"):
        reinitialise(module, 0)


def test_pretrained_network_stays_as_it_is(toys):
    shared = toys.backbone().load("cpu")
    before = state(shared.module)
    spec = toys.backbone(load=lambda device: shared)

    twin = untrained(spec, 0).load("cpu")

    assert all(torch.equal(v, before[k]) for k, v in shared.module.state_dict().items())
    assert not torch.equal(twin.module.last.weight, shared.module.last.weight)
    assert (twin.module.first[1].running_mean == 0).all()
    assert untrained(spec, 0).weights_digest() != spec.weights_digest()
    assert untrained(spec, 0).weights_digest() != untrained(spec, 1).weights_digest()


def test_features_are_standardised_on_training_samples(toys):
    X = list(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    feature = UntrainedFeatures(toys.backbone(), fake_modality(), device="cpu", seed=0).spec()

    learnt = feature.fit(X[:30])
    train, other = feature.transform(X[:30], learnt), feature.transform(X[30:], learnt)

    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-4)
    assert np.abs(other.mean(axis=0)).max() > 1e-3
    assert feature.name == "untrained:toy/backbone"


def test_exploding_network_is_named(toys):
    def load(device):
        loaded = toys.backbone().load(device)

        class Exploding(nn.Linear):
            def forward(self, batch):
                return super().forward(batch) / 0

        loaded.module.last = Exploding(8, 4)
        return loaded

    feature = UntrainedFeatures(
        toys.backbone(load=load), fake_modality(), device="cpu", seed=0
    ).spec()

    with pytest.raises(FloatingPointError, match="'toy/backbone' without its pretraining"):
        feature.fit(list(np.ones((4, 3), np.float32)))
