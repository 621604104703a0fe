"""Each suite refuses specs that break one promise."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import torch

from autotl.specs import (
    Choice,
    LoadedBackbone,
    RawFeatureSpec,
    SavedState,
    ScoreSpec,
    SimilaritySpec,
    Step,
)
from autotl.testing import (
    check_adaptation,
    check_backbone,
    check_modality,
    check_score,
    check_similarity,
    fake_adaptation,
    fake_backbone,
    fake_modality,
    fake_score,
    fake_similarity,
)

replace = dataclasses.replace


class Wrapped(torch.nn.Module):
    """The fake backbone's module with something done to its output."""

    def __init__(self, inner, change):
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, batch):
        return self.change(self.inner(batch))


def changed_output(change):
    def load(device):
        loaded = fake_backbone().load(device)
        return LoadedBackbone(
            module=Wrapped(loaded.module, change),
            preprocess=loaded.preprocess,
            source_probs=loaded.source_probs,
        )

    return {"load": load}


def changed_loaded(**changes):
    return {"load": lambda device: replace(fake_backbone().load(device), **changes)}


def random_weights():
    seeds = itertools.count()
    return {"load": lambda device: fake_backbone(seed=next(seeds)).load(device)}


def without_gradients():
    def load(device):
        loaded = fake_backbone().load(device)
        loaded.module.forward = torch.no_grad()(loaded.module.forward)
        return loaded

    return {"load": load}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"license": ""}, "SPDX"),
        ({"unavailable": lambda: "gone"}, "'gone'"),
        ({"embed_dim": 13}, r"shape \(5, 13\)"),
        ({"modality": "sound"}, "pass five"),
        ({"has_source_probs": False}, "has_source_probs"),
        (changed_output(lambda e: e.double()), "float32"),
        (changed_output(lambda e: e.numpy()), "tensor"),
        (changed_output(lambda e: e * float("nan")), "finite"),
        (changed_output(torch.zeros_like), "different embeddings"),
        (changed_output(lambda e: e + torch.rand(1)), "same embeddings twice"),
        (changed_output(lambda e: e - e.mean(dim=0)), "rest of its batch"),
        (random_weights(), "random"),
        (changed_loaded(layer_groups=(("stem",), ("block",))), "last.0.weight"),
        (changed_loaded(layer_groups=(("stem",), ("block", "last"), ("last.0",))), "exactly one"),
        (without_gradients(), "gradients"),
    ],
)
def test_check_backbone_refuses(changes, message):
    with pytest.raises(AssertionError, match=message):
        check_backbone(replace(fake_backbone(), **changes))


def test_check_backbone_takes_samples_of_any_modality():
    spec = replace(fake_backbone(), modality="vectors", **changed_loaded(preprocess=as_pictures))

    check_backbone(spec, samples=list(np.random.default_rng(0).normal(size=(5, 4))))


def as_pictures(samples):
    rows = torch.from_numpy(np.stack(samples)).float()
    return rows.view(-1, 1, 2, 2).expand(-1, 3, -1, -1).repeat(1, 1, 8, 8)


def score(compute):
    return ScoreSpec(name="broken", compute=compute)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (score(lambda s: float("nan")), "finite"),
        (score(lambda s: float(np.random.default_rng().random())), "same seed"),
        (score(lambda s: float(s.features[0, 0])), "order"),
        (score(lambda s: float((s.y * s.features[:, 0]).sum())), "renaming"),
        (score(lambda s: -fake_score().compute(s)), "greater is better"),
        (replace(fake_score(), needs=frozenset({"luck"})), "luck"),
    ],
)
def test_check_score_refuses(spec, message):
    with pytest.raises(AssertionError, match=message):
        check_score(spec)


def lopsided(source, target):
    return float(np.linalg.norm(source.mean - target.mean) * (1 + target.mean.sum() ** 2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(fake_similarity(), greater_is_closer=True), "closest"),
        (replace(fake_similarity(), compute=lopsided), "symmetric"),
        (replace(fake_similarity(), compute=lambda s, t: float("inf")), "finite"),
    ],
)
def test_check_similarity_refuses(spec, message):
    with pytest.raises(AssertionError, match=message):
        check_similarity(spec)


def test_check_similarity_accepts_an_asymmetry_that_is_stated():
    check_similarity(
        SimilaritySpec(name="one_way", compute=lopsided, greater_is_closer=False, symmetric=False)
    )


class Proxy:
    """A predictor with one method replaced."""

    def __init__(self, inner, **methods):
        self.inner = inner
        self.predict_proba = methods.get("predict_proba", inner.predict_proba)
        self.save = methods.get("save", inner.save)


def each_step(change):
    """Return the fake method with every step changed."""

    def steps(task, state=None):
        for index, step in enumerate(fake_adaptation().steps(task, state)):
            yield change(step, index)

    return {"steps": steps}


def predicts(change):
    def changed(step, _index):
        inner = step.predictor
        return replace(
            step, predictor=Proxy(inner, predict_proba=lambda i: change(inner.predict_proba(i)))
        )

    return each_step(changed)


def saves(change):
    def changed(step, _index):
        inner = step.predictor
        return replace(step, predictor=Proxy(inner, save=lambda: change(inner.save())))

    return each_step(changed)


def forgets_the_state(task, state=None):
    return fake_adaptation().steps(task, None)


def draws_from_the_global_generator(task, state=None):
    def changed(proba):
        noise = torch.rand(proba.shape[1]).numpy()
        return (proba + noise) / (proba + noise).sum(axis=1, keepdims=True)

    return predicts(changed)["steps"](task, state)


