import dataclasses

import numpy as np
import pytest

from autotl.data import build_task
from autotl.search.budget import Budget
from autotl.search.floor.measurement import FloorMeasurement, class_weights, validation_labels
from autotl.search.progress import SilentProgress
from autotl.specs import RawFeatureSpec, SavedState
from autotl.testing.fakes import toy_images


def measure(task, seconds=600.0, trials=1):
    return FloorMeasurement(task, Budget(seconds, trials), SilentProgress()).run()


@pytest.fixture(scope="module")
def image_task():
    images, y = toy_images(60)
    return build_task(images, y)


@pytest.fixture(scope="module")
def text_task():
    texts = [f"good fine great {i}" for i in range(30)] + [
        f"bad poor awful {i}" for i in range(30)
    ]
    return build_task(texts, ["pos"] * 30 + ["neg"] * 30)


def test_floor_is_the_best_by_cross_validation(image_task):
    baselines = measure(image_task)

    assert baselines[0].choice == max(b.choice for b in baselines)
    assert {b.classifier.name for b in baselines} == {
        "majority", "logistic_regression", "nearest_neighbours", "rbf_machine",
    }  # fmt: skip
    assert all(b.state == "complete" for b in baselines)


def test_validation_is_the_metric_of_the_kept_probabilities(image_task):
    for baseline in measure(image_task):
        expected = image_task.metric(validation_labels(image_task), baseline.proba)
        assert baseline.validation == pytest.approx(expected)


def test_text_floor_skips_what_needs_dense_features(text_task):
    baselines = {b.name: b for b in measure(text_task)}

    skipped = [b for b in baselines.values() if b.state == "skipped"]
    assert skipped
    assert all("dense" in b.reason for b in skipped)
    assert next(iter(baselines.values())).feature.name.startswith("tfidf")


def test_used_up_share_skips_and_says_so(image_task):
    baselines = measure(image_task, seconds=1e-6, trials=None)

    assert [b.name for b in baselines if b.state == "complete"] == ["majority"]
    assert all("tenth of the budget" in b.reason for b in baselines if b.state == "skipped")


def test_failing_raw_feature_is_listed_not_raised(image_task):
    def fit(samples):
        raise RuntimeError("no such thing")

    broken = RawFeatureSpec(
        name="broken", fit=fit, transform=lambda samples, state: np.zeros((len(samples), 1))
    )
    modality = dataclasses.replace(image_task.modality, raw_features=(broken,))

    baselines = measure(dataclasses.replace(image_task, modality=modality))

    assert baselines[0].name == "majority"
    assert {b.reason for b in baselines if b.state == "failed"} == {"RuntimeError: no such thing"}


def test_final_floor_uses_train_and_validation(image_task):
    seen = []

    def fit(samples):
        seen.append(len(samples))
        return SavedState(tensors={"none": np.zeros(1)}, config={})

    counting = RawFeatureSpec(
        name="counting",
        fit=fit,
        transform=lambda samples, state: np.random.default_rng(0).normal(size=(len(samples), 3)),
    )
    modality = dataclasses.replace(image_task.modality, raw_features=(counting,))
    measurement = FloorMeasurement(
        dataclasses.replace(image_task, modality=modality), Budget(60, 1), SilentProgress()
    )
    baseline = next(b for b in measurement.run() if b.feature is not None)
    seen.clear()

    measurement.final(baseline)

    assert seen == [len(image_task.split.train_validation)]


def test_classes_weigh_alike_for_balanced_accuracy():
    images, _ = toy_images(66)
    y = [0] * 60 + [1] * 6
    task = build_task(images, y)

    weights = class_weights(task)

    counts = np.bincount(task.y[task.split.train_validation])
    assert task.metric.name == "balanced_accuracy"
    np.testing.assert_allclose(weights * counts, counts.sum() / 2)
