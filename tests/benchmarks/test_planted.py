import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import (
    CASES,
    Case,
    best_planted,
    ended,
    is_planted,
    planted_share,
    ruinous,
    shuffle_labels,
    shuffle_pixels,
    task_of,
    train_on_shuffled_labels,
)

from autotl.registry import get_registry
from autotl.testing.fakes import fake_backbone, toy_images

ZOO = Path(__file__).resolve().parents[3] / "shared" / "zoo"


def trial(backbone, adaptation="linear_probe", seconds=1.0, validation=0.5):
    return {
        "backbone": f"planted/{backbone}",
        "adaptation": adaptation,
        "seconds": seconds,
        "validation": validation,
    }


def record(*trials):
    return {
        "trials": list(trials), "floor": {"validation": 0.6},
        "budget": 60.0,
        "timings": {"reading": 1.0, "floor": 4.0, "screening": 5.0, "search": 5.0, "total": 40.0},
    }  # fmt: skip


def test_shuffled_pixels_are_the_same_pixels_in_one_other_order():
    images, _ = toy_images(4)
    spec = fake_backbone()
    plain, shuffled = spec.load("cpu"), shuffle_pixels(spec).load("cpu")

    batch, other = plain.preprocess(images), shuffled.preprocess(images)

    assert other.shape == batch.shape
    assert not torch.equal(other, batch)
    assert torch.equal(other.flatten(2).sort().values, batch.flatten(2).sort().values)
    assert torch.equal(other[2:], shuffled.preprocess(images[2:]))


def test_shuffled_labels_leave_other_weights_of_the_same_shapes(tmp_path):
    images, y = toy_images(40)
    spec, weights = fake_backbone(), tmp_path / "weights.safetensors"

    train_on_shuffled_labels(spec, {"X": images, "y": y}, weights)
    planted = shuffle_labels(spec, weights)

    before = spec.load("cpu").module.state_dict()
    after = planted.load("cpu").module.state_dict()
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert planted.weights_digest() != shuffle_pixels(spec).weights_digest()


def test_a_ruinous_method_differs_in_its_learning_rates_alone():
    method = get_registry().adaptations.get("lp_ft")

    found = ruinous(method)

    assert found.space["lr"].low >= 100 * method.space["lr"].high
    assert found.defaults["lr"] in found.space["lr"]
    restored = dataclasses.replace(
        found, name=method.name, space=method.space, defaults=method.defaults
    )
    assert restored == method


def test_time_counts_as_planted_by_backbone_or_by_method():
    rows = [
        trial("helpful", seconds=6.0, validation=0.9),
        trial("helpful", "ruinous", 2.0, 0.3),
        trial("far-domain", seconds=1.5, validation=0.55),
        trial("shuffled-pixels", seconds=0.5, validation=None),
    ]

    assert [is_planted(row) for row in rows] == [False, True, True, True]
    assert planted_share(record(*rows)) == pytest.approx(0.4)
    assert best_planted(record(*rows)) == pytest.approx(-0.05)
    assert ended(record(*rows)) == 0.25


def test_a_search_without_trials_spends_nothing_on_planted_ones():
    assert planted_share(record()) == 0
    assert np.isnan(best_planted(record()))


def test_each_set_is_searched_with_and_without_help():
    names = {(case.data, bool(case.helpful)) for case in CASES}

    assert names == {(case.data, helps) for case in CASES for helps in (True, False)}
    assert all(("nothing" in case.name) == (not case.helpful) for case in CASES)


@pytest.mark.skipif(not ZOO.exists(), reason="the zoo of real data is not here")
def test_the_guard_has_samples_of_its_own():
    task = task_of(Case(data="clothing10", far=""), ZOO, seed=0)

    assert len(task.split.train_validation) == 700
    assert len(task.split.guard) >= 50
