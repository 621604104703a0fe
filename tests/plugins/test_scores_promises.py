"""What scores promise not to depend on, and what they make of input at the edge."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.features import decompose
from autotl.registry import get_registry
from autotl.specs import ScoreInput
from autotl_scores.parc import parc

SPECS = {spec.name: spec for spec in get_registry().scores}
NAMES = ("knn_loo", "ridge_loo", "logme", "h_score", "gbc", "parc", "nleep", "leep", "nce")
OF_FEATURES = NAMES[:-2]
SCALE_FREE = NAMES[:-3]
ROTATION_FREE = NAMES[:-4]


def source_probs(X):
    spread = X.std(axis=0)
    standard = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    weights = np.random.default_rng(0).standard_normal((X.shape[1], 20)) * 0.2
    probs = np.exp(standard @ weights)
    return probs / probs.sum(axis=1, keepdims=True)


def blobs(n=60, d=8, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.normal(size=(n_classes, d))[y] + rng.normal(size=(n, d)), y


def value(name, X, y, *, probs=None, shared=False):
    """Compute a registered score, of probabilities that follow y unless given."""
    if probs is None:
        probs = (1 + 4 * np.eye(7)[np.asarray(y) % 7]) / 11
    decomposition = (lambda: decompose(X)) if shared else None
    inputs = ScoreInput(features=X, y=y, source_probs=probs, decomposition=decomposition)
    return SPECS[name].compute(inputs)


# What scores do not depend on


shapes = st.tuples(st.integers(20, 70), st.integers(2, 90), st.integers(2, 6), st.integers(0, 99))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(shape=shapes, seed=st.integers(0, 99), shared=st.booleans())
def test_score_ignores_order_and_names(name, shape, seed, shared):
    X, y = blobs(*shape)
    rng, probs = np.random.default_rng(seed), source_probs(X)
    order, names = rng.permutation(len(y)), 3 * rng.permutation(shape[2]) - 5

    expected = value(name, X, y, probs=probs, shared=shared)
    found = value(name, X[order], names[y[order]], probs=probs[order], shared=shared)

    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_parc_of_a_draw_ignores_order_and_names(seed):
    X, y = blobs(700, 6, 4, seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(700), rng.permutation(4)

    assert parc(X[order], names[y[order]]) == pytest.approx(parc(X, y), abs=1e-9)


@pytest.mark.parametrize("name", SCALE_FREE)
@settings(max_examples=10, deadline=None)
@given(shape=shapes, scale=st.sampled_from([1e-4, 0.37, 1e4]), shared=st.booleans())
def test_score_ignores_the_scale_of_features(name, shape, scale, shared):
    X, y = blobs(*shape)

    expected = value(name, X, y, shared=shared)

    assert value(name, scale * X, y, shared=shared) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ROTATION_FREE)
@settings(max_examples=10, deadline=None)
@given(shape=shapes, shared=st.booleans())
def test_score_ignores_a_rotation_of_features(name, shape, shared):
    X, y = blobs(*shape)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(shape[1], shape[1])))[0]

    expected = value(name, X, y, shared=shared)

    assert value(name, X @ rotation, y, shared=shared) == pytest.approx(expected, rel=1e-5)


# Input at the edge, and beyond


def edges():
    rng = np.random.default_rng(0)
    plain, y = blobs(60, 12, 4)
    cases = {
        "two samples": (rng.normal(size=(2, 5)), [0, 1]),
        "two samples alike": (np.ones((2, 5)), [0, 1]),
        "three samples": (rng.normal(size=(3, 5)), [0, 1, 0]),
        "class with one sample": (plain, [9, *y[1:]]),
        "class for each sample": (plain, range(60)),
        "150 classes": (rng.normal(size=(400, 70)), np.arange(400) % 150),
        "constant": (np.full((60, 12), 0.1), y),
        "constant, N < D": (np.full((60, 600), 0.1), y),
        "zero": (np.zeros((60, 12)), y),
        "one dimension": (plain[:, :1], y),
        "dead dimension": (plain * (np.arange(12) > 3), y),
        "five samples copied": (plain[y + np.arange(60) % 2], y),
        "N < D": (rng.normal(size=(60, 300)), y),
        "one point per class": (plain[y], y),
        "far from zero": (plain + 1000, y),
    }
    for dtype, scale in itertools.product(("float16", "float32", "float64"), (1e-4, 1, 1e4)):
        cases[f"{dtype} x {scale:g}"] = ((plain * min(scale, 1e3)).astype(dtype), y)
    return [pytest.param(X, np.array(labels), id=name) for name, (X, labels) in cases.items()]


@pytest.mark.parametrize(("X", "y"), edges())
@pytest.mark.parametrize("shared", [False, True])
def test_scores_are_finite_at_the_edge(X, y, shared):
    found = {name: value(name, X, y, shared=shared) for name in NAMES}

    assert {name: v for name, v in found.items() if not np.isfinite(v)} == {}


@pytest.mark.parametrize("name", OF_FEATURES)
@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((1, 4)), [0], r"shape \(1, 4\).*at least two samples"),
        (np.ones(4), [0, 0, 1, 1], r"shape \(4,\)"),
        (np.ones((4, 0)), [0, 0, 1, 1], r"shape \(4, 0\)"),
        (np.ones((4, 2)), [0, 1], r"y has shape \(2,\) but there are 4 samples"),
        (np.ones((4, 2)), [3, 3, 3, 3], "All 4 labels are of the class 3"),
        (np.array([[1, np.nan], [np.inf, 1]]), [0, 1], "Of 4 values of the features 2 are not"),
    ],
)
def test_score_says_what_is_wrong_with_its_input(name, X, y, message):
    with pytest.raises(ValueError, match=message):
        value(name, X, np.array(y))


@pytest.mark.parametrize("name", ["leep", "nce"])
@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (np.ones((2, 4)), "row sums from 4 to 4"),
        (np.array([[1.5, -0.5], [0.5, 0.5]]), "values from -0.5"),
        (np.ones((3, 1)), "y has shape"),
        (np.ones(2), r"The source_probs have shape \(2,\)"),
    ],
)
def test_score_says_what_is_wrong_with_probabilities(name, probs, message):
    with pytest.raises(ValueError, match=message):
        value(name, np.ones((2, 3)), np.array([0, 1]), probs=probs)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_score_asks_for_probabilities(name):
    with pytest.raises(ValueError, match="source_probs is None"):
        SPECS[name].compute(ScoreInput(features=np.ones((2, 3)), y=np.array([0, 1])))
