import copy
import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import autotl
from autotl.errors import InvalidDataError
from autotl.shelf.images import StagedPreprocess, image_preprocess

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


def gradient(width: int, height: int, mode: str = "RGB") -> Image.Image:
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.tile(row, (height, 1))).convert(mode)


def test_preprocess_is_public():
    assert autotl.image_preprocess is image_preprocess


def test_preprocess_makes_one_float_batch():
    preprocess = image_preprocess((3, 20, 30), **HALF)

    batch = preprocess([gradient(9, 11), gradient(500, 300, "L"), gradient(30, 20)])

    assert tuple(batch.shape) == (3, 3, 20, 30)
    assert str(batch.dtype) == "torch.float32"
    assert batch.permute(0, 2, 3, 1).is_contiguous()
    assert -1 <= batch.min() < -0.9 < 0.9 < batch.max() <= 1


def test_preprocess_standardises_each_channel():
    image = Image.new("RGB", (4, 4), (255, 0, 51))

    batch = image_preprocess((3, 4, 4), [0.1, 0.2, 0.3], [0.5, 0.4, 0.1])([image])

    expected = [(1 - 0.1) / 0.5, (0 - 0.2) / 0.4, (0.2 - 0.3) / 0.1]
    np.testing.assert_allclose(batch[0, :, 2, 3].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_standardised_are_the_batch(mode):
    n_channels = len(mode)
    mean, std = [0.4, 0.5, 0.3][:n_channels], [0.2, 0.25, 0.3][:n_channels]
    preprocess = image_preprocess((n_channels, 7, 12), mean, std)
    images = [gradient(30, 20, mode), gradient(12, 7)]

    pixels = preprocess.pixels(images)
    batch = preprocess.standardise(pixels)

    assert isinstance(preprocess, StagedPreprocess)
    assert str(pixels.dtype) == "torch.uint8"
    assert torch.equal(batch, preprocess(images))
    # Channels-first in memory gives the same numbers, and its pixels stay as they are.
    assert torch.equal(preprocess.standardise(pixels.contiguous()), batch)
    assert torch.equal(preprocess.pixels(images), pixels)
    broadcast = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1)
    torch.testing.assert_close(batch, (pixels / 255 - broadcast[0]) / broadcast[1])


def test_repr_tells_all_and_is_the_same_in_every_process():
    code = (
        "import autotl; print(autotl.image_preprocess((3, 8, 9), [0.1, 0.2, 0.3], [0.5] * 3, "
        "'bicubic', 0.875))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()

    preprocess = image_preprocess((3, 8, 9), [0.1, 0.2, 0.3], [0.5] * 3, "bicubic", 0.875)
    assert printed == repr(preprocess)
    for changed in ({"std": (0.5, 0.5, 0.4)}, {"crop": None}, {"interpolation": "bilinear"}):
        assert repr(dataclasses.replace(preprocess, **changed)) != repr(preprocess)


def test_preprocess_converts_to_grey():
    batch = image_preprocess((1, 8, 8), [0.0], [1.0])([Image.new("RGB", (8, 8), (30, 30, 30))])

    assert tuple(batch.shape) == (1, 1, 8, 8)
    np.testing.assert_allclose(batch.numpy(), 30 / 255, rtol=1e-5)


def test_preprocess_keeps_the_whole_image():
    batch = image_preprocess((3, 10, 10), **HALF)([gradient(400, 40)])

    assert batch[0, 0, 5, 0] < -0.85
    assert batch[0, 0, 5, -1] > 0.85


def test_preprocess_crops_the_centre_when_asked():
    batch = image_preprocess((3, 10, 10), **HALF, crop=1.0)([gradient(400, 40)])

    assert -0.15 < batch[0, 0, 5, 0] < batch[0, 0, 5, -1] < 0.15


def test_preprocess_is_close_to_plain_resizing():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (300, 200, 3), dtype=np.uint8))
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)) / 255.0

    batch = image_preprocess((3, 32, 32), [0.0] * 3, [1.0] * 3, "bicubic")([image])

    assert abs(batch[0].permute(1, 2, 0).numpy() - expected).mean() < 0.02


def test_preprocess_leaves_the_image_alone():
    image = gradient(50, 50)
    before = image.tobytes()

    image_preprocess((1, 8, 8), [0.0], [1.0])([image])

    assert image.size == (50, 50)
    assert image.tobytes() == before


def test_preprocess_of_nothing_is_empty():
    assert tuple(image_preprocess((3, 8, 8), **HALF)([]).shape) == (0, 3, 8, 8)


def test_preprocess_travels_between_processes():
    preprocess = image_preprocess((3, 8, 8), **HALF)

    assert pickle.loads(pickle.dumps(preprocess)) == preprocess == copy.deepcopy(preprocess)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"input_size": (4, 8, 8)}, "input_size"),
        ({"input_size": (3, 8)}, "input_size"),
        ({"input_size": (3, 0, 8)}, "input_size"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [0.5, 0.0, 0.5]}, "std"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"crop": 1.5}, "crop"),
    ],
)
def test_preprocess_refuses_bad_arguments(change, match):
    with pytest.raises(InvalidDataError, match=match):
        image_preprocess(**{"input_size": (3, 8, 8), **HALF, **change})
