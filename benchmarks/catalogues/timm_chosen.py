"""The models of timm's catalogue, and what timm's own metadata does not say about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_IMAGENET = "ImageNet: research, non-commercial"

TERMS = {
    "imagenet-1k": _IMAGENET,
    "imagenet-12k": _IMAGENET,
    "imagenet-21k": _IMAGENET,
    "jft-300m": f"JFT-300M: private to Google; {_IMAGENET}",
    "instagram-1b": f"public Instagram images, private to Meta; {_IMAGENET}",
    "yfcc-100m": f"YFCC100M: Creative Commons images, many non-commercial; {_IMAGENET}",
    "yfcc-15m": "YFCC100M: Creative Commons images, many non-commercial",
    "lvd-142m": "LVD-142M: curated from web images, not published",
    "lvd-1689m": "LVD-1689M: curated from public Instagram images, not published",
    "wit-400m": "WIT-400M: image-text pairs from the web, not published",
    "laion-2b": "LAION-2B: links to web images under their owners' terms",
    "datacomp-1b": "DataComp-1B: links to web images under their owners' terms",
    "dfndr-2b": "DFNDR-2B: web images under their owners' terms, with generated captions",
    "webli": "WebLI: image-text pairs from the web, private to Google",
}
"""Source domain to the terms of its data, in plain words."""


@dataclass(frozen=True)
class Chosen:
    """One row of the catalogue.

    Args:
        name: `<architecture>.<tag>`.
        domain: What it learnt from first; a key of `TERMS`.
        styles: How it learnt, as tags.
        top1: Percent on ImageNet-1k's validation images at the row's input size, as timm
            publishes it in `results/results-imagenet.csv`; None without such a classifier.
        kwargs: Arguments of the builder.
    """

    name: str
    domain: str
    styles: str
    top1: float | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


SUPERVISED, SELF, TEXT = "supervised", "self-supervised", "image-text"
DISTILLED = "supervised distilled"
SEMI = "semi-supervised distilled"
TUNED = "self-supervised supervised"  # fine-tuned to classes after learning without them

# DINOv2 was trained at 518 px; 224 px costs a sixth and timm resamples the position embeddings.
_AT_224 = {"img_size": 224}

CHOSEN = [
    # Convolutional, for small machines.
    Chosen("mobilenetv3_small_050.lamb_in1k", "imagenet-1k", SUPERVISED, 57.924),
    Chosen("mobilenetv3_large_100.miil_in21k_ft_in1k", "imagenet-21k", SUPERVISED, 77.910),
    Chosen("mobilenetv4_conv_small.e2400_r224_in1k", "imagenet-1k", SUPERVISED, 73.730),
    Chosen(
        "mobilenetv4_hybrid_medium.e200_r256_in12k_ft_in1k", "imagenet-12k", SUPERVISED, 82.362
    ),
    Chosen("efficientnet_b0.ra4_e3600_r224_in1k", "imagenet-1k", SUPERVISED, 78.572),
    Chosen("tf_efficientnet_b0.ns_jft_in1k", "jft-300m", SEMI, 78.684),
    Chosen("efficientnetv2_rw_t.ra2_in1k", "imagenet-1k", SUPERVISED, 81.372),
    Chosen("regnety_008_tv.tv2_in1k", "imagenet-1k", SUPERVISED, 78.656),
    Chosen("repvit_m1_0.dist_450e_in1k", "imagenet-1k", DISTILLED, 80.446),
    Chosen("efficientvit_b1.r224_in1k", "imagenet-1k", SUPERVISED, 79.240),
    Chosen("fastvit_t8.apple_dist_in1k", "imagenet-1k", DISTILLED, 77.172),
    # Residual networks.
    Chosen("resnet18.a1_in1k", "imagenet-1k", SUPERVISED, 71.488),
    Chosen("resnet18.fb_swsl_ig1b_ft_in1k", "instagram-1b", SEMI, 73.288),
    Chosen("resnet50.a1_in1k", "imagenet-1k", SUPERVISED, 80.382),
    Chosen("resnet50.fb_ssl_yfcc100m_ft_in1k", "yfcc-100m", SEMI, 79.252),
    Chosen("resnetv2_50x1_bit.goog_in21k", "imagenet-21k", SUPERVISED),
    Chosen("eca_nfnet_l0.ra2_in1k", "imagenet-1k", SUPERVISED, 81.764),
    # ConvNeXt.
    Chosen("convnext_atto.d2_in1k", "imagenet-1k", SUPERVISED, 75.668),
    Chosen("convnext_nano.in12k_ft_in1k", "imagenet-12k", SUPERVISED, 82.306),
    Chosen("convnext_tiny.in12k_ft_in1k", "imagenet-12k", SUPERVISED, 84.192),
    Chosen("convnext_tiny.dinov3_lvd1689m", "lvd-1689m", SELF + " distilled"),
    Chosen("convnextv2_nano.fcmae_ft_in22k_in1k", "imagenet-21k", TUNED, 82.038),
    # Convolution and attention, windows.
    Chosen("swin_tiny_patch4_window7_224.ms_in22k_ft_in1k", "imagenet-21k", SUPERVISED, 80.966),
    Chosen("caformer_s18.sail_in22k_ft_in1k", "imagenet-21k", SUPERVISED, 84.086),
    Chosen("maxvit_tiny_tf_224.in1k", "imagenet-1k", SUPERVISED, 83.422),
    Chosen("tiny_vit_5m_224.dist_in22k_ft_in1k", "imagenet-21k", DISTILLED, 80.862),
    # Vision transformers with labels.
    Chosen("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "imagenet-21k", SUPERVISED, 75.452),
    Chosen("deit_tiny_distilled_patch16_224.fb_in1k", "imagenet-1k", DISTILLED, 74.540),
    Chosen("deit3_small_patch16_224.fb_in22k_ft_in1k", "imagenet-21k", SUPERVISED, 83.082),
    Chosen(
        "vit_little_patch16_reg1_gap_256.sbb_in12k_ft_in1k", "imagenet-12k", SUPERVISED, 83.802
    ),
    Chosen("vit_base_patch16_224.augreg2_in21k_ft_in1k", "imagenet-21k", SUPERVISED, 85.110),
    # Vision transformers without labels.
    Chosen("vit_small_patch16_224.dino", "imagenet-1k", SELF),
    Chosen("vit_small_patch14_dinov2.lvd142m", "lvd-142m", SELF + " distilled", None, _AT_224),
    Chosen("vit_base_patch14_dinov2.lvd142m", "lvd-142m", SELF + " distilled", None, _AT_224),
    Chosen("vit_small_patch16_dinov3.lvd1689m", "lvd-1689m", SELF + " distilled"),
    Chosen("vit_base_patch16_224.mae", "imagenet-1k", SELF),
    Chosen("eva02_tiny_patch14_224.mim_in22k", "imagenet-21k", SELF),
    Chosen("beitv2_base_patch16_224.in1k_ft_in22k_in1k", "imagenet-21k", TUNED, 86.494),
    # Images with their texts.
    Chosen("vit_xsmall_patch16_clip_224.tinyclip_yfcc15m", "yfcc-15m", TEXT + " distilled"),
    Chosen("fastvit_mci0.apple_mclip2_dfndr2b", "dfndr-2b", TEXT + " distilled"),
    Chosen("vit_base_patch32_clip_224.datacompxl", "datacomp-1b", TEXT),
    Chosen("vit_base_patch16_clip_224.openai", "wit-400m", TEXT),
    Chosen("vit_base_patch16_clip_224.laion2b", "laion-2b", TEXT),
    Chosen("vit_base_patch16_siglip_224.v2_webli", "webli", TEXT),
]
