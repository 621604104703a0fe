import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.errors import InvalidDataError
from autotl.features import BackboneSession
from autotl.registry import get_registry
from autotl.search.limits import Limits, measure_latency_ms
from autotl.shelf import Shelf
from autotl.testing.fakes import fake_backbone, toy_images


@pytest.fixture(scope="module")
def session():
    images, _ = toy_images(8)
    return BackboneSession(fake_backbone(), images, get_registry().modalities.get("image"))


@pytest.mark.parametrize(
    "limit",
    [
        {"max_params": 0}, {"max_params": -5}, {"max_params": 1.5}, {"max_params": True},
        {"max_latency_ms": 0}, {"max_latency_ms": float("nan")}, {"max_latency_ms": "fast"},
        {"max_latency_ms": float("inf")}, {"license": ""}, {"license": []},
        {"license": ["mit", 3]},
    ],
)  # fmt: skip
def test_absurd_limits_are_refused_by_name(limit):
    (name,) = limit

    with pytest.raises(InvalidDataError, match=name):
        Limits(**limit)


@pytest.mark.parametrize(
    ("license", "patterns", "allowed"),
    [
        ("MIT", "mit", True), ("Apache-2.0", ["mit", "apache*"], True),
        ("CC-BY-NC-4.0", ["mit", "apache*"], False), ("", "*", False), ("mit-0", "mit", False),
    ],
)  # fmt: skip
def test_licences_are_matched_in_any_case(license, patterns, allowed):
    spec = dataclasses.replace(fake_backbone(), license=license)

    assert (Limits(license=patterns).obstacle(spec) is None) == allowed


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_params_are_limited_where_known(n_params, limit):
    spec = dataclasses.replace(fake_backbone(), n_params=n_params)

    assert (Limits(max_params=limit).obstacle(spec) is None) == (n_params <= limit)
    assert Limits(max_params=limit).obstacle(dataclasses.replace(spec, n_params=None)) is None


def test_shelf_loses_what_exceeds_with_the_reason():
    small = dataclasses.replace(fake_backbone("fake/small"), n_params=10)
    large = dataclasses.replace(fake_backbone("fake/large"), n_params=10_000)
    unfree = dataclasses.replace(fake_backbone("fake/unfree"), n_params=10, permissive=False)
    shelf = Shelf(usable=[small, large, unfree])

    Limits(max_params=100, permissive_only=True).apply(shelf)

    assert [s.name for s in shelf.usable] == ["fake/small"]
    reasons = {s.name: s.reason for s in shelf.skipped}
    assert "10,000 parameters, allowed are 100" in reasons["fake/large"]
    assert "commercial use" in reasons["fake/unfree"]


def test_parameters_are_counted_after_loading(session):
    n_params = sum(p.numel() for p in session.loaded.module.parameters())

    assert Limits(max_params=n_params).obstacle_loaded(session) is None
    assert f"{n_params:,}" in Limits(max_params=n_params - 1).obstacle_loaded(session)


def test_slow_backbones_are_told_after_a_measurement(session):
    assert measure_latency_ms(session) > 0
    assert Limits(max_latency_ms=1e6).obstacle_loaded(session) is None
    known = {}
    assert "ms for one sample" in Limits(max_latency_ms=1e-6).obstacle_loaded(session, known)
    assert known["fake/tiny"] > 0
