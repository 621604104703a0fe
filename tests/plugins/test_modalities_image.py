import io
import json
import random
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from autotl.errors import InvalidDataError
from autotl.registry import get_registry
from autotl.testing import check_modality
from autotl_modalities.image import as_samples

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def spec():
    return get_registry().modalities.get("image")


@pytest.mark.parametrize(
    "X",
    [noise(6, 12, 10), noise(6, 40, 30, 3), [Image.fromarray(noise(70, 50)) for _ in range(6)]],
    ids=["grey", "colour", "pil"],
)
def test_image_modality_fulfils_its_contract(spec, X):
    check_modality(spec, X)


@pytest.mark.parametrize(
    ("X", "mode", "size"),
    [
        (noise(3, 8, 10), "L", (10, 8)),
        (noise(3, 8, 10, 1), "L", (10, 8)),
        (noise(3, 8, 10, 3), "RGB", (10, 8)),
        (noise(3, 3, 8, 10), "RGB", (10, 8)),
        (noise(3, 1, 8, 10), "L", (10, 8)),
        (noise(3, 8, 10, 4), "RGB", (10, 8)),
        (torch.zeros((3, 3, 8, 10)), "RGB", (10, 8)),
        ([noise(8, 10), noise(9, 9, 3)], "L", (10, 8)),
    ],
)
def test_as_samples_reads_arrays(spec, X, mode, size):
    assert spec.accepts(X)

    samples = as_samples(X)

    assert len(samples) == len(X)
    assert (samples[0].mode, samples[0].size) == (mode, size)


@pytest.mark.parametrize("full", [1.0, 16.0, 255.0])
def test_as_samples_scales_by_range_class(full):
    fractions = np.array([0.0, 0.25, 0.5, 1.0]).reshape(1, 2, 2)

    (whole,) = as_samples(fractions * full)
    (dim,) = as_samples(fractions[:, :, :1].repeat(2, axis=2)[:, :1].repeat(2, axis=1) * full)

    assert np.asarray(whole).ravel().tolist() == [0, 64, 128, 255]
    assert np.asarray(dim).max() == 0


def test_as_samples_scales_new_digits_like_old_ones():
    digits = RNG.integers(0, 17, (20, 8, 8)).astype(float)

    together = as_samples(digits)
    alone = as_samples(np.minimum(digits[:1], 9))

    assert np.array_equal(np.minimum(np.asarray(together[0]), 143), np.asarray(alone[0]))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((2, 4, 5), np.nan), "NaN or infinite at 40 of 40 places"),
        (np.full((2, 4, 5), 3000.0), "from 3000 to 3000"),
        (np.full((2, 4, 5), -1.0), "X \\+ 1|from -1"),
        (noise(2, 64), "Rows come later"),
        (noise(32, 32, 3), "X\\[None\\]"),
        (noise(2, 8, 8, 2), "no axis has 1, 3 or 4"),
        (noise(2, 3, 8, 3), "either axis"),
        (noise(2, 0, 8), "empty"),
        ([noise(4, 4), 7], "X\\[1\\] is 7 \\(int\\)"),
        (3, "X is 3"),
    ],
)
def test_as_samples_refuses(X, message):
    with pytest.raises(InvalidDataError, match=message):
        as_samples(X)


def test_as_samples_reads_every_pillow_mode(tmp_path):
    grey, colour = Image.fromarray(noise(9, 7)), Image.fromarray(noise(9, 7, 3))
    expected = {
        "1": "L",
        "L": "L",
        "LA": "L",
        "P": "RGB",
        "RGB": "RGB",
        "RGBA": "RGB",
        "CMYK": "RGB",
    }
    for mode, target in expected.items():
        image = (grey if target == "L" else colour).convert(mode)
        path = tmp_path / f"{mode}.tif"
        image.save(path)
        for sample in as_samples([image, path, str(path)]):
            assert (sample.mode, sample.size) == (target, (7, 9))


def test_as_samples_flattens_alpha_on_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))

    assert as_samples([clear])[0].getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("high", "full"), [(255, 255), (4095, 4095), (65535, 65535)])
