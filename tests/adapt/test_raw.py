import numpy as np
import pytest

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
