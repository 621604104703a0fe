import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.features import decompose


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 20), d=st.integers(2, 20), seed=st.integers(0, 999))
def test_decompose_rebuilds_the_features(n, d, seed):
    features = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)

    parts = decompose(features)

    rebuilt = parts.left @ np.diag(parts.singular) @ parts.right.T + parts.mean
    np.testing.assert_allclose(rebuilt, features, atol=1e-4)
    np.testing.assert_allclose(parts.right.T @ parts.right, np.eye(len(parts.singular)), atol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(30, 5), (12, 40)])
def test_ridge_loo_equals_leaving_each_row_out(n, d):
    rng = np.random.default_rng(0)
    features, Y = rng.normal(size=(n, d)), rng.normal(size=(n, 3))
    strength = 0.7

    fast = Y.mean(0) + decompose(features).ridge_loo(Y - Y.mean(0), strength)

    for i in range(n):
        rest = np.arange(n) != i
        parts = decompose(features[rest])
        mean = Y[rest].mean(0)
        weights = parts.ridge_weights(Y[rest] - mean, strength)
        np.testing.assert_allclose(fast[i], mean + (features[i] - parts.mean) @ weights, atol=1e-5)


def test_decompose_drops_directions_without_variance():
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    features[:, 3] = 5.0

    assert len(decompose(features).singular) == 3


def test_ridge_paths_equal_one_strength_at_a_time():
    rng = np.random.default_rng(0)
    Y, strengths = rng.normal(size=(20, 3)), (0.1, 1.0, 10.0)
    parts = decompose(rng.normal(size=(20, 6)))

    loo, weights = parts.ridge_loo_path(Y, strengths), parts.ridge_weights_path(Y, strengths)

    for strength, predicted, weight in zip(strengths, loo, weights, strict=True):
        np.testing.assert_allclose(predicted, parts.ridge_loo(Y, strength), atol=1e-12)
        np.testing.assert_allclose(weight, parts.ridge_weights(Y, strength), atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(50, 9), (9, 50)])
def test_decompose_in_chunks_equals_decompose_at_once(n, d, monkeypatch):
    features = np.random.default_rng(0).normal(3, 1, size=(n, d)).astype(np.float32)
    whole = decompose(features)
    monkeypatch.setattr("autotl.features.decomposition._CHUNK_BYTES", 8 * 9 * 7)

    parts = decompose(features)

    np.testing.assert_allclose(parts.singular, whole.singular, rtol=1e-9)
    rebuilt = parts.left * parts.singular @ parts.right.T + parts.mean
    np.testing.assert_allclose(rebuilt, features, atol=1e-4)
