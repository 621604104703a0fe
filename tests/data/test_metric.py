import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from autotl.data import Metric, choose_metric, metric_names
from autotl.errors import InvalidDataError, UnknownNameError

RNG = np.random.default_rng(0)


def random_proba(n, n_classes):
    return RNG.dirichlet(np.ones(n_classes), n)


@pytest.mark.parametrize(
    ("counts", "name"),
    [([5, 5], "accuracy"), ([20, 100], "accuracy"), ([19, 100], "balanced_accuracy")],
)
def test_choose_metric_looks_at_the_balance(counts, name):
    metric = choose_metric(None, np.repeat([0, 1], counts), ["cat", "dog"])

    assert metric.name == metric.kind == name
    assert name in metric.reason
    assert str(counts[0]) in metric.reason


@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_offered_metric_works_or_says_what_else(n_classes):
    y = np.arange(n_classes).repeat(5)
    perfect = np.eye(n_classes)[y]
    works, advice = [], []
    for name in metric_names():
        try:
            metric = choose_metric(name, y, list("abc")[:n_classes])
        except InvalidDataError as error:
            advice.append(str(error))
            continue
        works.append(name)
        if "likelihood" not in name:
            assert metric(y, perfect) >= metric(y, random_proba(len(y), n_classes))

    assert all("Choose" in message for message in advice)
    assert {"accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr"} <= set(works)
    assert ("f1" in works) == ("roc_auc" in works) == (n_classes == 2)


def test_metric_equals_scikit_learn():
    y, proba = RNG.integers(0, 2, 50), random_proba(50, 2)

    assert Metric("f1")(y, proba) == f1_score(y, proba.argmax(1))
    assert Metric("roc_auc")(y, proba) == roc_auc_score(y, proba[:, 1])
    assert Metric("average_precision")(y, proba) == average_precision_score(y, proba[:, 1])
    assert Metric("neg_log_loss")(y, proba) == pytest.approx(-log_loss(y, proba))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_accuracies_equal_scikit_learn(pairs):
    y, predicted = np.array(pairs).T
    proba = np.eye(4)[predicted]

    assert Metric("accuracy")(y, proba) == pytest.approx(accuracy_score(y, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = balanced_accuracy_score(y, predicted)
    assert Metric("balanced_accuracy")(y, proba) == pytest.approx(expected)


def test_metric_accepts_unnormalised_float32():
    y, proba = np.arange(3).repeat(9), random_proba(27, 3)

    scaled = (3 * proba).astype(np.float32)

    assert Metric("roc_auc_ovr")(y, scaled) == pytest.approx(Metric("roc_auc_ovr")(y, proba))


def test_metric_survives_an_absent_class():
    y, proba = np.array([0, 0, 2, 2, 2]), random_proba(5, 3)

    for name in ("accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr", "neg_log_loss"):
        assert np.isfinite(Metric(name)(y, proba))


def test_choose_metric_names_the_positive_class():
    assert "'spam'" in choose_metric("f1", np.array([0, 1]), ["ham", "spam"]).reason
    assert "positive" not in choose_metric("accuracy", np.array([0, 1]), ["ham", "spam"]).reason


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("acuracy", UnknownNameError, "Did you mean 'accuracy'"),
        ("r2", InvalidDataError, "regression"),
        ("rand_score", InvalidDataError, "clustering"),
        ("f1", InvalidDataError, "'f1_macro'"),
        ("roc_auc", InvalidDataError, "'roc_auc_ovr'"),
        (len, InvalidDataError, "name of a scikit-learn scorer"),
    ],
)
def test_choose_metric_refuses(name, error, message):
    with pytest.raises(error, match=message):
        choose_metric(name, np.arange(3), ["a", "b", "c"])


def test_top_k_needs_three_classes():
    with pytest.raises(InvalidDataError, match="always be 1"):
        choose_metric("top_k_accuracy", np.array([0, 1]), ["a", "b"])
