from dataclasses import replace

import numpy as np

from autotl.adapt import TunedNetwork
from autotl.data import build_task
from autotl.features import BackboneSession
from autotl.search.finish.forgetting import forgetting
from autotl.testing.fakes import fake_backbone, fake_modality, toy_images


def task_with(n_source):
    X, y = toy_images(60)
    other, codes = toy_images(n_source, seed=3)
    return build_task(X, [f"c{c}" for c in y], source=(other, [f"d{c}" for c in codes]))


def untouched(session):
    """A network that tuning has not changed."""
    width = session.embed(np.arange(2)).shape[1]
    from autotl.adapt import LinearHead

    return TunedNetwork(
        LinearHead(
            weight=np.zeros((3, width), np.float32), bias=np.zeros(3, np.float32),
            mean=np.zeros(width, np.float32), scale=np.ones(width, np.float32),
        ),
        {},
    )  # fmt: skip


def test_what_did_not_change_has_forgotten_nothing():
    task = task_with(150)
    session = BackboneSession(fake_backbone(), task.samples, fake_modality())

    found = forgetting(task, session, untouched(session))

    assert found["n_samples"] == 30
    assert found["before"] == found["after"] > 1 / 3


def test_a_network_whose_layers_are_wiped_has_forgotten_all():
    task = task_with(150)
    session = BackboneSession(fake_backbone(), task.samples, fake_modality())
    state = session.inputs(np.arange(2)).load_backbone(0).module.state_dict()
    wiped = untouched(session)
    wiped.changed = {k: v * 0 for k, v in state.items() if v.is_floating_point()}

    found = forgetting(task, session, wiped)

    assert found["after"] < found["before"]


def test_there_is_nothing_to_tell_without_samples_aside():
    task = task_with(40)
    session = BackboneSession(fake_backbone(), task.samples, fake_modality())

    assert not len(task.sources[0].held)
    assert forgetting(task, session, untouched(session)) is None
    assert forgetting(replace(task, sources=()), session, untouched(session)) is None


def test_no_method_sees_the_samples_aside():
    source = task_with(150).sources[0]

    assert not set(source.learnt) & set(source.held)
    assert len(source.learnt) + len(source.held) == 150
    assert set(source.shared) <= set(source.learnt)


def test_samples_that_come_class_by_class_are_drawn_from_all(monkeypatch):
    X, y = toy_images(60)
    other, codes = toy_images(300, seed=3)
    order = np.argsort(codes, kind="stable")
    task = build_task(
        X,
        [f"c{c}" for c in y],
        source=([other[i] for i in order], [f"d{codes[i]}" for i in order]),
    )
    session = BackboneSession(fake_backbone(), task.samples, fake_modality())
    whole = forgetting(task, session, untouched(session))
    monkeypatch.setattr("autotl.search.finish.forgetting._MOST_SAMPLES", 80)

    found = forgetting(task, session, untouched(session))

    assert found["before"] > whole["before"] - 0.25
