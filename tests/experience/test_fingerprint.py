"""How alike data sets are, and what of them is kept."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data import build_task
from autotl.experience import (
    DataFingerprint,
    ExperienceStore,
    Moments,
    describe,
    embedder,
    similarity,
)
from autotl.testing import fake_backbone

shares = st.floats(0, 1)
sizes = st.integers(1, 10**6)
names = st.sampled_from(["a/1", "a/2", "a/3", "a/4", "a/5"])
moments = st.builds(
    lambda n, rows: Moments(n=n, mean=[m for m, _ in rows], variance=[v for _, v in rows]),
    st.integers(1, 512),
    st.lists(st.tuples(st.floats(-1e200, 1e200), st.floats(0, 1e200)), min_size=1, max_size=3),
)
fingerprints = st.builds(
    DataFingerprint,
    modality=st.sampled_from(["image", "text"]),
    metric=st.sampled_from(["accuracy", "f1_macro"]),
    n_train=sizes,
    n_classes=st.integers(1, 100),
    class_entropy=st.floats(-1, 800),
    moments=st.dictionaries(names, moments, max_size=2),
    scores=st.dictionaries(names, shares),
    n_scored=st.integers(0, 1000),
)


@settings(max_examples=50)
@given(fingerprints, fingerprints)
def test_similarity_is_symmetric_and_bounded(a, b):
    there, back = similarity(a, b), similarity(b, a)

    assert there == pytest.approx(back, rel=1e-9)
    assert 0 <= there <= 1
    if a.modality != b.modality:
        assert there == 0


@settings(max_examples=50)
@given(fingerprints)
def test_similarity_to_itself_is_one_unless_nothing_tells(a):
    tells = bool(a.moments) or (len(a.scores) >= 3 and a.n_scored > 0)

    assert similarity(a, a) == (1 if tells else pytest.approx(0.2))


@pytest.mark.parametrize("far", [0.5, 1, 2, 4])
def test_similarity_falls_with_every_distance(make_data, far):
    here = make_data()
    order = [0.6, 0.7, 0.8, 0.5]

    def scores(by):
        odds = np.log(np.array(order) / (1 - np.array(order))) + by * np.array([1, -1, 0, 0])
        return dict(zip(here.scores, 1 / (1 + np.exp(-odds)), strict=True))

    for near_one, far_one in (
        (make_data(far / 2), make_data(far)),
        (make_data(n_train=int(500 * 2**far)), make_data(n_train=int(500 * 4**far))),
        (make_data(n_classes=int(4 + 4 * far)), make_data(n_classes=int(4 + 40 * far))),
        (make_data(scores=scores(far)), make_data(scores=scores(2 * far))),
    ):
        assert 1 > similarity(here, near_one) > similarity(here, far_one)


def test_the_same_data_sampled_anew_stays_nearly_the_same(make_data):
    skill = np.linspace(-0.5, 1.5, 20)

    def looked_at(seed):
        # Some samples are easy for all backbones: they err together.
        rng = np.random.default_rng(seed)
        ease = (rng.normal(size=(128, 1)) + rng.normal(size=(128, 20))) / np.sqrt(2)
        right = (ease + skill > 0).mean(axis=0)
        return make_data(seed=seed, scores={f"timm/{i}": p for i, p in enumerate(right)})

    found = [similarity(looked_at(0), looked_at(seed)) for seed in range(1, 30)]
    assert np.quantile(found, 0.1) > 0.6
    assert np.median(found) > 0.9


def test_small_sample_counts_as_noisy(make_data):
    rng = np.random.default_rng(1)
    few = Moments.of(np.linspace(-1, 1, 16) + rng.normal(size=(24, 16)))
    here = make_data(scores={})

    honest = dataclasses.replace(here, moments={"embedded/small#1": few})
    pretended = dataclasses.replace(
        here, moments={"embedded/small#1": dataclasses.replace(few, n=512)}
    )

    assert similarity(here, honest) > similarity(here, pretended)


def test_other_metric_and_missing_parts_count_less(make_data):
    here = make_data()

    assert similarity(here, make_data(metric="f1_macro")) == pytest.approx(0.8)
    assert similarity(here, make_data(moments={}, scores={})) == pytest.approx(0.2)
    assert similarity(here, make_data(moments={})) == 1
    assert similarity(here, make_data(scores={})) == 1


def test_moments_of_other_weights_do_not_compare(make_data):
    here = make_data(scores={})
    (known,) = here.moments.values()
    longer = Moments(n=512, mean=(*known.mean, 0.0), variance=(*known.variance, 1.0))

    for other in ({"embedded/small#2": known}, {"embedded/small#1": longer}):
        assert similarity(here, dataclasses.replace(here, moments=other)) == pytest.approx(0.2)


def test_embedder_is_named_with_its_weights():
    spec = fake_backbone("fake/a")
    of = [dataclasses.replace(spec, weights_digest=lambda d=d: d) for d in ("a" * 64, "b" * 64)]

    assert embedder(of[0]) == "fake/a#aaaaaaaaaaaa"
    assert embedder(of[0]) != embedder(of[1])
    assert embedder(dataclasses.replace(spec, weights_digest=None)) == "fake/a"


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (40, 8, 8, 3), np.uint8)
    return build_task(X, ["topsecret-cat", "topsecret-dog"] * 20)


def test_describe_counts_what_may_be_trained_on(task):
    rows = task.split.train_validation
    features = np.random.default_rng(0).normal(size=(len(rows), 3))

    data = describe(task, {"embedded/x": features, "few": features[:4]}, {"a/b": 0.5}, 30)

    assert (data.n_train, data.n_classes) == (len(rows), 2)
    assert data.class_entropy == pytest.approx(np.log(2), abs=0.02)
    assert list(data.moments) == ["embedded/x"]
    assert data.moments["embedded/x"].mean == pytest.approx(features.mean(axis=0), rel=1e-4)
    assert data.moments["embedded/x"].variance == pytest.approx(features.var(axis=0), rel=1e-4)


def test_file_holds_nothing_of_the_samples(task, make_run, tmp_path):
    rows = task.split.train_validation
    features = np.random.default_rng(0).normal(size=(len(rows), 3))
    data = describe(task, {"embedded/x": features}, {"a/b": float("nan")}, 30)
    store = ExperienceStore(tmp_path / "experience.sqlite3")

    store.add([make_run({("a/b", "x"): 0.9}, data=data)])

    content = store.path.read_bytes()
    secrets = ["topsecret", str(tmp_path), *task.fingerprints]
    secrets += [f"{value:.3f}" for value in np.abs(features).ravel() if value > 0.1]
    moments = [v for m in data.moments.values() for v in (*m.mean, *m.variance)]
    secrets = [s for s in secrets if not any(s in repr(v) for v in moments)]
    assert len(secrets) > 100
    assert [s for s in secrets if s.encode() in content] == []
    assert task.samples[0].tobytes()[:16] not in content
    assert store.runs()[0].fingerprint == data