def test_as_samples_reads_deep_images(tmp_path, high, full):
    values = np.linspace(0, high, 64).reshape(8, 8).astype(np.uint16)
    path = tmp_path / "deep.png"
    Image.fromarray(values).save(path)

    (sample,) = as_samples([path])

    assert sample.mode == "L"
    assert np.array_equal(np.asarray(sample), np.rint(values * (255.0 / full)).astype(np.uint8))


def test_as_samples_turns_upright_and_shrinks(tmp_path):
    photo = Image.new("RGB", (1600, 1200), "black")
    photo.paste("white", (0, 0, 800, 1200))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "photo.jpg", exif=exif)

    (sample,) = as_samples([tmp_path / "photo.jpg"])

    assert sample.size == (256, 341)
    assert sample.getpixel((128, 20)) > (200, 200, 200)
    assert sample.getpixel((128, 320)) < (50, 50, 50)


def test_as_samples_marks_what_cannot_be_read(tmp_path, monkeypatch):
    good = tmp_path / "good.png"
    Image.fromarray(noise(30, 30)).save(good)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    paths = [good, cut, tmp_path / "text.jpg", tmp_path / "folder.png", tmp_path / "no.png", None]

    with Image.open(cut) as opened:
        samples = as_samples([*paths, "x" * 5000, opened])

    assert samples[0].size == (30, 30)
    assert all(isinstance(s, InvalidDataError) for s in samples[1:])
    assert "no file" in str(samples[3])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "DecompressionBomb" in str(as_samples([good])[0])


def test_accepts_only_existing_files_as_paths(spec, tmp_path):
    path = tmp_path / "a.PNG"
    Image.new("L", (4, 4)).save(path)
    text = get_registry().modalities.get("text")

    cases = {
        (str(path),): (True, False),
        (str(path), "a text"): (True, True),
        ("missing.png", "other.jpg"): (True, True),
        ("a text", "see photo.jpg"): (False, True),
    }
    for X, expected in cases.items():
        assert (spec.accepts(list(X)), text.accepts(list(X))) == expected
    assert spec.accepts(pd.Series([path]))
    assert not spec.accepts(pd.DataFrame({"a": [1]}))
    assert not spec.accepts([1, 2])
    assert not spec.accepts(noise(4, 4))


def test_pixels_of_small_images_are_the_pixels(spec):
    digits = RNG.integers(0, 17, (5, 8, 8)).astype(float)
    samples = spec.as_samples(digits)
    pixels = spec.raw_features[0]

    features = pixels.transform(samples, pixels.fit(samples))

    assert features.dtype == np.float32
    assert np.allclose(features, digits.reshape(5, 64) / 16, atol=0.002)


def test_raw_features_decide_size_and_colour_in_fit(spec):
    grey, colour = spec.as_samples(noise(4, 50, 40)), spec.as_samples(noise(4, 20, 90, 3))
    pixels, hog = spec.raw_features

    assert pixels.transform(colour, pixels.fit(grey)).shape == (4, 256)
    assert pixels.transform(grey, pixels.fit([*grey, *colour])).shape == (4, 768)
    assert hog.transform(colour, hog.fit(colour)).shape == (4, 324)
    assert hog.transform(grey, hog.fit(spec.as_samples(noise(2, 90, 90)))).shape == (4, 1764)
    assert hog.transform([], hog.fit(grey)).shape == (0, 324)
    assert json.dumps(dict(hog.fit(grey).config))


def test_augment_flips_only_when_strong(spec):
    ramp = torch.linspace(0, 1, 32).expand(200, 1, 32, 32).contiguous()

    def rising(strength):
        out = spec.augment(ramp, torch.Generator().manual_seed(0), strength)
        return (out[:, 0, :, 20:].mean((1, 2)) > out[:, 0, :, :12].mean((1, 2))).float().mean()

    assert rising(0.5) == 1.0
    assert 0.3 < rising(0.9) < 0.7


def test_augment_leaves_other_batches_alone(spec):
    tokens = {"input_ids": torch.zeros((2, 5), dtype=torch.long)}

    assert spec.augment(tokens, torch.Generator(), 1.0) is tokens


