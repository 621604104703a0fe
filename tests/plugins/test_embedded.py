"""The shelf that ships: sizes, digests, loading, fingerprints."""

import hashlib
import json
import shutil
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from autotl.errors import BackboneUnavailableError
from autotl.registry import get_registry
from autotl_embedded import loading
from autotl_embedded.fingerprints import read_fingerprint, write_fingerprint
from autotl_embedded.listing import SHELF
from autotl_embedded.quantised import dequantise, quantise

IMAGES = [spec.name for spec in SHELF if spec.modality == "image"]
TEXTS = [spec.name for spec in SHELF if spec.modality == "text"]
# Bytes: what the wheel may grow to, one backbone at a time.
LIMITS = dict.fromkeys(IMAGES, 2.5e6) | {
    "embedded/words": 6e6,
    "embedded/sentences": 8e6,
    "embedded/cooccurrence": 3.5e6,
}


@cache
def loaded(name):
    return get_registry().backbones.get(name).load("cpu")


def folder(name):
    return loading.WEIGHTS / name.split("/")[1]


def image(size, mode="RGB"):
    rng = np.random.default_rng(size)
    pixels = rng.integers(0, 256, (size, size + 3, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_manifest_names_every_file_and_its_digest():
    manifest = json.loads((loading.WEIGHTS / "manifest.json").read_text())
    files = [p for p in loading.WEIGHTS.rglob("*") if p.is_file() and p.name != "manifest.json"]

    found = {
        p.relative_to(loading.WEIGHTS).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
    }

    assert found == manifest


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_one_backbone_is_small(name):
    assert 0 < sum(p.stat().st_size for p in folder(name).iterdir()) <= LIMITS[name]


def test_all_backbones_together_are_small():
    assert sum(p.stat().st_size for p in loading.WEIGHTS.rglob("*") if p.is_file()) <= 25e6


def test_every_weights_folder_is_listed():
    assert {p.name for p in loading.WEIGHTS.iterdir() if p.is_dir()} == {
        spec.name.split("/")[1] for spec in SHELF
    }


@pytest.mark.parametrize("file", ["glyphs/model.safetensors", "words/tokenizer.json"])
def test_damaged_weights_are_refused(tmp_path, monkeypatch, file):
    copy = shutil.copytree(loading.WEIGHTS, tmp_path / "weights")
    damaged = copy / file
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    monkeypatch.setattr(loading, "WEIGHTS", copy)
    spec = get_registry().backbones.get(f"embedded/{file.split('/')[0]}")

    with pytest.raises(BackboneUnavailableError, match="damaged; reinstall"):
        spec.load("cpu")


def test_a_damaged_fingerprint_is_refused(tmp_path, monkeypatch):
    copy = shutil.copytree(loading.WEIGHTS, tmp_path / "weights")
    (copy / "shapes" / "fingerprint.safetensors").write_bytes(b"")
    monkeypatch.setattr(loading, "WEIGHTS", copy)

    with pytest.raises(BackboneUnavailableError, match="damaged; reinstall"):
        get_registry().backbones.get("embedded/shapes").source_fingerprint()


@pytest.mark.parametrize("spec", SHELF, ids=lambda spec: spec.name)
def test_listed_facts_are_those_of_the_network(spec):
    module = loaded(spec.name).module

    assert spec.n_params == sum(p.numel() for p in module.parameters())
    assert spec.source_domain
    assert spec.source_terms


def test_what_learnt_from_restricted_data_is_not_permissive():
    assert {spec.name for spec in SHELF if spec.permissive} == {
        "embedded/glyphs",
        "embedded/shapes",
        "embedded/cooccurrence",
    }


def test_the_former_name_still_finds_the_photograph_network():
    assert get_registry().backbones.get("embedded/natural").name == "embedded/natural-base"


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("size", [8, 28, 64, 128])
def test_image_backbones_take_any_size(name, size):
    backbone = loaded(name)

    with torch.inference_mode():
        batch = backbone.preprocess([image(size, "L"), image(size)])
        embedded, probs = backbone.module(batch), backbone.source_probs(batch)

    assert torch.isfinite(embedded).all()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("size", [28, 48, 128])
def test_image_networks_are_fully_convolutional(name, size):
    backbone = loaded(name)
    native = backbone.preprocess([image(64)])

    with torch.inference_mode():
        embedded = backbone.module(torch.zeros(1, native.shape[1], size, size))

    assert embedded.shape == (1, get_registry().backbones.get(name).embed_dim)


def test_glyphs_do_not_depend_on_polarity():
    backbone = loaded("embedded/glyphs")
    pixels = np.zeros((16, 16), np.uint8)
    pixels[3:13, 7:9] = 255

    with torch.inference_mode():
        light, dark = backbone.module(
            backbone.preprocess([Image.fromarray(pixels, "L"), Image.fromarray(255 - pixels, "L")])
        )

    assert torch.nn.functional.cosine_similarity(light, dark, dim=0) > 0.98


def test_glyphs_see_strokes_that_differ_in_colour_alone():
    backbone = loaded("embedded/glyphs")
    stroke = np.zeros((16, 16), bool)
    stroke[3:13, 7:9] = True
    grey = np.where(stroke, 200, 40).astype(np.uint8)
    # Red on green of the same brightness in Rec. 601, by which Pillow converts to grey.
    coloured = np.where(stroke[..., None], (200, 0, 0), (0, 102, 0)).astype(np.uint8)

    with torch.inference_mode():
        plain, red = backbone.module(
            backbone.preprocess([Image.fromarray(grey, "L"), Image.fromarray(coloured)])
        )

    assert torch.nn.functional.cosine_similarity(plain, red, dim=0) > 0.98


@pytest.mark.parametrize("name", ["words", "cooccurrence"])
def test_tables_equal_static_embedding_on_the_same_folder(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        reference = SentenceTransformer(
            modules=[StaticEmbedding.load(str(loading.WEIGHTS / name))], device="cpu"
        )
    backbone = loaded(f"embedded/{name}")
    texts = ["A small table of words.", "¿Qué?", "transfer learning " * 40]

    with torch.inference_mode():
        embedded = backbone.module(backbone.preprocess(texts)).numpy()

    np.testing.assert_allclose(embedded, reference.encode(texts), atol=1e-4)


@pytest.mark.parametrize("spec", SHELF, ids=lambda spec: spec.name)
def test_fingerprints_describe_the_embedding(spec):
    fingerprint = spec.source_fingerprint()

    assert fingerprint.n >= 1000
    assert fingerprint.mean.shape == (spec.embed_dim,)
    assert fingerprint.class_means.shape == (len(fingerprint.class_counts), spec.embed_dim)
    assert fingerprint.class_counts.sum() == fingerprint.n
    # The classes' means, weighted, are the mean of all.
    weights = fingerprint.class_counts / fingerprint.n
    spread = np.sqrt(np.diag(fingerprint.covariance())) + 1e-6
    assert np.abs((weights @ fingerprint.class_means - fingerprint.mean) / spread).max() < 0.02
    assert np.linalg.eigvalsh(fingerprint.covariance()).min() >= -1e-6
    groups = [group[0] for group in loaded(spec.name).layer_groups]
    assert list(fingerprint.layers) == groups
    assert all(np.isfinite(layer.mean).all() for layer in fingerprint.layers.values())
    assert all((layer.variance >= 0.0).all() for layer in fingerprint.layers.values())


def test_fingerprints_tell_which_source_is_close():
    """Digits lie nearer to the classes of glyphs than noise does; with textures it is reversed."""
    from sklearn.datasets import load_digits

    digits = [Image.fromarray((d * 15.9).astype(np.uint8)) for d in load_digits().images[:200]]
    noise = [image(16 + i * 13 % 57, "L") for i in range(200)]

    def distance(name, samples):
        backbone = loaded(name)
        fingerprint = get_registry().backbones.get(name).source_fingerprint()
        with torch.inference_mode():
            embedded = backbone.module(backbone.preprocess(samples)).numpy()
        gaps = embedded[:, None] - fingerprint.class_means
        return (gaps**2).sum(2).min(1).mean()

    assert distance("embedded/glyphs", digits) < distance("embedded/glyphs", noise)
    assert distance("embedded/shapes", noise) < distance("embedded/shapes", digits)


def test_fingerprints_survive_a_round_trip(tmp_path):
    fingerprint = get_registry().backbones.get("embedded/words").source_fingerprint()

    write_fingerprint(fingerprint, tmp_path / "copy.safetensors")
    copy = read_fingerprint(tmp_path / "copy.safetensors")

    assert (copy.n, copy.clustered) == (fingerprint.n, fingerprint.clustered)
    np.testing.assert_array_equal(copy.class_means, fingerprint.class_means)
    np.testing.assert_array_equal(copy.as_domain_sample().mean, fingerprint.mean)


def test_quantised_rows_are_within_half_a_step():
    rng = torch.Generator().manual_seed(0)
    tensors = {
        "conv.weight": torch.randn(8, 3, 3, 3, generator=rng)
        * torch.logspace(-4, 2, 8)[:, None, None, None],
        "bias": torch.randn(8, generator=rng),
        "zero": torch.zeros(2, 2),
    }

    stored = quantise(tensors)
    restored = dequantise(stored)

    assert stored["conv.weight"].dtype == torch.int8
    assert set(restored) == set(tensors)
    torch.testing.assert_close(restored["bias"], tensors["bias"])
    torch.testing.assert_close(restored["zero"], tensors["zero"])
    row_max = tensors["conv.weight"].flatten(1).abs().amax(1)
    error = (restored["conv.weight"] - tensors["conv.weight"]).flatten(1).abs().amax(1)
    assert (error <= row_max / 127.0 * 0.5001).all()
