import json

import numpy as np
import pandas as pd
import pytest

import autotl
from autotl.data import build_task
from autotl.errors import InvalidDataError, UnknownNameError
from autotl.ranking import Screening, Source, rank_backbones
from autotl.registry import get_registry
from autotl.testing.fakes import fake_backbone, fake_similarity, toy_images


@pytest.fixture(scope="module")
def ranking(request):
    images, y = toy_images(90)
    return autotl.rank(
        images, y, backbones=["embedded/glyphs", "embedded/shapes"], progress=False, cache=False
    )


def test_ranking_has_a_line_for_each_backbone(ranking):
    assert [b.rank for b in ranking] == [1, 2]
    assert {b.name for b in ranking} == {"embedded/glyphs", "embedded/shapes"}
    assert ranking[0].expected >= ranking[1].expected
    for line in ranking:
        assert {"ridge_loo", "knn_loo", "logme", "h_score"} <= line.scores.keys()
        assert line.similarity.keys() & {"batch_norm_kl", "frechet"}
        assert line.seconds_per_1000 > 0
        assert line.failed == {}
        assert "samples apart" in line.why


def test_ranking_is_json(ranking):
    content = json.loads(json.dumps(ranking.to_dict()))

    assert content["task"] == {"modality": "image", "n_samples": 72, "n_classes": 3}
    wanted = {"name", "rank", "expected", "spread", "scores", "similarity", "why"}
    assert wanted <= content["backbones"][0].keys()
    assert "seconds_per_1000" in content["backbones"][0]


def test_ranking_becomes_a_frame(ranking):
    frame = ranking.to_frame()

    assert frame["name"].tolist() == [b.name for b in ranking]
    assert frame["ridge_loo"].tolist() == [b.scores["ridge_loo"] for b in ranking]


def test_ranking_repeats():
    images, y = toy_images(60)
    first, second = (
        autotl.rank(images, y, backbones="embedded/glyphs", progress=False, cache=False)
        for _ in range(2)
    )

    assert first[0].expected == second[0].expected
    assert first[0].scores == second[0].scores


def test_texts_are_also_seen_through_all_layers():
    texts = [f"{'good' if i % 2 else 'bad'} film number {i} indeed" for i in range(60)]
    found = autotl.rank(
        texts,
        [i % 2 for i in range(60)],
        backbones="embedded/sentences",
        scores=["ridge_loo"],
        progress=False,
        cache=False,
    )

    assert found[0].scores.keys() == {"ridge_loo", "ridge_loo_layers"}


def test_given_source_is_compared_with():
    images, y = toy_images(90)
    task = build_task(images, y)
    measures = [fake_similarity()]

    def distance(source):
        screening = Screening(task=task, similarities=measures, source=source)
        ranking, _ = rank_backbones(screening, [fake_backbone()])
        return ranking[0].similarity["mean_distance"]

    bright, _ = toy_images(30, seed=1)
    dark = [image.point(lambda v: v // 8) for image in bright]

    assert distance(Source(samples=dark, y=None)) > distance(Source(samples=bright, y=None))


def test_given_source_moves_no_expectation():
    images, y = toy_images(60)
    usual, compared = (
        autotl.rank(images, y, source=source, backbones="embedded/natural-base", progress=False)
        for source in (None, toy_images(30, seed=5)[0])
    )

    assert compared[0].expected == usual[0].expected
    assert compared[0].similarity["frechet"] != usual[0].similarity["frechet"]


def test_labels_of_a_source_may_be_a_series():
    images, y = toy_images(40)
    shuffled = pd.Series(y[:20], index=range(100, 120))

    found = autotl.rank(
        images, y, source=(images[:20], shuffled), backbones="embedded/glyphs", progress=False
    )

    assert "otdd" in found[0].similarity


def test_uneven_classes_are_said_to_say_little():
    images, _ = toy_images(100, n_classes=2)
    uneven = np.r_[np.zeros(90, int), np.ones(10, int)]

    found = autotl.rank(images, uneven, backbones="embedded/glyphs", progress=False)

    assert any("90 %" in text and "balanced accuracy" in text for text in found.warnings)


def test_source_with_labels_reaches_the_measures_that_need_them():
    images, y = toy_images(60)
    found = autotl.rank(
        images,
        y,
        source=toy_images(40, seed=2),
        backbones="embedded/glyphs",
        progress=False,
        cache=False,
    )
    needs = {m.needs for m in get_registry().similarities if m.name in found[0].similarity}

    assert {"samples", "labels", "moments"} <= needs


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"samples": 3}, InvalidDataError, "samples is 3"),
        ({"samples": True}, InvalidDataError, "samples is True"),
        ({"scores": ["ridgeloo"]}, UnknownNameError, "ridge_loo"),
        ({"similarities": "nothing*"}, UnknownNameError, "nothing"),
        ({"source": ([], [])}, InvalidDataError, "0 usable samples"),
        ({"source": (toy_images(12)[0], [1, 2])}, InvalidDataError, "2 labels"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    images, y = toy_images(30)

    with pytest.raises(error, match=words):
        autotl.rank(
            images, y, backbones="embedded/glyphs", progress=False, cache=False, **arguments
        )


def test_labels_of_numpy_are_labels():
    images, y = toy_images(30)

    assert len(autotl.rank(images, np.array(y), backbones="embedded/glyphs", progress=False)) == 1
