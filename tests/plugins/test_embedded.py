import hashlib
import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from autotl.errors import BackboneUnavailableError
from autotl.registry import get_registry
from autotl_embedded import loading

LIMITS = {"embedded/glyphs": 2.5e6, "embedded/natural": 2.5e6, "embedded/words": 6e6}


def files_of(name):
    part = name.split("/")[1]
    return [p for p in loading.WEIGHTS.rglob("*") if p.is_file() and part in p.as_posix()]


def test_manifest_names_every_file_and_its_digest():
    manifest = json.loads((loading.WEIGHTS / "manifest.json").read_text())
    files = [p for p in loading.WEIGHTS.rglob("*") if p.is_file() and p.name != "manifest.json"]

    found = {
        p.relative_to(loading.WEIGHTS).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
    }

    assert found == manifest


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_weights_are_small(name):
    assert 0 < sum(p.stat().st_size for p in files_of(name)) <= LIMITS[name]


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    copy = shutil.copytree(loading.WEIGHTS, tmp_path / "weights")
    glyphs = copy / "glyphs.safetensors"
    glyphs.write_bytes(glyphs.read_bytes()[:-1] + b"\0")
    monkeypatch.setattr(loading, "WEIGHTS", copy)

    with pytest.raises(BackboneUnavailableError, match="damaged; reinstall"):
        loading.load_glyphs("cpu")


@pytest.mark.parametrize("name", ["embedded/glyphs", "embedded/natural"])
@pytest.mark.parametrize("size", [8, 28, 64, 128])
def test_image_backbones_take_any_size(name, size):
    loaded = get_registry().backbones.get(name).load("cpu")
    rng = np.random.default_rng(size)
    image = Image.fromarray(rng.integers(0, 256, (size, size + 3), dtype=np.uint8), "L")

    with torch.inference_mode():
        embedded = loaded.module(loaded.preprocess([image, image.convert("RGB")]))
        probs = loaded.source_probs(loaded.preprocess([image]))

    assert torch.isfinite(embedded).all()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(1))


def test_glyphs_do_not_depend_on_polarity():
    loaded = get_registry().backbones.get("embedded/glyphs").load("cpu")
    pixels = np.zeros((16, 16), np.uint8)
    pixels[3:13, 7:9] = 255

    with torch.inference_mode():
        light, dark = loaded.module(
            loaded.preprocess([Image.fromarray(pixels, "L"), Image.fromarray(255 - pixels, "L")])
        )

    assert torch.nn.functional.cosine_similarity(light, dark, dim=0) > 0.98


def test_words_equal_static_embedding_on_the_same_folder():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        reference = SentenceTransformer(
            modules=[StaticEmbedding.load(str(loading.WEIGHTS / "words"))], device="cpu"
        )
    loaded = get_registry().backbones.get("embedded/words").load("cpu")
    texts = ["A small table of words.", "¿Qué?", "transfer learning " * 40]

    with torch.inference_mode():
        embedded = loaded.module(loaded.preprocess(texts)).numpy()

    np.testing.assert_allclose(embedded, reference.encode(texts), atol=1e-4)
