import numpy as np

from autotl.adapt import above, biases, decayed, norms, unfrozen
from autotl.features import FreezePlan
from autotl.testing.fakes import fake_backbone


def plan():
    return FreezePlan(fake_backbone().load("cpu"))


def test_above_takes_all_groups_past_the_depth():
    (group,) = above(plan(), 1)

    assert (group.lr_factor, group.begins) == (1.0, 0.0)
    assert {n.split(".")[0] for n in group.names} == {"block", "last"}


def test_decayed_slows_earlier_groups_down():
    factors = [group.lr_factor for group in decayed(0.5)(plan(), 0)]

    assert factors == [0.25, 0.5, 1.0]


def test_unfrozen_lets_the_last_group_begin_and_the_first_come_in_last():
    groups = unfrozen(0.5, 0.6)(plan(), 0)

    begins = [group.begins for group in groups]
    assert begins[-1] == 0.0
    assert begins == sorted(begins, reverse=True)
    np.testing.assert_allclose(begins, [0.4, 0.2, 0.0])


def test_biases_and_norms_take_few_parameters():
    (shifts,), (scales,) = biases(plan(), 1), norms(plan(), 0)

    assert set(shifts.names) == {"block.0.bias", "block.1.bias", "last.0.bias"}
    assert set(scales.names) == {"block.1.weight", "block.1.bias"}