def test_two_thousand_images_read_in_seconds(tmp_path):
    image = Image.fromarray(noise(120, 160, 3))
    image.save(tmp_path / "0.jpg")
    content = (tmp_path / "0.jpg").read_bytes()
    paths = [tmp_path / f"{i}.jpg" for i in range(2000)]
    for path in paths:
        path.write_bytes(content)

    start = time.perf_counter()
    samples = as_samples(paths)

    assert len(samples) == 2000
    assert time.perf_counter() - start < 15


def test_missing_file_among_paths_is_skipped_not_ambiguous(tmp_path):
    paths = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(path)
        paths.append(str(path))
    paths.append(str(tmp_path / "gone.png"))

    assert not get_registry().modalities.get("text").accepts(paths)
    samples = as_samples(paths)

    assert isinstance(samples[-1], Exception)
    assert sum(isinstance(s, Exception) for s in samples) == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_as_samples_reads_tensors_of_any_kind(spec, dtype):
    whole = torch.from_numpy(noise(4, 3, 12, 10)).to(dtype)
    whole = whole.requires_grad_() if dtype.is_floating_point else whole

    together, apart = as_samples(whole), as_samples(list(whole))

    assert spec.accepts(whole)
    assert spec.accepts(list(whole))
    assert [s.tobytes() for s in together] == [s.tobytes() for s in apart]
    assert np.array_equal(np.asarray(together[2]), whole[2].detach().float().permute(1, 2, 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_as_samples_reads_tensors_on_a_gpu():
    batch = torch.from_numpy(noise(4, 3, 12, 10))

    assert [s.tobytes() for s in as_samples(batch.cuda())] == [
        s.tobytes() for s in as_samples(batch)
    ]


def test_as_samples_reads_encoded_bytes(spec):
    buffer = io.BytesIO()
    Image.fromarray(noise(9, 7, 3)).save(buffer, "PNG")
    content = buffer.getvalue()

    samples = as_samples([content, content[:60]])

    assert spec.accepts([content])
    assert samples[0].size == (7, 9)
    assert isinstance(samples[1], InvalidDataError)


def test_an_array_is_never_copied_whole(monkeypatch):
    monkeypatch.setattr("autotl_modalities.image._CHUNK_BYTES", 4096)
    X = RNG.random((300, 32, 32)).astype(np.float32)
    as_samples(X[:2])
    tracemalloc.start()

    samples = as_samples(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < X.nbytes / 4
    assert np.array_equal(np.asarray(samples[299]), np.rint(X[299].astype(float) * 255))


def test_several_threads_may_read_the_same_images(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path in paths:
        Image.fromarray(noise(30, 30, 3)).save(path)
    samples = as_samples(paths)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: samples[i % 8].tobytes(), range(200)))

    assert found == [samples[i % 8].tobytes() for i in range(200)]


def test_the_strongest_augmentation_is_randaugment_and_a_seed_repeats_it(spec):
    batch = torch.rand((6, 3, 24, 24), generator=torch.Generator().manual_seed(1)) * 4 - 2
    state = random.getstate()

    one, same, other = (
        spec.augment(batch, torch.Generator().manual_seed(seed), 1.0) for seed in (0, 0, 1)
    )

    assert one.shape == batch.shape
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert random.getstate() == state
    assert one.min() >= batch.min() - 1e-4
    assert one.max() <= batch.max() + 1e-4


def test_randaugment_takes_grey_images_and_leaves_other_channels(spec):
    grey, many = torch.rand((3, 1, 16, 16)), torch.rand((3, 5, 16, 16))

    assert spec.augment(grey, torch.Generator().manual_seed(0), 1.0).shape == grey.shape
    assert torch.equal(spec.augment(many, torch.Generator().manual_seed(0), 1.0), many)


def test_randaugment_never_asks_for_what_pillow_refuses(spec):
    batch = torch.rand(1500, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    assert spec.augment(batch, torch.Generator().manual_seed(0), 1.0).shape == batch.shape
