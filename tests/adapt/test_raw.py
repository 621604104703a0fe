import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from autotl.adapt import LogisticPath, softmax
from autotl.adapt.raw import CLASSIFIERS, RawModel
from autotl.specs import RawFeatureSpec, SavedState


def blobs(n=120, d=8, n_classes=3, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centres = np.random.default_rng(99).normal(size=(n_classes, d)) * 2
    return (centres[y] + spread * rng.normal(size=(n, d))).astype(np.float32), y


@pytest.mark.parametrize("name", ["logistic_regression", "nearest_neighbours", "rbf_machine"])
def test_classifier_learns_separable_data(name):
    X, y = blobs()
    X_new, y_new = blobs(seed=1)
    classifier = CLASSIFIERS[name]

    for arrays in classifier.fit(X, y, 3, classifier.settings, None):
        proba = classifier.predict(X_new, arrays)
        assert (proba.argmax(1) == y_new).mean() > 0.9
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("d", [8, 200])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_logistic_path_agrees_with_scikit_learn(d, as_sparse):
    X, y = blobs(n=60, d=d, spread=3.0)
    path = LogisticPath(sparse.csr_matrix(X) if as_sparse else X, y, 3)
    reference = LogisticRegression(C=0.1, tol=1e-6, max_iter=2000).fit(X, y)

    path.solve(0.01)
    weight, bias = path.solve(0.1)

    np.testing.assert_allclose(softmax(X @ weight.T + bias), reference.predict_proba(X), atol=5e-3)


def test_logistic_path_handles_two_classes_and_absent_ones():
    X, y = blobs(n_classes=2)
    weight, bias = LogisticPath(X, y * 2, 4).solve(1.0)

    proba = softmax(X @ weight.T + bias)

    assert (proba.argmax(1) == y * 2).mean() > 0.95
    assert proba[:, [1, 3]].max() < 1e-3


def test_logistic_path_with_one_class_predicts_it():
    X, _ = blobs()
    weight, bias = LogisticPath(X, np.ones(len(X), int), 3).solve(1.0)

    assert (softmax(X @ weight.T + bias).argmax(1) == 1).all()


def identity_feature():
    return RawFeatureSpec(
        name="identity",
        fit=lambda samples: SavedState(tensors={"none": np.zeros(1)}, config={"k": 1}),
        transform=lambda samples, state: np.stack(samples),
    )


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_raw_model_restores_from_arrays(name):
    X, y = blobs()
    classifier, feature = CLASSIFIERS[name], identity_feature()
    arrays = next(iter(classifier.fit(X, y, 3, classifier.settings[:1], None)))
    used = None if name == "majority" else feature
    state = None if used is None else feature.fit(X)
    model = RawModel(used, state, classifier, arrays)

    restored = RawModel.restore(model.save(), [feature])

    np.testing.assert_array_equal(restored.predict_proba(list(X)), model.predict_proba(list(X)))
