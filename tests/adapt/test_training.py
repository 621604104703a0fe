import json

import numpy as np
import pytest

from autotl.adapt import LinearHead, TrainingSettings, TunedNetwork, blend, standardiser, train
from autotl.adapt.training import schedule
from autotl.features import BackboneSession
from autotl.specs import AdaptationTask, SavedState
from autotl.testing.fakes import fake_backbone, fake_modality, toy_images


def make_task(n=36, depth=0, n_steps=4, seed=0):
    images, y = toy_images(n)
    session = BackboneSession(fake_backbone(), images, fake_modality())
    return AdaptationTask(
        train=session.inputs(np.arange(n)),
        y=y,
        n_classes=3,
        freeze_depth=depth,
        n_steps=n_steps,
        params={},
        seed=seed,
    )


def start(task):
    scaling = standardiser(task.train.features())
    width = len(scaling["mean"])
    return LinearHead(
        weight=np.zeros((3, width), np.float32), bias=np.zeros(3, np.float32), **scaling
    )


SETTINGS = TrainingSettings(lr=3e-3, head_lr=3e-2, weight_decay=1e-3, batch_size=16)


def test_train_lowers_the_loss():
    task = make_task(n_steps=8)

    losses = [step.loss for step in train(task, SETTINGS, start(task))]

    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("train_norm", [False, True])
def test_resumed_training_equals_uninterrupted(train_norm):
    settings = TrainingSettings(
        lr=3e-3, head_lr=3e-2, weight_decay=1e-3, batch_size=16, train_norm=train_norm
    )
    task = make_task()
    whole = [s.predictor.predict_proba(task.train) for s in train(task, settings, start(task))]
    steps = train(task, settings, start(task))
    next(steps)
    saved = next(steps).state()
    steps.close()

    config = json.loads(json.dumps(dict(saved.config)))
    resumed = train(task, settings, start(task), SavedState(tensors=saved.tensors, config=config))
    rest = [s.predictor.predict_proba(task.train) for s in resumed]

    np.testing.assert_array_equal(rest[0], whole[2])
    np.testing.assert_array_equal(rest[1], whole[3])


def test_frozen_groups_do_not_change():
    task = make_task(depth=1)

    *_, last = train(task, SETTINGS, start(task))

    pretrained = task.train.load_backbone().module.state_dict()
    tuned = last.predictor._tail.module.state_dict()
    changed = {k for k in pretrained if not np.array_equal(pretrained[k], tuned[k])}
    assert changed
    assert not any(name.startswith("stem") for name in changed)


def test_restored_network_predicts_the_same():
    task = make_task()
    *_, last = train(task, SETTINGS, start(task))

    restored = TunedNetwork.restore(last.predictor.save())

    np.testing.assert_allclose(
        restored.predict_proba(task.train), last.predictor.predict_proba(task.train), atol=1e-6
    )


def test_class_weights_favour_the_rare_class():
    images, y = toy_images(60)
    y = (y == 0).astype(np.int64) * (np.arange(60) < 12)
    session = BackboneSession(fake_backbone(), images, fake_modality())

    def share(weights):
        task = AdaptationTask(
            train=session.inputs(np.arange(60)), y=y, n_classes=2, freeze_depth=99,
            n_steps=3, params={}, class_weights=weights,
        )  # fmt: skip
        scaling = standardiser(task.train.features())
        head = LinearHead(
            weight=np.zeros((2, len(scaling["mean"])), np.float32),
            bias=np.zeros(2, np.float32),
            **scaling,
        )
        *_, last = train(task, SETTINGS, head)
        return last.predictor.predict_proba(task.train)[:, 1].mean()

    assert share(np.array([0.5, 8.0])) > share(None)


def test_schedule_warms_up_then_falls_to_zero():
    factors = [schedule(p, 0.1) for p in (0.0, 0.05, 0.1, 0.5, 1.0)]

    assert factors[0] < factors[1] < factors[2] == pytest.approx(1.0)
    assert factors[2] > factors[3] > factors[4] == pytest.approx(0.0)


def tuned(task):
    *_, last = train(task, SETTINGS, start(task))
    return TunedNetwork.restore(last.predictor.save())


def probe(task, seed=0):
    head, rng = start(task), np.random.default_rng(seed)
    weight = rng.normal(size=head.weight.shape).astype(np.float32)
    return LinearHead(weight=weight, bias=head.bias, mean=head.mean, scale=head.scale)


def same(one, other, task):
    assert np.allclose(one.predict_proba(task.train), other.predict_proba(task.train), atol=1e-4)


def test_a_network_alone_stays_what_it_is():
    task = make_task()
    network = tuned(task)

    same(blend([(1.0, network)], task.train), network, task)


def test_without_any_of_the_tuned_weights_the_probe_is_left():
    task = make_task()

    same(blend([(0.0, tuned(task)), (1.0, probe(task))], task.train), probe(task), task)


def test_weights_lie_between_those_that_are_averaged():
    task, other = make_task(depth=1), make_task(seed=5)
    one, two = tuned(task), tuned(other)

    mixed = blend([(0.25, one), (0.75, two)], task.train)

    assert mixed.freeze_depth == 0
    shared = [name for name in one.changed if name in two.changed]
    floating = [name for name in shared if one.changed[name].is_floating_point()]
    assert floating
    for name in floating:
        expected = 0.25 * one.changed[name] + 0.75 * two.changed[name]
        assert np.allclose(mixed.changed[name], expected, atol=1e-6)


def test_a_blend_survives_saving():
    task = make_task()
    mixed = blend([(0.5, tuned(task)), (0.5, probe(task))], task.train)

    same(TunedNetwork.restore(mixed.save()), mixed, task)


def test_weights_that_do_not_sum_to_one_are_refused():
    task = make_task()
    with pytest.raises(ValueError, match="sum to 1"):
        blend([(0.5, tuned(task))], task.train)
    with pytest.raises(ValueError, match="at least one tuned"):
        blend([(1.0, probe(task))], task.train)
