"""Cuts of timm's architectures, without weights: the parts equal the whole, also in training."""

import copy
from dataclasses import replace

import pytest
import torch

from autotl.features.cuts import find_cuts
from autotl.features.freezing import FreezePlan
from autotl.specs import LoadedBackbone

DROPS = {"drop_rate": 0.2, "drop_path_rate": 0.2}

# Architecture, side of the images, how it is made, and the least number of cuts that it has.
QUICK = [
    ("test_resnet", 48, DROPS, 6),
    ("test_convnext", 64, DROPS, 7),
    ("test_convnext2", 64, DROPS, 7),
    ("test_vit", 32, DROPS | {"img_size": 32}, 8),
    ("test_vit3", 32, DROPS | {"img_size": 32}, 8),
    ("test_efficientnet", 64, DROPS, 7),
    ("test_efficientnet_gn", 64, DROPS, 7),
    ("test_byobnet", 64, DROPS, 6),
    ("test_nfnet", 64, DROPS, 6),
    ("resnet18", 32, DROPS, 6),
    ("regnetx_002", 32, DROPS, 6),
    ("mobilenetv2_050", 33, DROPS, 9),
    ("mobilenetv3_small_050", 33, DROPS, 9),
    ("mobilenetv4_conv_small_035", 32, DROPS, 8),
    ("tf_efficientnet_b0", 33, DROPS, 9),
    ("mixer_s32_224", 64, DROPS | {"img_size": 64}, 10),
]
SLOW = [
    ("vgg11", 32, {"drop_rate": 0.2}, 10),
    ("test_efficientnet_evos", 64, DROPS, 7),
    ("test_efficientnet_ln", 64, DROPS, 7),
    ("test_vit2", 32, DROPS | {"img_size": 32}, 8),
    ("test_vit4", 32, DROPS | {"img_size": 32}, 8),
    ("poolformer_s12", 32, DROPS, 6),
    ("edgenext_xx_small", 64, DROPS, 6),
    ("crossvit_tiny_240", 240, DROPS, 2),  # its two branches run side by side to the end
    ("repvgg_a0", 32, DROPS, 6),
    ("lcnet_035", 32, {"drop_rate": 0.2}, 9),
    ("tf_mobilenetv3_small_minimal_100", 33, DROPS, 9),
    ("test_mambaout", 64, DROPS, 6),
    ("vit_tiny_patch16_224", 32, DROPS | {"img_size": 32}, 14),
    ("mobilenetv1_100", 33, DROPS, 7),
    ("ghostnet_050", 32, {"drop_rate": 0.2}, 12),
    ("densenet121", 32, {"drop_rate": 0.2}, 6),
    ("inception_v3", 96, {"drop_rate": 0.2}, 12),
    ("inception_next_atto", 64, DROPS, 6),
    ("convnextv2_atto", 64, DROPS, 7),
    ("seresnet18", 32, DROPS, 6),
    ("regnety_002", 32, DROPS, 6),
    ("vit_small_patch14_dinov2", 42, DROPS | {"img_size": 42}, 14),
    ("vit_small_patch16_dinov3", 32, DROPS | {"img_size": 32}, 14),
    ("swin_tiny_patch4_window7_224", 224, DROPS, 6),
    ("swinv2_cr_tiny_ns_224", 224, DROPS, 6),
    ("eva02_tiny_patch14_224", 42, DROPS | {"img_size": 42}, 14),
    ("maxvit_rmlp_pico_rw_256", 256, DROPS, 6),
    ("beit_base_patch16_224", 32, DROPS | {"img_size": 32}, 14),
    ("deit_tiny_distilled_patch16_224", 32, DROPS | {"img_size": 32}, 14),
    ("cait_xxs24_224", 32, DROPS | {"img_size": 32}, 20),
    ("nf_resnet26", 32, DROPS, 6),
    ("eca_nfnet_l0", 32, DROPS, 6),
    ("fastvit_t8", 64, DROPS, 6),
    ("coat_lite_tiny", 224, DROPS, 3),
    ("levit_128s", 224, {"drop_rate": 0.2}, 5),
    ("xcit_nano_12_p16_224", 32, DROPS | {"img_size": 32}, 14),
    ("repvit_m0_9", 32, {"drop_rate": 0.2}, 5),
    ("efficientnet_b0", 32, DROPS, 9),
    ("mobilevit_xxs", 64, DROPS, 6),
    ("mobilenetv4_hybrid_medium", 64, DROPS, 7),
    ("hrnet_w18_small", 32, {"drop_rate": 0.2}, 3),
    ("volo_d1_224", 224, DROPS, 20),
    ("visformer_tiny", 224, DROPS, 14),
    ("pvt_v2_b0", 64, DROPS, 5),
]


