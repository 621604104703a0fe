import pytest
import torch

from autotl.errors import PluginError
from autotl.features import FreezePlan, freeze_depth
from autotl.specs import LoadedBackbone


def build(layer_groups=None):
    module = torch.nn.Sequential()
    module.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    module.block = torch.nn.Sequential(
        torch.nn.Conv2d(4, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)
    )
    return LoadedBackbone(module=module, preprocess=list, layer_groups=layer_groups)


@pytest.mark.parametrize(
    ("fraction", "groups", "depth"), [(0, 4, 0), (1, 4, 4), (0.5, 4, 2), (0.9, 4, 4), (0.1, 4, 0)]
)
def test_freeze_depth_rounds_to_groups(fraction, groups, depth):
    assert freeze_depth(fraction, groups) == depth


def test_apply_freezes_leading_groups():
    backbone = build()
    plan = FreezePlan(backbone)

    trained = plan.apply(1)

    assert len(trained) == 4
    assert not any(p.requires_grad for p in backbone.module.stem.parameters())
    assert all(p.requires_grad for p in backbone.module.block.parameters())


def test_frozen_part_stays_in_eval_mode():
    backbone = build()
    plan = FreezePlan(backbone)
    plan.apply(1)

    plan.train_mode(train_norm=True)

    assert not backbone.module.stem[1].training
    assert backbone.module.block[1].training
    assert backbone.module.block[2].training


def test_batch_norm_keeps_its_statistics_unless_asked():
    backbone = build()
    plan = FreezePlan(backbone)
    plan.apply(0)

    plan.train_mode(train_norm=False)

    assert not backbone.module.stem[1].training
    assert not backbone.module.block[1].training
    assert backbone.module.block[2].training


def test_uncovered_parameter_is_an_error():
    with pytest.raises(PluginError, match=r"'block\.0\.weight' belongs to no layer group"):
        FreezePlan(build(layer_groups=(("stem",),)))
