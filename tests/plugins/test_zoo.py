"""The zoo's architectures with the zoo's weights, through the same doors as a user's folder."""

import io
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.features.freezing import FreezePlan
from autotl.registry import Registry
from autotl.shelf import open_shelf

ROOT = Path(__file__).parents[2]
ZOO = ROOT.parent / "shared" / "zoo"

pytestmark = pytest.mark.skipif(
    not ZOO.is_dir(), reason="the zoo is not beside the repository (../shared/zoo)"
)

# Accuracy of the source classifier on 200 images of cifar10_small, which are JPEG-coded.
CIFAR = {"resnet56_cifar10": 0.75, "resnet20_cifar10": 0.75, "resnet8_cifar10": 0.7}
N_GROUPS = {
    "big_xception_fer2013": 4,
    "doodlenet_quickdraw28": 7,
    "mobilenetv1_025_imagenet128": 14,
    "mobilenetv1_025_vww96": 14,
    "mobilenetv1_050_imagenet160": 14,
    "mobilenetv1_075_imagenet192": 14,
    "mobilenetv2_100_imagenet224": 8,
    "mobilenetv2_100_inatbird224": 8,
    "resnet20_cifar10": 10,
    "resnet56_cifar10": 28,
    "resnet8_cifar10": 4,
    "squeezenet1_0_imagenet227": 9,
}


@pytest.fixture(scope="module")
def shelf():
    # The distribution need not be installed for these tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "zoo"))
        points = [EntryPoint(n, f"autotl_{n}", "autotl") for n in ("timm", "zoo")]
        yield open_shelf(
            backbones=["local/*"],
            weights=ZOO / "weights",
            registry=Registry(points, strict=True),
        )


@pytest.fixture(scope="module")
def load(shelf):
    specs = {spec.name.removeprefix("local/"): spec for spec in shelf.usable}
    return lambda name: specs[name].load("cpu")


def images(name: str, split: str, n: int) -> tuple[list[Image.Image], np.ndarray]:
    """Draw n images and their labels, the same ones every time."""
    with np.load(ZOO / "images" / f"{name}.npz", allow_pickle=False) as data:
        y = data[f"y_{split}"]
        rows = np.random.default_rng(0).permutation(len(y))[:n]
        if f"x_{split}" in data.files:
            return [Image.fromarray(data[f"x_{split}"][i].squeeze()) for i in rows], y[rows]
        coded, at = data[f"{split}_jpeg_bytes"].tobytes(), data[f"{split}_offsets"]
    return [Image.open(io.BytesIO(coded[at[i] : at[i + 1]])) for i in rows], y[rows]


def run(module, loaded, samples) -> np.ndarray:
    import torch

    with torch.inference_mode():
        chunks = [samples[i : i + 50] for i in range(0, len(samples), 50)]
        return torch.cat([module(loaded.preprocess(chunk)) for chunk in chunks]).numpy()


def test_shelf_has_the_whole_zoo(shelf):
    assert {s.name for s in shelf.usable} == {f"local/{name}" for name in N_GROUPS}
    assert not shelf.skipped


@pytest.mark.parametrize("name", sorted(N_GROUPS))
def test_backbone_loads_strictly(load, name):
    loaded = load(name)
    samples = [Image.effect_noise((50, 40), 60), Image.new("RGB", (90, 90), (200, 30, 30))]

    embedded = run(loaded.module, loaded, samples)
    probs = run(loaded.source_probs, loaded, samples)
    plan = FreezePlan(loaded)

    assert embedded.shape[0] == 2
    assert embedded.dtype == np.float32
    assert np.isfinite(embedded).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
    assert plan.n_groups == N_GROUPS[name]
    assert all(plan.groups)


@pytest.mark.parametrize("name", sorted(CIFAR))
def test_source_classifier_is_right(load, name):
    loaded = load(name)
    samples, y = images("cifar10_small", "test", 200)

    accuracy = (run(loaded.source_probs, loaded, samples).argmax(axis=1) == y).mean()

    assert accuracy > CIFAR[name]


def test_imagenet_features_beat_pixels(load):
    from sklearn.linear_model import LogisticRegression

    loaded = load("mobilenetv1_025_imagenet128")
    train, y = images("trashnet6", "train", 150)
    test, y_test = images("trashnet6", "test", 100)

    def probe(fit, score) -> float:
        mean, scale = fit.mean(axis=0), fit.std(axis=0) + 1e-3
        model = LogisticRegression(C=0.01, max_iter=200).fit((fit - mean) / scale, y)
        return model.score((score - mean) / scale, y_test)

    def pixels(samples) -> np.ndarray:
        return np.stack([np.asarray(s.convert("RGB").resize((16, 16))).ravel() for s in samples])

    features = probe(run(loaded.module, loaded, train), run(loaded.module, loaded, test))

    assert features > probe(pixels(train) / 255.0, pixels(test) / 255.0) + 0.1
