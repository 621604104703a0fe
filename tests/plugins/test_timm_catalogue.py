"""timm's catalogue: its rows, and each model built and loaded as a search would."""

import json
import runpy
import warnings
from pathlib import Path

import pytest
from PIL import Image

from autotl_timm.catalogue import _models, _rows, catalogue, resolve

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "catalogues" / "timm_catalogue.py"
STYLES = {"supervised", "semi-supervised", "self-supervised", "image-text"}
SIZES = {"tiny", "small", "base"}
TINY = [name for name, row in _rows().items() if "tiny" in row["tags"]]


def test_catalogue_covers_sizes_styles_and_sources():
    specs = list(catalogue())

    assert 35 <= len(specs) <= 45
    assert min(s.n_params for s in specs) < 1e6
    assert max(s.n_params for s in specs) > 8e7
    assert {tag for s in specs for tag in s.tags} >= STYLES | SIZES | {"distilled", "vit"}
    assert len({s.source_domain for s in specs}) > 10


@pytest.mark.parametrize("name", _rows())
def test_catalogue_row_is_complete(name):
    spec = resolve(f"timm/{name}")

    assert spec.license
    assert spec.source_terms
    assert spec.source_domain
    assert spec.download_bytes >= 4 * spec.n_params
    assert set(spec.tags) & STYLES
    assert len(set(spec.tags) & SIZES) == 1
    assert spec.published_accuracy is None or 0.5 < spec.published_accuracy < 0.9
    assert not spec.has_source_probs or "image-text" not in spec.tags


@pytest.mark.parametrize(
    ("name", "license_id"),
    [
        ("vit_small_patch16_dinov3.lvd1689m", "LicenseRef-dinov3"),
        ("vit_base_patch16_224.mae", "CC-BY-NC-4.0"),
        ("convnextv2_nano.fcmae_ft_in22k_in1k", "CC-BY-NC-4.0"),
        ("resnet18.fb_swsl_ig1b_ft_in1k", "CC-BY-NC-4.0"),
        ("fastvit_mci0.apple_mclip2_dfndr2b", "LicenseRef-apple-amlr"),
        ("regnety_008_tv.tv2_in1k", "BSD-3-Clause"),
        ("swin_tiny_patch4_window7_224.ms_in22k_ft_in1k", "MIT"),
    ],
)
def test_catalogue_names_the_licence_of_the_weights(name, license_id):
    assert resolve(f"timm/{name}").license == license_id
    assert not resolve(f"timm/{name}").permissive


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason="the script is not part of this distribution")
def test_catalogue_is_what_the_script_writes(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = runpy.run_path(str(SCRIPT))["catalogue"]()

    assert {row["name"]: row for row in json.loads(json.dumps(rows))} == _rows()


@pytest.mark.slow
def test_models_are_those_of_the_installed_timm():
    import timm

    tagged = {f"{n}.{t}" for n, row in _models().items() for t in row["tags"]}
    missing = tagged - set(timm.list_pretrained())

    assert len(missing) < len(tagged) / 20, sorted(missing)[:10]  # other versions of timm differ


def build(name: str, **kwargs: object):
    """Build without memory for the weights where the architecture allows it."""
    import torch

    from autotl_timm.networks import build_network

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return build_network(name, **kwargs)
        except (NotImplementedError, RuntimeError, ValueError):
            return build_network(name, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("name", _rows())
def test_catalogue_model_builds_as_described(name):
    import timm
    import torch

    from autotl.features.freezing import FreezePlan
    from autotl.specs import LoadedBackbone

    row, cfg = _rows()[name], timm.get_pretrained_cfg(name)
    source = build(name, **row["kwargs"])
    backbone = source.backbone.eval().to("meta")
    plan = FreezePlan(
        LoadedBackbone(module=backbone, preprocess=list, layer_groups=source.layer_groups)
    )
    grouped = [parameter for group in plan.groups for parameter in group]
    with torch.inference_mode():
        embedded = backbone(torch.zeros(2, *row["input_size"], device="meta"))

    assert cfg.hf_hub_id == row["hub_id"]
    assert embedded.shape == (2, row["embed_dim"])
    assert sum(p.numel() for p in backbone.parameters()) == row["n_params"]
    assert plan.n_groups >= 5
    assert sorted(grouped) == sorted(n for n, _ in backbone.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_catalogue_model_loads_from_the_cache(name, tmp_path, monkeypatch):
    import timm
    import torch
    from safetensors.torch import save_file

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    row = _rows()[name]
    repository = tmp_path / f"models--{row['hub_id'].replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    spec = resolve(f"timm/{name}")
    before = spec.unavailable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_file(timm.create_model(name).state_dict(), folder / "model.safetensors")
        loaded = spec.load("cpu")
    batch = loaded.preprocess([Image.new("RGB", (40, 30))])
    with torch.inference_mode():
        embedded = loaded.module(batch)

    assert before
    assert spec.unavailable() is None
    assert batch.shape == (1, *spec.input_size)
    assert embedded.shape == (1, spec.embed_dim)
    assert (loaded.source_probs is not None) == spec.has_source_probs
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(
        spec.download_bytes, rel=0.01
    )
