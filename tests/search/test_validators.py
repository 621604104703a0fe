import numpy as np
import pytest

from autotl.search.validators import VALIDATORS, Validators, density_ratio, information

RNG = np.random.default_rng(0)


def blobs(n, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    centres = np.eye(3) * 6
    return centres[y] + shift + rng.normal(size=(n, 3)), y


def certain(y, n_classes=3):
    return np.eye(n_classes)[y] * 0.98 + 0.01


def test_information_is_one_for_certain_balanced_predictions_and_none_where_all_are_alike():
    assert information(np.eye(4)) == pytest.approx(1.0)
    assert information(np.full((5, 4), 0.25)) == pytest.approx(0.0)
    assert information(np.repeat([[0.7, 0.3]], 6, axis=0)) == pytest.approx(0.0)


def test_a_density_ratio_is_larger_where_the_target_lies():
    source, target = RNG.normal(size=(300, 2)), RNG.normal((2.0, 0.0), size=(300, 2))
    ratio = density_ratio(source, target, np.array([[-2.0, 0.0], [4.0, 0.0]]))

    assert ratio.mean() == pytest.approx(1.0)
    assert ratio[1] > ratio[0]


def test_every_validator_prefers_predictions_that_are_right_to_random_ones():
    train, _ = blobs(200)
    validation, y = blobs(100, seed=1)
    target, truth = blobs(150, shift=0.5, seed=2)
    judge = Validators(
        lambda y, p: float((p.argmax(axis=1) == y).mean()), y, train, validation, target, 3
    )

    right = judge.scores(certain(y), certain(truth))
    wrong = judge.scores(certain(RNG.integers(0, 3, len(y))), np.full((len(truth), 3), 1 / 3))

    assert set(right) == set(VALIDATORS)
    for name in VALIDATORS:
        assert right[name] > wrong[name] + 0.2, name
