import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.errors import BackboneUnavailableError, InvalidDataError
from autotl.shelf.folder import read_weights_folder
from autotl.specs import BackboneSourceSpec, SourceNetwork

ENTRY = """
[[backbone]]
name = "{name}"
architecture = "{architecture}"
kwargs = {{ {kwargs} }}
source_domain = "somewhere"
input_size = [3, 8, 8]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
license = "MIT"
published_accuracy = 0.5
"""


def build(num_classes: int = 4) -> SourceNetwork:
    from torch import nn

    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, num_classes),
    )  # fmt: skip
    return SourceNetwork(
        network=network,
        backbone=network[:-1],
        source_logits=network,
        layer_groups=(("0", "1"),),
    )


SOURCES = [
    BackboneSourceSpec(name="a", prefix="a/", architectures={"other": build}),
    BackboneSourceSpec(name="b", prefix="b/", architectures={"tiny": build, "own": build}),
]


def entry(name: str = "own", architecture: str = "tiny", kwargs: str = "num_classes = 4") -> str:
    return ENTRY.format(name=name, architecture=architecture, kwargs=kwargs)


def weights(folder: Path, name: str = "own", num_classes: int = 4, seed: int = 0) -> Path:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tensors = {
        k: v.half() if k.endswith(("weight", "bias")) else v
        for k, v in build(num_classes).network.state_dict().items()
    }
    file = folder / f"{name}.safetensors"
    save_file(tensors, file)
    return file


def write(folder: Path, *entries: str) -> Path:
    (folder / "backbones.toml").write_text("\n".join(entries), encoding="utf-8")
    return folder


def reasons(folder: Path) -> dict[str, str]:
    specs, skipped = read_weights_folder(folder, SOURCES)
    assert not specs
    return {skip.name: skip.reason for skip in skipped}


def test_folder_describes_a_backbone(tmp_path):
    file = weights(write(tmp_path, entry()))

    (spec,), skipped = read_weights_folder(tmp_path, SOURCES)

    assert not skipped
    assert spec.name == "local/own"
    assert spec.modality == "image"
    assert spec.n_params == 3 * 5 * 9 + 5 + 5 + 5 + 5 * 4 + 4  # without batch norm's statistics
    assert spec.source_domain == "somewhere"
    assert spec.license == "MIT"
    assert spec.permissive is False
    assert spec.input_size == (3, 8, 8)
    assert spec.published_accuracy == 0.5
    assert spec.has_source_probs
    assert spec.download_bytes == 0
    assert spec.unavailable() is None
    assert spec.weights_digest() == hashlib.sha256(file.read_bytes()).hexdigest()


def test_permissive_is_read(tmp_path):
    weights(write(tmp_path, entry() + "permissive = true\n"))

    (spec,), _ = read_weights_folder(tmp_path, SOURCES)

    assert spec.permissive is True


@pytest.mark.parametrize("value", ['"false"', "1", "[]"])
def test_permissive_of_another_type_is_refused(tmp_path, value):
    weights(write(tmp_path, entry() + f"permissive = {value}\n"))

    assert "use true" in reasons(tmp_path)["local/own"]


def test_folder_loads_a_backbone(tmp_path):
    import torch

    file = weights(write(tmp_path, entry()))
    (spec,), _ = read_weights_folder(tmp_path, SOURCES)
    torch.manual_seed(1)
    expected_draw = torch.rand(1)
    torch.manual_seed(1)

    loaded = spec.load("cpu")

    assert torch.rand(1) == expected_draw  # loading leaves the random state alone
    batch = loaded.preprocess([Image.new("RGB", (20, 10), (255, 0, 0))] * 2)
    assert tuple(batch.shape) == (2, 3, 8, 8)
    assert tuple(loaded.module(batch).shape) == (2, 5)
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
    assert not loaded.module.training
    assert loaded.layer_groups == (("0", "1"),)
    probs = loaded.source_probs(batch)
    np.testing.assert_allclose(probs.sum(dim=1).detach().numpy(), 1, rtol=1e-6)
    from safetensors.torch import load_file

    assert torch.equal(loaded.module[0].weight, load_file(file)["0.weight"].float())


def test_described_looks_under_the_own_name(tmp_path):
    weights(write(tmp_path, entry(architecture="described")))

    (spec,), _ = read_weights_folder(tmp_path, SOURCES)

    assert spec.load("cpu").module is not None


def test_digest_follows_the_file(tmp_path):
    file = weights(write(tmp_path, entry()))
    (spec,), _ = read_weights_folder(tmp_path, SOURCES)
    before = spec.weights_digest()
    weights(tmp_path, seed=1)
    os.utime(file, ns=(1, 1))

    assert spec.weights_digest() != before


def test_unknown_architecture_is_a_reason(tmp_path):
    weights(write(tmp_path, entry(architecture="nope")))
    weights(tmp_path, "second")
    write(tmp_path, entry(architecture="nope"), entry("second", "described"))

    found = reasons(tmp_path)

    assert "no installed plugin builds the architecture 'nope'" in found["local/own"]
    assert "'second'" in found["local/second"]


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ("pretrained = true", "'pretrained'"),
        ('checkpoint_path = "/etc/passwd"', "'checkpoint_path'"),
        ("num_classes = 4.5", "num_classes"),
        ("num_classes = -1", "num_classes"),
        ("num_classes = true", "num_classes"),
        ("channel_multiplier = 1e9", "channel_multiplier"),
        ("pad_type = 3", "pad_type"),
        ("act_layer = []", "act_layer"),
    ],
)
def test_kwargs_outside_the_list_are_a_reason(tmp_path, kwargs, match):
    weights(write(tmp_path, entry(kwargs=kwargs)))

    assert match in reasons(tmp_path)["local/own"]