def build(name: str, kwargs: dict) -> LoadedBackbone:
    from autotl_timm.networks import build_network

    torch.manual_seed(0)
    source = build_network(name, **kwargs)
    # Weights as drawn may be zero, which would hide a part that is left out.
    for parameter in source.backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.05) if parameter.ndim > 1 else parameter.data.add_(
            0.1 * torch.randn_like(parameter)
        )
    return LoadedBackbone(
        module=source.backbone.eval(), preprocess=list, layer_groups=source.layer_groups
    )


def run_tail(module, value, plan, depth):
    """Return the output in training mode, and the gradients of what trains."""
    trained = plan.apply(depth)
    torch.manual_seed(1)
    output = module(value)
    output.square().sum().backward()
    return output.detach(), [p.grad for p in trained]


def check(name: str, side: int, kwargs: dict, least: int) -> None:
    backbone = build(name, kwargs)
    batch = torch.randn(2, 3, side, side)
    n_groups = FreezePlan(backbone).n_groups
    with torch.no_grad():
        expected = backbone.module(batch)

    cuts = find_cuts(backbone, batch)

    assert len(cuts.depths) >= least
    assert (cuts.depths[0], cuts.depths[-1]) == (0, n_groups)
    other = torch.randn(3, 3, side, side)  # not the number of samples that was traced
    with torch.no_grad():
        expected = backbone.module(other)
        for depth in cuts.depths:
            value = cuts.part(backbone.module, 0, depth)(other)
            output = cuts.part(backbone.module, depth, n_groups)(value)
            torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    for depth in {cuts.depths[len(cuts.depths) // 2], cuts.depths[-2]} - {n_groups}:
        check_training(backbone, cuts, depth, other)


def check_training(backbone, cuts, depth, batch):
    """Train the whole and the layers after a cut under the same random state."""
    whole, copied = copy.deepcopy(backbone.module), copy.deepcopy(backbone.module)
    n_groups = FreezePlan(backbone).n_groups
    plan = FreezePlan(
        LoadedBackbone(module=whole, preprocess=list, layer_groups=backbone.layer_groups)
    )
    plan.apply(depth)
    plan.train_mode(train_norm=True)
    prefix = cuts.part(whole, 0, depth).eval()  # dropout between groups rests too
    tail = copy.deepcopy(cuts.part(copied, depth, n_groups))
    tail_plan = FreezePlan(replace(backbone, module=tail))
    tail_plan.apply(depth)
    tail_plan.train_mode(train_norm=True)
    with torch.no_grad():
        value = cuts.part(copied.eval(), 0, depth)(batch)
        torch.testing.assert_close(prefix(batch), value, rtol=1e-5, atol=1e-5)

    expected, gradients = run_tail(whole, batch, plan, depth)
    output, own = run_tail(tail, value, tail_plan, depth)

    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    names = [n for group in plan.groups[depth:] for n in group]
    own_names = [n for group in tail_plan.groups[depth:] for n in group]
    found = dict(zip(own_names, own, strict=True))
    assert set(tail.state_dict()) <= set(whole.state_dict())
    scale = max(float(g.abs().max()) for g in gradients if g is not None)
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is None:  # a parameter that the forward does not use
            assert found.get(name) is None
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize(("name", "side", "kwargs", "least"), QUICK, ids=[row[0] for row in QUICK])
def test_parts_equal_the_whole(name, side, kwargs, least):
    check(name, side, kwargs, least)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "kwargs", "least"), SLOW, ids=[row[0] for row in SLOW])
def test_parts_equal_the_whole_of_more(name, side, kwargs, least):
    check(name, side, kwargs, least)
