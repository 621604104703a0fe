"""Methods that use another domain, on domains whose difference is known."""

import numpy as np
import pytest

from autotl.registry import get_registry
from autotl.specs import AdaptationTask, SourceData

METHODS = get_registry().adaptations
WIDTH = 6


class Fixed:
    """Inputs whose embeddings are given."""

    def __init__(self, features):
        self._features = features.astype(np.float32)

    def __len__(self):
        return len(self._features)

    def features(self):
        return self._features


def drawn(n, seed):
    """Return two classes that differ in the first two of six directions."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, WIDTH))
    X[:, 0] += 3 * y
    X[:, 1] -= 3 * y
    return X, y


def domains(move, n_labelled=0):
    """Return a task whose source is `move`d, and target samples to test on."""
    target, _ = drawn(300, 0)
    test, y_test = drawn(400, 1)
    source, y_source = drawn(300, 2)
    inputs = Fixed(move(source))
    given = SourceData(
        name="moved", inputs=inputs, y=y_source, n_classes=2, shared=inputs, shared_y=y_source
    )
    task = AdaptationTask(
        train=Fixed(target), y=np.full(300, -1), n_classes=2, freeze_depth=0, n_steps=9,
        params={}, sources=(given,),
    )  # fmt: skip
    return task, Fixed(test), y_test


def accuracy(method, task, test, y):
    spec = METHODS.get(method)
    params = {**spec.defaults, **({"n_directions": WIDTH - 1} if method == "subspace" else {})}
    task = AdaptationTask(**{**vars(task), "params": params, "n_steps": spec.max_steps(params)})
    *_, last = spec.steps(task, None)
    return (last.predictor.predict_proba(test).argmax(axis=1) == y).mean()


def shifted(X):
    return X @ np.diag([3.0, 0.4, 1, 1, 2, 0.5]) + np.array([4.0, 2.0, 0, 0, -3, 1])


@pytest.mark.parametrize("method", ["coral", "lin_ot"])
def test_alignment_undoes_shift_and_scale(method):
    given = domains(shifted)

    plain = accuracy("source_only", *given)

    assert plain < 0.85
    assert accuracy(method, *given) > max(0.9, plain + 0.05)


@pytest.mark.parametrize(
    "method", ["source_only", "pooled", "coral", "lin_ot", "subspace", "reweighting"]
)
def test_domains_that_are_alike_lose_nothing(method):
    assert accuracy(method, *domains(lambda X: X)) > 0.93


def test_reweighting_counts_samples_that_look_like_the_target_more():
    from autotl_adaptation.source.domains import domains as both_of
    from autotl_adaptation.source.reweighting import _by_discriminator, _by_means

    rng = np.random.default_rng(3)
    far = rng.random(300) < 0.5

    def half_moved(X):
        return X + 8 * far[:, None] * np.eye(WIDTH)[2]

    both = both_of(domains(half_moved)[0])
    for weights in (_by_discriminator(both), _by_means(both)):
        assert weights[~far].mean() > 3 * weights[far].mean()


def test_tradaboost_forgets_a_source_that_misleads():
    wrong = np.random.default_rng(5).random(300) < 0.45

    def half_turned(X):
        return np.where(wrong[:, None], X * np.array([-1.0, -1, 1, 1, 1, 1]), X)

    task, test, y = domains(half_turned)
    target, y_target = drawn(30, 4)
    task = AdaptationTask(**{**vars(task), "train": Fixed(target), "y": y_target})

    assert accuracy("tradaboost", task, test, y) > accuracy("pooled", task, test, y) + 0.02


def test_skada_leaves_scikit_learn_as_it_was():
    from sklearn import get_config

    before = get_config()
    accuracy("coral", *domains(shifted))

    assert get_config() == before
