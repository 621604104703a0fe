import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl import specs
from autotl.errors import PluginError
from autotl.features import decompose
from autotl.specs import AdaptationSpec, AdaptationTask, Choice, Range, Spec

SPECS = [
    value
    for name in specs.__all__
    if dataclasses.is_dataclass(value := getattr(specs, name)) and isinstance(value, type)
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__name__)
def test_specs_are_frozen_and_keyword_only(spec):
    assert spec.__dataclass_params__.frozen
    assert all(f.kw_only for f in dataclasses.fields(spec))


@pytest.mark.parametrize("name", ["timm/resnet18.a1_in1k", "text:./folder", "a@b+c-d", "9lives"])
def test_spec_accepts_a_name(name):
    assert Spec(name=name).name == name


@pytest.mark.parametrize("name", ["", " a", "a b", "/a", "é", "a\n"])
def test_spec_refuses_a_name_and_shows_it(name):
    with pytest.raises(PluginError, match="has the name") as caught:
        Spec(name=name)

    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": -1, "high": 1, "log": True},
        {"low": float("nan"), "high": 1},
    ],
)
def test_range_refuses_what_is_empty(kwargs):
    with pytest.raises(PluginError, match="Range"):
        Range(**kwargs)


def test_range_accepts_a_single_point():
    assert Range(low=1, high=1).high == 1


def test_choice_refuses_no_options():
    with pytest.raises(PluginError, match="at least one"):
        Choice(options=())


@pytest.mark.parametrize("defaults", [{}, {"lr": 1.0, "momentum": 0.9}, {"momentum": 0.9}])
def test_adaptation_wants_one_default_for_each_dimension(defaults):
    with pytest.raises(PluginError, match=r"momentum|lr"):
        AdaptationSpec(
            name="a",
            steps=lambda task, state: None,
            restore=lambda saved: None,
            space={"lr": Range(low=1, high=2)},
            defaults=defaults,
        )


def test_adaptation_counts_epochs_as_its_steps():
    spec = AdaptationSpec(name="a", steps=lambda t, s: None, restore=lambda s: None)

    assert spec.max_steps({"epochs": 7}) == 7
    assert spec.max_steps({}) == 1


def test_adaptation_task_shares_the_decomposition():
    class Inputs:
        def decomposition(self):
            return "computed once"

    task = AdaptationTask(
        train=Inputs(), y=np.zeros(1), n_classes=1, freeze_depth=0, n_steps=1, params={}
    )

    assert task.decomposition() == "computed once"


def ridge(features, Y, strength):
    """Solve centred ridge regression by the normal equations."""
    gram = features.T @ features + strength * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ Y)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(4, 12),
    dim=st.integers(1, 14),
    strength=st.floats(0.01, 100),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_ridge_weights_and_loo_equal_their_definitions(seed, n, dim, strength):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(3, 1, (n, dim)), rng.normal(-1, 1, (n, 2))
    mean, offset = X.mean(axis=0), Y.mean(axis=0)
    parts = decompose(X)

    weights = parts.ridge_weights(Y - offset, strength)
    loo = parts.ridge_loo(Y - offset, strength)

    assert np.allclose(weights, ridge(X - mean, Y - offset, strength), atol=1e-5)
    for i in range(n):
        rest = np.arange(n) != i
        centre, level = X[rest].mean(axis=0), Y[rest].mean(axis=0)
        fitted = ridge(X[rest] - centre, Y[rest] - level, strength)
        assert np.allclose(loo[i], (X[i] - centre) @ fitted + level - offset, atol=1e-5)
