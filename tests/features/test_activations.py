import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from autotl.adapt import LinearHead, TrainingSettings, standardiser, train
from autotl.features import ActivationStore, BackboneSession, Caching
from autotl.features.activations import Activations, View, same_predictions
from autotl.features.store import StoredActivations
from autotl.specs import AdaptationTask
from autotl.testing.fakes import fake_backbone, fake_modality, toy_images

N = 60


def digests(n=N):
    return [f"sample {i}" for i in range(n)]


class Counting:
    """A backbone that counts how many samples its first layer has seen."""

    def __init__(self):
        self.seen = 0
        self.spec = dataclasses.replace(fake_backbone(), load=self._load)

    def _load(self, device):
        loaded = fake_backbone().load(device)
        loaded.module.stem.register_forward_pre_hook(self._count)
        return loaded

    def _count(self, _module, arguments):
        self.seen += len(arguments[0])


def moved(batch, generator, strength):
    return batch + strength * torch.rand(batch.shape, generator=generator)


@pytest.fixture
def open_session(tmp_path):
    images, y = toy_images(N)

    def build(spec=None, limit_bytes=10**9, cached=True, **keywords):
        store = ActivationStore(tmp_path / "cache", limit_bytes)
        caching = Caching(store=store, digests=digests(), y=y, demand=(0.3, 0.7), **keywords)
        modality = dataclasses.replace(fake_modality(), augment=moved)
        return BackboneSession(
            spec or fake_backbone(), images, modality, caching=caching if cached else None
        )

    build.y = y
    return build


def tuned(session, y, depth, augment=0.0):
    rows = np.arange(N)
    task = AdaptationTask(
        train=session.inputs(rows), y=y, n_classes=int(y.max()) + 1, freeze_depth=depth,
        n_steps=3, params={},
    )  # fmt: skip
    scaling = standardiser(task.train.features())
    head = LinearHead(
        weight=np.zeros((task.n_classes, len(scaling["mean"])), np.float32),
        bias=np.zeros(task.n_classes, np.float32),
        **scaling,
    )
    settings = TrainingSettings(
        lr=1e-2, head_lr=1e-1, weight_decay=1e-3, batch_size=16, augment=augment
    )
    *_, last = train(task, settings, head)
    return last.predictor


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_training_from_a_cut_equals_training_the_whole(open_session, depth):
    cached, whole = open_session(dtype="float32"), open_session(cached=False)
    rows = np.arange(N)

    assert cached.start_for(depth) > 0 == whole.start_for(depth)
    a = tuned(cached, open_session.y, depth).predict_proba(cached.inputs(rows))
    b = tuned(whole, open_session.y, depth).predict_proba(whole.inputs(rows))

    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_network_trained_from_a_cut_predicts_without_the_cache(open_session):
    session, fresh = open_session(dtype="float32"), open_session(cached=False)
    predictor = tuned(session, open_session.y, 2)
    expected = predictor.predict_proba(session.inputs(np.arange(N)))

    restored = type(predictor).restore(predictor.save())

    np.testing.assert_allclose(
        restored.predict_proba(fresh.inputs(np.arange(N))), expected, atol=1e-5
    )


def test_a_later_run_computes_nothing(open_session):
    first, second = Counting(), Counting()
    before = open_session(first.spec)
    tuned(before, open_session.y, 2, augment=0.5)
    assert first.seen > 0

    after = open_session(second.spec)
    embedded = after.embed(np.arange(N))
    assert second.seen == 0
    _ = after.kept  # finding the cuts runs a few examples
    examples = second.seen
    for start in (after.start_for(2), after.n_groups):
        for seed in range(3):  # one view for each epoch that was trained
            list(after.inputs(np.arange(N)).batches(16, seed=seed, start=start, augment=0.5))

    np.testing.assert_array_equal(embedded, before.embed(np.arange(N)))
    assert second.seen == examples


def test_head_only_never_touches_the_backbone(open_session):
    counting = Counting()
    session = open_session(counting.spec)
    session.embed(np.arange(N))
    _ = session.kept
    before = counting.seen

    tuned(session, open_session.y, session.n_groups).predict_proba(session.inputs(np.arange(N)))

    assert counting.seen == before


def test_a_view_depends_on_nothing_but_its_sample(open_session, tmp_path):
    session = open_session(dtype="float32")
    start, view = session.start_for(1), View(2, 0.5)
    some = session.activations.read(np.array([7, 3]), start, view)["tensor"]

    everything = session.activations.read(np.arange(N), start, view)["tensor"]

    np.testing.assert_allclose(everything[[7, 3]], some, atol=1e-6)


def test_epochs_take_turns_with_the_views(open_session):
    session = open_session(dtype="float32", views=2)
    start = session.start_for(1)

    def epoch(seed):
        batches = list(
            session.inputs(np.arange(N)).batches(N, seed=seed, augment=0.5, start=start)
        )
        ((rows, batch),) = batches
        return batch[np.argsort(rows)]

    assert torch.equal(epoch(0), epoch(2))
    assert not torch.equal(epoch(0), epoch(1))


def test_without_room_everything_still_works(open_session):
    tight, free = open_session(limit_bytes=1, dtype="float32"), open_session(cached=False)

    np.testing.assert_allclose(tight.embed(np.arange(N)), free.embed(np.arange(N)), atol=1e-5)
    assert tight.start_for(2) == 0


