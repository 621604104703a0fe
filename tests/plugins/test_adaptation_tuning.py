"""What the first-party methods promise beyond the contract."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autotl.features import FreezePlan
from autotl.registry import get_registry
from autotl.specs import AdaptationTask
from autotl.testing.fakes import ArrayInputs, fake_backbone, jitter, toy_images

METHODS = get_registry().adaptations


def task(method, n=36, **params):
    images, y = toy_images(n)
    spec = METHODS.get(method)
    return AdaptationTask(
        train=ArrayInputs(images, fake_backbone().load("cpu"), augment=jitter),
        y=y, n_classes=3, freeze_depth=0, n_steps=4, params={**spec.defaults, **params}, seed=1,
    )  # fmt: skip


def last_step(method, given):
    *_, last = METHODS.get(method).steps(given, None)
    return last.predictor


def changed_by(method, given):
    """Return how far each tensor of the backbone has moved."""
    before = given.train.load_backbone().module.state_dict()
    saved = last_step(method, given).save().tensors
    after = {k.removeprefix("backbone."): v for k, v in saved.items() if k.startswith("backbone.")}
    return {k: float((torch.as_tensor(v) - before[k]).abs().max()) for k, v in after.items()}


def test_bitfit_changes_biases_alone():
    moved = changed_by("bitfit", task("bitfit"))

    assert set(moved) == {"stem.0.bias", "block.0.bias", "block.1.bias", "last.0.bias"}
    assert all(distance > 0 for distance in moved.values())


def test_norm_tune_changes_norms_alone():
    assert set(changed_by("norm_tune", task("norm_tune"))) == {"block.1.weight", "block.1.bias"}


@pytest.mark.parametrize(("block", "group"), [("first", "stem"), ("last", "last")])
def test_surgical_changes_one_block(block, group):
    spec, given = METHODS.get("surgical"), task("surgical", block=block)
    n_groups = FreezePlan(given.train.load_backbone()).n_groups
    depth = int(spec.freeze_fraction(given.params) * n_groups + 0.5)

    moved = changed_by("surgical", replace(given, freeze_depth=depth))

    assert {name.split(".")[0] for name in moved} == {group}


@pytest.mark.parametrize("rank", [4, 8])
def test_lora_adds_matrices_of_low_rank(rank):
    given = task("lora", rank=rank)
    before = given.train.load_backbone().module.state_dict()

    saved = last_step("lora", given).save().tensors

    weight = "last.0.weight"
    added = torch.as_tensor(saved[f"backbone.{weight}"]) - before[weight]
    found = torch.linalg.matrix_rank(added.flatten(1), atol=1e-5)
    assert 0 < found <= rank
    assert set(saved) >= {f"backbone.{name}.weight" for name in ("stem.0", "block.0", "last.0")}


def test_l2_sp_keeps_weights_closer_to_the_pretrained_ones():
    loose, tight = (
        sum(changed_by("fine_tune", task("fine_tune", lr=3e-3, **options)).values())
        for options in ({}, {"regulariser": "l2_sp", "regulariser_strength": 10.0})
    )

    assert tight < loose


def test_stoch_norm_predicts_as_the_plain_norm_does():
    given = task("fine_tune", regulariser="stoch_norm")
    predictor = last_step("fine_tune", given)

    restored = METHODS.get("fine_tune").restore(predictor.save())

    np.testing.assert_array_equal(
        restored.predict_proba(given.train), predictor.predict_proba(given.train)
    )


def test_co_tuning_needs_no_source_classifier():
    loaded = replace(fake_backbone().load("cpu"), source_head=None, source_probs=None)
    images, _ = toy_images(36)
    given = replace(task("fine_tune", regulariser="co_tuning"), train=ArrayInputs(images, loaded))

    plain = replace(given, params={**given.params, "regulariser": "none"})
    np.testing.assert_array_equal(
        last_step("fine_tune", given).predict_proba(given.train),
        last_step("fine_tune", plain).predict_proba(given.train),
    )


def test_layer_decay_moves_early_layers_less():
    even, decayed = (
        changed_by("fine_tune", task("fine_tune", layer_decay=factor)) for factor in (1.0, 0.5)
    )

    assert decayed["stem.0.weight"] < even["stem.0.weight"]


def test_gradual_unfreezing_leaves_early_layers_alone_at_first():
    given = replace(task("gradual_unfreeze"), n_steps=10)
    before = given.train.load_backbone().module.state_dict()
    moved = []
    for step in METHODS.get("gradual_unfreeze").steps(given, None):
        saved = step.predictor.save().tensors
        moved.append(
            [
                not torch.equal(torch.as_tensor(saved[f"backbone.{name}"]), before[name])
                for name in ("stem.0.weight", "last.0.weight")
            ]
        )

    assert moved[0] == [False, True]
    assert moved[-1] == [True, True]


def test_head2toe_uses_what_only_an_early_layer_knows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    early = rng.normal(size=(60, 8)).astype(np.float32)
    early[:, 3] += 4 * y
    late = rng.normal(size=(60, 6)).astype(np.float32)

    class Layers:
        def __len__(self):
            return 60

        def layer_features(self):
            return [early, late]

    given = AdaptationTask(
        train=Layers(), y=y, n_classes=2, freeze_depth=0, n_steps=9, params={"share": 0.1}
    )
    *_, last = METHODS.get("head2toe").steps(given, None)

    assert (last.predictor.predict_proba(given.train).argmax(axis=1) == y).mean() > 0.9
    assert 3 in last.predictor.kept
