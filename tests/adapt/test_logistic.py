import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from autotl.adapt import LogisticPath, softmax, solve_logistic_panel
from autotl.adapt.newton import SoftmaxRegression

STRENGTHS = (0.01, 0.1, 1.0)


def blobs(n=90, d=8, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centres = rng.normal(size=(n_classes, d))
    return (0.5 + centres[y] + 2 * rng.normal(size=(n, d))).astype(np.float32), y


def decisions(panel, X):
    scores = X @ panel.weights.transpose(0, 2, 1) + panel.biases[:, None, :]
    return scores - scores.mean(axis=2, keepdims=True)  # softmax ignores a shift of all classes


def reference(X, y, strength, sample_weight=None):
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
    model.fit(np.asarray(X, np.float64), y, sample_weight=sample_weight)
    scores = model.decision_function(X)
    return scores if scores.ndim == 2 else np.stack([-scores / 2, scores / 2], axis=1)


def assert_agrees(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("n", "d"), [(90, 8), (40, 120)])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_panel_agrees_with_scikit_learn(n, d, n_classes, kind):
    X, y = blobs(n, d, n_classes)

    panel = solve_logistic_panel(kind(X), y, n_classes, STRENGTHS, tol=1e-6)

    for i, strength in enumerate(STRENGTHS):
        assert_agrees(decisions(panel, X)[i], reference(X, y, strength))


@pytest.mark.parametrize(("n", "d"), [(90, 8), (40, 120)])
def test_panel_weighs_classes_like_sample_weights(n, d):
    X, y = blobs(n, d)
    weights = np.array([0.2, 1.0, 3.0])

    panel = solve_logistic_panel(X, y, 3, STRENGTHS, class_weights=weights, tol=1e-6)

    for i, strength in enumerate(STRENGTHS):
        assert_agrees(decisions(panel, X)[i], reference(X, y, strength, weights[y]))


def test_interpolated_panel_agrees_with_scikit_learn_in_any_order():
    X, y = blobs()
    strengths = np.random.default_rng(0).permutation(np.logspace(-4, 2, 40))

    panel = solve_logistic_panel(X, y, 3, strengths, tol=1e-6)

    for i in (0, 7, 39):
        assert_agrees(decisions(panel, X)[i], reference(X, y, strengths[i]))


def test_sparse_inputs_too_many_to_rotate_are_solved_as_they_are(monkeypatch):
    monkeypatch.setattr("autotl.adapt.logistic._MOST_ROTATED", 10)
    X, y = blobs()

    panel = solve_logistic_panel(sparse.csr_matrix(X), y, 3, STRENGTHS)

    scores = decisions(panel, X)
    for i, strength in enumerate(STRENGTHS):
        expected = reference(X, y, strength)
        np.testing.assert_allclose(scores[i], expected, atol=2e-2 * np.abs(expected).max())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    n=st.integers(6, 40),
    d=st.integers(1, 30),
    n_classes=st.integers(2, 5),
    log_strength=st.floats(-3, 1),
    seed=st.integers(0, 999),
)
def test_gradient_vanishes_at_the_solution(n, d, n_classes, log_strength, seed):
    X, y = blobs(n, d, n_classes, seed)
    C = 10**log_strength

    panel = solve_logistic_panel(X, y, n_classes, [C], tol=1e-6)

    W = panel.weights[0].astype(np.float64)
    residual = softmax(X @ W.T + panel.biases[0]) - np.eye(n_classes)[y]
    penalty = 2.0 if n_classes == 2 else 1.0  # two classes: of the difference of the rows
    gradient = C * residual.T @ X + penalty * W
    assert np.abs(gradient).max() < 1e-3 * max(1.0, np.abs(C * np.abs(residual).T @ abs(X)).max())
    assert np.abs(C * residual.sum(axis=0)).max() < 1e-3 * max(1.0, C * np.abs(residual).sum())