@pytest.mark.parametrize("name", ["../own", "sub/own", "..", "", ".hidden", "a b", "C:own"])
def test_names_that_are_paths_are_a_reason(tmp_path, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    weights(tmp_path)
    weights(write(inner, entry(name)), "other")

    found = reasons(inner)

    assert any("not a bare file name" in reason for reason in found.values())


def test_link_out_of_the_folder_is_a_reason(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "own.safetensors").symlink_to(weights(tmp_path))
    write(inner, entry())

    assert "outside" in reasons(inner)["local/own"]


def test_names_cannot_steer_the_terminal(tmp_path):
    weights(write(tmp_path, entry("\\u001b[31mred"), entry()))

    specs, skipped = read_weights_folder(tmp_path, SOURCES)

    assert len(specs) == 1
    assert "\x1b" not in skipped[0].name + skipped[0].reason


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("input_size = [3, 8]", "input_size"),
        ("input_size = [3, 8, 100000]", "input_size"),
        ('input_size = "big"', "input_size"),
        ("mean = [0.5]", "mean"),
        ('std = ["a", "b", "c"]', "std"),
        ("std = [0.0, 0.5, 0.5]", "std"),
        ('interpolation = "nearest"', "interpolation"),
        ("interpolation = []", "preprocessing"),
        ('crop = "a"', "preprocessing"),
    ],
)
def test_bad_preprocessing_is_a_reason(tmp_path, line, match):
    key = line.split(" = ")[0]
    kept = "\n".join(row for row in entry().splitlines() if not row.startswith(key + " "))
    weights(write(tmp_path, kept + "\n" + line))

    assert match in reasons(tmp_path)["local/own"]


def test_bad_facts_are_left_out(tmp_path):
    text = entry().replace('"somewhere"', "7").replace("= 0.5\n", '= "good"\n')
    weights(write(tmp_path, text + "embed_dim = 5"))

    (spec,), _ = read_weights_folder(tmp_path, SOURCES)

    assert spec.source_domain == ""
    assert spec.published_accuracy is None
    assert spec.embed_dim == 5


@pytest.mark.parametrize(
    "text", ["[[backbone", "backbone = 3", "backbone = [1]", "[backbone]\nname = 3", "\x00"]
)
def test_bad_description_is_a_reason(tmp_path, text):
    weights(write(tmp_path, text))

    assert "local/own" in reasons(tmp_path)


def test_missing_description_is_a_reason(tmp_path):
    weights(tmp_path)

    assert "backbones.toml" in reasons(tmp_path)["local/own"]


def test_missing_and_extra_files_are_reasons(tmp_path):
    weights(write(tmp_path, entry("absent")), "extra")

    found = reasons(tmp_path)

    assert "'absent.safetensors'" in found["local/absent"]
    assert "no entry" in found["local/extra"]


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_pickles_are_a_reason(tmp_path, suffix):
    write(tmp_path, entry())
    (tmp_path / f"own{suffix}").write_bytes(b"evil")

    found = reasons(tmp_path)

    assert list(found) == ["local/own"]
    assert "pickle" in found["local/own"]


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"evil"])
def test_damaged_weights_are_a_reason(tmp_path, content):
    write(tmp_path, entry())
    (tmp_path / "own.safetensors").write_bytes(content)

    assert "no safetensors file" in reasons(tmp_path)["local/own"]


def test_twice_described_counts_once(tmp_path):
    weights(write(tmp_path, entry(), entry()))

    specs, skipped = read_weights_folder(tmp_path, SOURCES)

    assert len(specs) == 1
    assert "twice" in skipped[0].reason


def test_weights_of_another_shape_are_refused(tmp_path):
    weights(write(tmp_path, entry(kwargs="num_classes = 9")))
    (spec,), _ = read_weights_folder(tmp_path, SOURCES)

    with pytest.raises(BackboneUnavailableError, match="do not fit"):
        spec.load("cpu")


def test_arguments_that_do_not_build_are_refused(tmp_path):
    weights(write(tmp_path, entry(kwargs='pad_type = "same"')))
    (spec,), _ = read_weights_folder(tmp_path, SOURCES)

    with pytest.raises(BackboneUnavailableError, match="cannot be built"):
        spec.load("cpu")


def test_weights_that_vanish_are_unavailable(tmp_path):
    file = weights(write(tmp_path, entry()))
    (spec,), _ = read_weights_folder(tmp_path, SOURCES)
    file.unlink()

    assert "gone" in spec.unavailable()
    with pytest.raises(BackboneUnavailableError):
        spec.load("cpu")


@pytest.mark.parametrize("missing", [True, False])
def test_missing_or_empty_folder_is_an_error(tmp_path, missing):
    with pytest.raises(InvalidDataError, match="weights folder"):
        read_weights_folder(tmp_path / "x" if missing else tmp_path, SOURCES)
