"""timm's models: the static tables, the hub's cache, and wrapping any network."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from autotl.errors import BackboneUnavailableError
from autotl_timm import hub
from autotl_timm.catalogue import Architectures, resolve

FAMILIES = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout"]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache that holds timm/test_resnet.r160_in1k with seeded weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    torch.manual_seed(5)
    network = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(network.state_dict(), folder / "model.safetensors")
    return network, folder


def test_resolve_takes_the_default_tag():
    assert resolve("timm/resnet18").name == "timm/resnet18.a1_in1k"
    assert resolve("timm/resnet18").embed_dim == 512  # as in the catalogue
    assert resolve("timm/resnet18.tv_in1k").embed_dim is None
    assert resolve("timm/resnet18.tv_in1k").license == "BSD-3-Clause"
    assert resolve("timm/resnet18.tv_in1k").download_bytes > 4e7


@pytest.mark.parametrize("name", ["timm/resnet81", "timm/resnet18.nope", "timm/", "timm/a/b"])
def test_resolve_does_not_know(name):
    assert resolve(name) is None


def test_backbone_is_unavailable_without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    assert str(tmp_path) in resolve("timm/test_resnet").unavailable()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
    ],
)
def test_cache_folder_follows_the_environment(monkeypatch, variables, expected):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert hub.cache_folder().as_posix() == expected


def test_backbone_loads_from_the_cache(cache):
    import torch

    network, _ = cache
    spec = resolve("timm/test_resnet")
    loaded = spec.load("cpu")
    batch = loaded.preprocess([Image.new("L", (30, 50), 90), Image.new("RGB", (200, 10))])
    with torch.inference_mode():
        embedded = loaded.module(batch)
        expected = network.forward_head(network.forward_features(batch), pre_logits=True)
        probs = loaded.source_probs(batch)

    assert spec.unavailable() is None
    assert batch.shape == (2, 3, 160, 160)
    assert not loaded.module.training
    torch.testing.assert_close(embedded, expected)
    torch.testing.assert_close(probs, network(batch).softmax(dim=1))


def test_backbone_leaves_random_state_alone(cache):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    resolve("timm/test_resnet").load("cpu")

    assert torch.rand(1) == expected


def test_backbone_digest_names_the_weights(cache):
    _, folder = cache

    assert resolve("timm/test_resnet").weights_digest() == (
        f"timm/test_resnet.r160_in1k@{(folder / 'model.safetensors').resolve().name}"
    )


def test_backbone_with_foreign_weights_is_refused(cache):
    from safetensors.numpy import save_file

    _, folder = cache
    save_file({"x": np.zeros(2, np.float32)}, folder / "model.safetensors")

    with pytest.raises(BackboneUnavailableError, match="do not fit"):
        resolve("timm/test_resnet").load("cpu")


def test_unreachable_hub_fails_within_seconds(tmp_path):
    code = (
        "from autotl_timm.hub import fetch_weights\n"
        "from autotl.errors import BackboneUnavailableError\n"
        "try: fetch_weights('timm/resnet18.a1_in1k')\n"
        "except BackboneUnavailableError as error: print(error)\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "--weights" in done.stdout
    assert "Retrying" not in done.stderr  # the client's retries take 23 s
    assert time.perf_counter() - started < 30


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, autotl_timm\n"
        "list(autotl_timm.autotl_backbones())\n"
        "source, = autotl_timm.autotl_backbone_sources()\n"
        "assert 'resnet18' in source.architectures and source.resolve('timm/resnet18')\n"
        "print(sorted({'torch', 'timm', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", FAMILIES)
def test_architecture_wraps_any_family(name):
    import torch

    from autotl.features.freezing import FreezePlan
    from autotl.specs import LoadedBackbone

    source = Architectures()[name](num_classes=7)
    network, backbone = source.network.eval(), source.backbone.eval()
    size = network.pretrained_cfg["input_size"]
    batch = torch.zeros(2, *size)
    with torch.inference_mode():
        embedded = backbone(batch)
        logits = source.source_logits(batch)
    plan = FreezePlan(
        LoadedBackbone(module=backbone, preprocess=list, layer_groups=source.layer_groups)
    )
    names = [name for group in plan.groups for name in group]

    assert embedded.shape == (2, json_row(name)["embed_dim"])
    assert logits.shape == (2, 7)
    assert plan.n_groups > 2
    assert sorted(names) == sorted(n for n, _ in backbone.named_parameters())
    assert sum(p.numel() for p in backbone.parameters()) == json_row(name)["n_params"]
    assert next(iter(network.parameters())) is next(iter(backbone.parameters()))


@pytest.mark.parametrize("name", ["repvit_m1", "levit_128s"])
def test_architecture_drops_all_that_serves_the_classifier(name):
    backbone = Architectures()[name]().backbone

    assert sum(p.numel() for p in backbone.parameters()) == json_row(name)["n_params"]
    assert not any("head" in parameter for parameter, _ in backbone.named_parameters())


def test_architecture_keeps_a_head_that_pools():
    import torch

    backbone = Architectures()["samvit_base_patch16_224"]().backbone.eval().to("meta")

    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 768)


def test_architecture_without_groups_is_cut_at_its_stages():
    groups = Architectures()["poolformerv2_s12"]().layer_groups

    assert len(groups) == 6  # stem, four stages, norm


def json_row(name: str) -> dict[str, int]:
    from autotl_timm.catalogue import _models

    return _models()[name]


def test_architecture_leaves_the_network_whole():
    import torch

    source = Architectures()["test_vit"](num_classes=7)
    classifier = source.network.get_classifier()
    weights = {k: torch.full_like(v, 0.5) for k, v in source.network.state_dict().items()}
    source.network.load_state_dict(weights)

    assert classifier.weight.shape[0] == 7
    assert all((p == 0.5).all() for p in source.backbone.parameters())
    assert not any("head." in n for n, _ in source.backbone.named_parameters())


def test_architectures_do_not_know_hub_names():
    assert "hf-hub:evil/model" not in Architectures()
    assert "resnet18.a1_in1k" not in Architectures()
    with pytest.raises(KeyError):
        Architectures()["hf-hub:evil/model"]
