"""The contract suites, over everything that is registered here and usable now."""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest

from autotl import testing
from autotl.registry import get_registry

REGISTRY = get_registry()
TEXTS = [
    "The kettle is on.",
    "the kettle is on.",
    "Who moved the ladder from the shed to the garden?",
    "Rain is expected in the north, with snow on high ground.",
    "I would not buy it again; the battery lasts an hour.",
    "The kettle is on.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "1 2 3, testing!",
]


def named(specs):
    return [pytest.param(spec, id=spec.name) for spec in specs]


def samples_of(modality):
    """Return X in a form that a modality accepts, with one sample twice."""
    if modality == "image":
        images, _ = testing.toy_images(8)
        return [*images, images[0]]
    if modality == "text":
        return TEXTS
    pytest.skip(f"no samples of modality {modality!r} here")


def test_first_party_plugins_load_without_problems():
    try:
        points = distribution("autotl").entry_points.select(group="autotl")
    except PackageNotFoundError:
        pytest.skip("autotl is not installed; run: pip install -e '.[dev]'")

    rows = {row.name: row for row in REGISTRY.plugins}

    assert {p.name: rows[p.name].problems for p in points} == {p.name: [] for p in points}
    assert all(rows[p.name].counts for p in points if rows[p.name].status == "loaded")


@pytest.mark.parametrize("spec", named([*REGISTRY.backbones, testing.fake_backbone()]))
def test_backbone_keeps_the_contract(spec):
    reason = spec.unavailable()
    if reason is not None:
        pytest.skip(reason)
    if spec.modality not in ("image", "text"):
        pytest.skip(f"no samples of modality {spec.modality!r} here")

    testing.check_backbone(spec)


@pytest.mark.parametrize("spec", named([*REGISTRY.adaptations, testing.fake_adaptation()]))
def test_adaptation_keeps_the_contract(spec):
    testing.check_adaptation(spec)


@pytest.mark.parametrize("spec", named([*REGISTRY.scores, testing.fake_score()]))
def test_score_keeps_the_contract(spec):
    testing.check_score(spec)


@pytest.mark.parametrize("spec", named([*REGISTRY.similarities, testing.fake_similarity()]))
def test_similarity_keeps_the_contract(spec):
    testing.check_similarity(spec)


@pytest.mark.parametrize("spec", named(REGISTRY.modalities))
def test_modality_keeps_the_contract(spec):
    testing.check_modality(spec, samples_of(spec.name))


def test_fake_modality_keeps_the_contract():
    import torch

    X = np.random.default_rng(0).normal(size=(9, 4))

    testing.check_modality(testing.fake_modality(), X, batch=torch.from_numpy(X[:5]))