def leaves_a_thread(task, state=None):
    threading.Thread(target=threading.Event().wait, args=(20.0,), daemon=True).start()
    yield from fake_adaptation().steps(task, state)


def disables_gradients(task, state=None):
    with torch.no_grad():
        yield from fake_adaptation().steps(task, state)


def opens_a_file(opened):
    def steps(task, state=None):
        opened.append(open(__file__))  # noqa: SIM115, PTH123  # the leak is the point
        yield from fake_adaptation().steps(task, state)

    return steps


def overwrites_what_it_saved(task, state=None):
    means = None
    for step in fake_adaptation().steps(task, state):
        means = step.predictor.means if means is None else means
        means[:] = step.predictor.means
        live = SavedState(tensors={"means": means}, config={})
        yield replace(step, predictor=Proxy(step.predictor, save=lambda live=live: live))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defaults": {"epochs": 99}}, "inside"),
        ({"defaults": {"epochs": 1.5}}, "inside"),
        ({"space": {"epochs": Choice(options=(1, 2))}}, "inside"),
        ({"max_steps": lambda params: 0}, "max_steps"),
        ({"needs": frozenset({"source"})}, "source"),
        (predicts(lambda p: p[:, :2]), "shape"),
        (predicts(lambda p: p * 2), "sum to 1"),
        (predicts(lambda p: p.tolist()), "array"),
        (each_step(lambda step, i: replace(step, loss=float(i))), "loss to fall"),
        (each_step(lambda step, i: replace(step, loss=float("nan"))), "finite losses"),
        (saves(lambda s: replace(s, config={"shape": (1, 2)})), "tuple"),
        (saves(lambda s: replace(s, config={1: "a"})), "str keys"),
        (saves(lambda s: replace(s, config={"best": float("inf")})), "finite number"),
        (saves(lambda s: replace(s, tensors={"means": [1.0]})), "list"),
        (saves(lambda s: replace(s, tensors={"means": np.array(["a"])})), "numbers"),
        (saves(lambda s: replace(s, tensors={"means": s.tensors["means"] + 1})), "restore"),
        (saves(lambda s: s.tensors), "SavedState"),
        ({"steps": forgets_the_state}, "resum"),
        ({"steps": overwrites_what_it_saved}, "a copy"),
        ({"steps": draws_from_the_global_generator}, "same task and seed"),
        ({"steps": leaves_a_thread}, "thread"),
        ({"steps": disables_gradients}, "gradients"),
        ({"steps": lambda task, state=None: iter(())}, "a generator"),
        ({"steps": lambda task, state=None: (s for s in ())}, "at least one step"),
    ],
)
def test_check_adaptation_refuses(changes, message):
    with pytest.raises(AssertionError, match=message):
        check_adaptation(replace(fake_adaptation(), **changes))


def test_check_adaptation_refuses_an_open_file():
    opened = []
    with pytest.raises(AssertionError, match="open file"):
        check_adaptation(replace(fake_adaptation(), steps=opens_a_file(opened)))
    for file in opened:
        file.close()


def rows(**changes):
    raw = replace(fake_modality().raw_features[0], **changes)
    return {"raw_features": (raw,)}


def per_batch(samples, _state):
    stacked = np.stack(samples)
    return (stacked - stacked.mean(axis=0)).astype(np.float32)


def in_place(batch, generator, strength):
    return batch.add_(strength * torch.randn(batch.shape, generator=generator))


SCALED = fake_modality().raw_features[0]
TICKS = (b"%d" % n for n in itertools.count())
FITS_OBJECTS = rows(fit=lambda s: replace(SCALED.fit(s), config={"model": object()}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accepts": lambda X: False}, "accepts"),
        ({"as_samples": lambda X: list(X)[:-1]}, "one for each"),
        ({"as_samples": lambda X: [ValueError("bad"), *X[1:]]}, "bad"),
        ({"fingerprint": lambda s: "text"}, "bytes"),
        ({"fingerprint": lambda s: b""}, "different content"),
        ({"fingerprint": lambda s: next(TICKS)}, "read twice"),
        (rows(transform=per_batch), "depend on the other samples"),
        (rows(transform=lambda s, _: np.stack(s).astype(np.float64)), "float32"),
        (rows(transform=lambda s, _: np.zeros((1, 2), np.float32)), "one row"),
        (rows(transform=lambda s, _: np.full((len(s), 1), np.nan, np.float32)), "finite"),
        (FITS_OBJECTS, "JSON"),
        ({"augment": in_place}, "leave its input"),
        ({"augment": lambda b, g, s: b + s * torch.rand(b.shape)}, "same seed"),
        ({"augment": lambda b, g, s: b + s}, "seed to matter"),
        ({"augment": lambda b, g, s: b + torch.randn(b.shape, generator=g)}, "strength 0"),
        ({"augment": lambda b, g, s: b[:2]}, "keep"),
    ],
)
def test_check_modality_refuses(changes, message):
    X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)

    with pytest.raises(AssertionError, match=message):
        check_modality(replace(fake_modality(), **changes), X, batch=torch.randn(4, 5))


def test_check_modality_wants_cheap_features_first():
    one = fake_modality().raw_features[0]
    dear: RawFeatureSpec = replace(one, cost=5.0)

    with pytest.raises(AssertionError, match="by cost"):
        check_modality(
            replace(fake_modality(), raw_features=(dear, one)), np.eye(5, dtype=np.float32)
        )


def test_step_needs_no_loss():
    spec = replace(fake_adaptation(), **each_step(lambda step, _: replace(step, loss=None)))

    check_adaptation(spec)
    assert Step(predictor=None, state=lambda: None).loss is None