def test_a_full_disk_costs_time_only(open_session, monkeypatch):
    full, free = open_session(dtype="float32"), open_session(cached=False)
    monkeypatch.setattr(StoredActivations, "add", lambda *_: False)

    a, b = (
        tuned(s, open_session.y, 2).predict_proba(s.inputs(np.arange(N))) for s in (full, free)
    )

    assert full.start_for(2) == 2
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_activations_that_were_evicted_are_computed_again(open_session):
    session = open_session(dtype="float32")
    start, inputs = session.start_for(2), session.inputs(np.arange(N))
    ((_, before),) = inputs.batches(N, start=start)

    batches = inputs.batches(N // 2, start=start)
    first = next(batches)
    session.activations.caching.store.clear()
    second = next(batches)

    torch.testing.assert_close(torch.cat([first[1], second[1]]), before, atol=1e-5, rtol=0)


def test_what_was_computed_before_time_ran_out_is_kept(open_session):
    session = open_session()
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 1:
            raise TimeoutError

    session.check, session.batch_size = check, 20

    with pytest.raises(TimeoutError):
        session.embed(np.arange(N))

    assert session.missing(np.arange(N)) == N - 20


def test_other_weights_are_other_activations(open_session):
    one, other = open_session(), open_session(fake_backbone(seed=1))
    one.embed(np.arange(N))

    assert other.missing(np.arange(N)) == N


def test_rounding_that_changes_a_prediction_is_refused():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    exact = (rng.normal(size=(100, 5)) + y[:, None]).astype(np.float32)

    assert same_predictions(exact, exact.astype(np.float16).astype(np.float32), y)
    assert not same_predictions(exact, np.round(exact), y)
    assert not same_predictions(exact, np.where(exact > 1, np.inf, exact), y)
    assert not same_predictions(exact, exact, np.zeros(100, int))


def test_activations_beyond_half_precision_stay_float32(open_session):
    def load(device):
        loaded = fake_backbone().load(device)
        with torch.no_grad():
            loaded.module.last[0].weight.mul_(1e9)
        return loaded

    spec = dataclasses.replace(fake_backbone(), load=load, weights_digest=lambda: "large")
    session = open_session(spec)

    assert np.isfinite(session.embed(np.arange(N))).all()


class Staged:
    """Preprocessing in two stages, on which standardising twice would show."""

    def pixels(self, samples):
        arrays = [np.asarray(s.convert("RGB").resize((16, 16))) for s in samples]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def standardise(self, batch):
        return batch.float() / 255 - 0.5

    def __call__(self, samples):
        return self.standardise(self.pixels(samples))

    def __repr__(self):
        return "Staged()"


def test_a_view_is_standardised_once_and_then_augmented(open_session):
    def load(device):
        return dataclasses.replace(fake_backbone().load(device), preprocess=Staged())

    session = open_session(dataclasses.replace(fake_backbone(), load=load), dtype="float32")
    start, view = session.start_for(1), View(1, 0.5)
    seen = []
    plain = session.modality.augment
    session.modality = dataclasses.replace(
        session.modality, augment=lambda *a: seen.append(a[0]) or plain(*a)
    )

    got = session.activations.batch(np.array([3]), start, view)

    (before,) = seen
    expected = Staged()([session.samples[3]])
    torch.testing.assert_close(before, expected)
    seed = int.from_bytes(hashlib.sha256(b"sample 3 0 1").digest()[:7], "big")
    augmented = moved(expected, torch.Generator().manual_seed(seed), 0.5)
    torch.testing.assert_close(got, session.infer(session.part(0, start), augmented))


def test_rows_that_another_process_adds_meanwhile_are_read(open_session):
    session, other = open_session(), open_session()
    missing = session.activations.missing

    def slow(rows, depth, view):
        found = missing(rows, depth, view)
        other.embed(np.arange(N))
        return found

    session.activations.missing = slow

    np.testing.assert_array_equal(session.embed(np.arange(N)), other.embed(np.arange(N)))


def test_overflow_beyond_the_checked_rows_keeps_single_precision(open_session, monkeypatch):
    monkeypatch.setattr(Activations, "_safe_dtype", lambda *_: "float16")

    def load(device):
        loaded = fake_backbone().load(device)
        with torch.no_grad():
            loaded.module.last[0].weight.mul_(1e9)
        return loaded

    spec = dataclasses.replace(fake_backbone(), load=load, weights_digest=lambda: "overflow")

    assert np.isfinite(open_session(spec).embed(np.arange(N))).all()


def test_weights_without_a_digest_are_told_apart_by_content(open_session):
    def spec(seed):
        return dataclasses.replace(fake_backbone(seed=seed), name="x", weights_digest=None)

    open_session(spec(0)).embed(np.arange(N))

    assert open_session(spec(0)).missing(np.arange(N)) == 0
    assert open_session(spec(1)).missing(np.arange(N)) == N


def test_a_parameter_of_the_module_itself_belongs_to_the_first_group(open_session):
    class Rooted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.zeros(3, 1, 1))
            self.body = torch.nn.Sequential(
                torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
            )

        def forward(self, x):
            return self.body(x + self.shift)

    def load(device):
        return dataclasses.replace(
            fake_backbone().load(device), module=Rooted().eval(), layer_groups=None
        )

    spec = dataclasses.replace(fake_backbone(), load=load, weights_digest=None)

    for cached in (True, False):
        assert tuned(open_session(spec, cached=cached), open_session.y, 0) is not None