@pytest.mark.parametrize("n_strengths", [1, 9, 24])
def test_many_classes_converge_where_regularisation_is_weak(n_strengths):
    X, y = blobs(n=300, d=100, n_classes=30)
    strengths = np.logspace(2, -3, n_strengths)

    panel = solve_logistic_panel(X, y, 30, strengths, tol=1e-5)

    W = panel.weights[0].astype(np.float64)
    residual = softmax(X @ W.T + panel.biases[0]) - np.eye(30)[y]
    gradient = strengths[0] * residual.T @ X + W
    assert np.abs(gradient).max() < 1e-2 * np.abs(W).max()


def test_residuals_keep_their_precision_where_predictions_are_sure():
    X, y = blobs()
    sure = np.where(np.arange(3)[:, None] == y, 20.0, 0.0).astype(np.float32)

    residual = SoftmaxRegression(X, y, None, 1e-5).residual(torch.from_numpy(sure[None]))[0]

    expected = np.where(sure > 0, -2.0, 1.0) * np.exp(-20.0)
    np.testing.assert_allclose(residual, expected, rtol=1e-4)


def test_losses_are_mean_log_losses_and_repeats_are_alike():
    X, y = blobs()

    panel = solve_logistic_panel(X, y, 3, [1.0, 0.01, 1.0])

    own = softmax(decisions(panel, X)[0])[np.arange(len(y)), y]
    assert panel.losses[0] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    np.testing.assert_array_equal(panel.weights[0], panel.weights[2])
    assert panel.losses[0] < panel.losses[1]


def test_same_call_gives_the_same_bits():
    X, y = blobs()

    first, second = (solve_logistic_panel(X, y, 3, np.logspace(-3, 1, 20)) for _ in range(2))

    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.biases, second.biases)


def test_problems_solved_in_groups_agree_with_those_solved_together(monkeypatch):
    X, y = blobs()
    together = solve_logistic_panel(X, y, 3, STRENGTHS, tol=1e-6)
    monkeypatch.setattr("autotl.adapt.newton._FLOATS_AT_ONCE", 1)

    apart = solve_logistic_panel(X, y, 3, STRENGTHS, tol=1e-6)

    np.testing.assert_allclose(apart.weights, together.weights, atol=1e-5)


def test_absent_classes_are_not_predicted():
    X, y = blobs(n_classes=2)

    panel = solve_logistic_panel(X, y * 2, 4, [1.0])

    proba = softmax(X @ panel.weights[0].T + panel.biases[0])
    assert proba[:, [1, 3]].max() < 1e-3


def test_one_class_alone_is_predicted():
    X, _ = blobs()

    weight, bias = LogisticPath(X, np.ones(len(X), int), 3).solve(1.0)

    assert (softmax(X @ weight.T + bias).argmax(1) == 1).all()


@pytest.mark.parametrize("strengths", [[], [1.0, 0.0], [-1.0]])
def test_strengths_that_are_not_positive_raise(strengths):
    X, y = blobs()

    with pytest.raises(ValueError, match="positive"):
        solve_logistic_panel(X, y, 3, strengths)


@pytest.mark.parametrize("n_strengths", [16, 17, 20, 33, 40])
def test_every_strength_gets_its_own_solution(n_strengths):
    X, y = blobs()
    strengths = np.logspace(-3, 1, n_strengths)

    panel = solve_logistic_panel(X, y, 3, strengths, tol=1e-5)

    for i in (1, n_strengths // 2, n_strengths - 2):
        alone = solve_logistic_panel(X, y, 3, [strengths[i]], tol=1e-6)
        np.testing.assert_allclose(
            panel.weights[i], alone.weights[0], atol=2e-3 * np.abs(alone.weights).max()
        )
        assert panel.losses[i] == pytest.approx(alone.losses[0], rel=2e-3)


def test_samples_without_weight_count_as_if_they_were_not_there():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    weights = np.where(np.arange(60) < 40, rng.uniform(0.5, 2, 60), 0.0)

    found = solve_logistic_panel(X, y, 3, [0.1, 1.0], sample_weights=weights)
    fewer = solve_logistic_panel(X[:40], y[:40], 3, [0.1, 1.0], sample_weights=weights[:40])

    np.testing.assert_array_equal(found.weights, fewer.weights)
