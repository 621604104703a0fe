import numpy as np
import pytest

from autotl.features import BackboneSession, CostModel, CostProfile, measure, planned_steps
from autotl.testing.fakes import fake_backbone, fake_modality, toy_images


@pytest.fixture
def costs():
    images, _ = toy_images(40)
    return CostModel(BackboneSession(fake_backbone(), images, fake_modality()))


def profile():
    return CostProfile(
        depths=(0, 2, 4), forward=(0.0, 0.01, 0.03), backward=(0.06, 0.04, 0.0), batch_size=8
    )


def test_an_epoch_pays_for_what_follows_the_cut():
    whole = profile().epoch(start=0, freeze_depth=0, n_train=10, n_validation=5)
    tail = profile().epoch(start=2, freeze_depth=2, n_train=10, n_validation=5)

    assert whole == pytest.approx(10 * 0.09 + 5 * 0.03)
    assert tail == pytest.approx(10 * 0.06 + 5 * 0.02)


def test_head_only_costs_nothing_of_the_backbone():
    assert profile().epoch(start=4, freeze_depth=4, n_train=10, n_validation=5) == 0.0


def test_depths_between_cuts_are_interpolated():
    between = profile().epoch(start=2, freeze_depth=3, n_train=1, n_validation=0)

    assert between == pytest.approx(0.02 + 0.02)


def test_a_measured_profile_falls_with_depth():
    images, _ = toy_images(40)
    session = BackboneSession(fake_backbone(), images, fake_modality())

    found = measure(session, batch_size=16, seconds=1.0)

    assert found.depths[0] == 0
    assert found.depths[-1] == session.n_groups
    assert (np.diff(found.forward) >= 0).all()
    assert found.backward[-1] == 0.0 < found.backward[0]


def test_frozen_groups_cost_less(costs):
    assert costs.epoch(3, 100, 20) < costs.epoch(0, 100, 20)


def test_measured_epochs_correct_the_estimate(costs):
    costs.observe(1, 7.0, 100, 20)

    assert costs.epoch(1, 100, 20) == pytest.approx(7.0)


def test_overhead_without_layers_does_not_blow_other_depths_up(costs):
    costs.profile = CostProfile(
        depths=(0, 3), forward=(0.0, 0.03), backward=(0.06, 0.0), batch_size=8
    )
    costs.session.__dict__["kept"] = (3,)
    before = costs.epoch(0, 100, 20)

    costs.observe(3, 0.5, 100, 20)

    assert costs.epoch(0, 100, 20) == pytest.approx(before + 0.5)
    assert costs.epoch(3, 100, 20) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(100.0, 20), (30.0, 10), (1.0, 0), (float("inf"), 20)]
)
def test_schedule_fits_the_time(seconds, expected):
    assert planned_steps(20, 3.0, seconds) == expected
