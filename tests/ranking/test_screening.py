import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data import build_task
from autotl.features import Stopped
from autotl.ranking import Screening, nested_order, rank_backbones
from autotl.specs import ScoreSpec
from autotl.testing.fakes import fake_backbone, fake_score, toy_images


def make_task(n=150, n_classes=3):
    images, y = toy_images(n, n_classes)
    return build_task(images, y)


@pytest.fixture(scope="module")
def task():
    return make_task()


@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(8, 40), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_every_leading_part_is_stratified(counts, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    images, _ = toy_images(len(y))
    task = build_task(images, y)

    order = nested_order(task, seed)

    assert sorted(order) == sorted(task.split.train_validation)
    rows = task.split.train_validation
    shares = np.bincount(task.y[rows]) / len(rows)
    for n in range(3 * len(counts), len(order), 5):
        part = np.bincount(task.y[order[:n]], minlength=len(counts))
        assert part.min() >= 2
        # Three of each class stand at the front; the rest keeps the shares.
        assert np.abs(part - n * shares).max() <= 3 + 3 * len(counts)


def test_order_leaves_the_holdout_alone(task):
    assert not set(nested_order(task, 0)) & set(task.split.holdout)


def test_rare_classes_come_first():
    y = np.r_[np.zeros(200, int), np.ones(15, int)]
    images, _ = toy_images(len(y))
    task = build_task(images, y)

    first = nested_order(task, 0)[:6]

    assert np.bincount(task.y[first]).tolist() == [3, 3]


def test_one_sample_of_each_group_is_looked_at():
    images, y = toy_images(40, n_classes=2)
    copies = [image for image in images for _ in range(4)]
    groups = np.repeat(np.arange(40), 4)
    task = build_task(copies, np.repeat(y, 4), groups=groups)

    order = nested_order(task, 0)

    assert len(set(task.groups[order])) == len(order)
    assert set(task.groups[order]) == set(task.groups[task.split.train_validation])


def test_half_of_those_that_were_seen_go_on(task):
    shelf = [dataclasses.replace(fake_backbone(), name=f"fake/{i:02}") for i in range(16)]
    seen = []

    def on_rung(found):
        seen.append(sorted(s.evidence.n_samples for s in found))

    Screening(task=task, rungs=(30, 60, 110), on_rung=on_rung).run(shelf)

    assert seen == [[30] * 16, [30] * 8 + [60] * 8, [30] * 8 + [60] * 4 + [110] * 4]


def test_those_left_behind_keep_what_was_expected_of_them(task, noise_backbone):
    shelf = [dataclasses.replace(fake_backbone(), name=f"fake/{i}") for i in range(8)]
    rungs = []

    def on_rung(found):
        rungs.append({s.name: s.expectation for s in found})

    found = Screening(task=task, rungs=(30, 110), on_rung=on_rung).run(shelf)

    for screened in found:
        if screened.evidence.n_samples == 30:
            assert screened.expectation == rungs[0][screened.name]


def test_signal_stands_above_noise(task, noise_backbone):
    screening = Screening(task=task)

    found = screening.run([noise_backbone, fake_backbone()])

    assert [s.name for s in found] == ["fake/tiny", "fake/noise"]
    assert found[0].expectation.expected > found[1].expectation.expected + 0.2


def test_hopeless_backbones_see_the_first_rung_only(task, noise_backbone):
    good = [dataclasses.replace(fake_backbone(), name=f"fake/{i}") for i in range(4)]
    bad = [dataclasses.replace(noise_backbone, name=f"noise/{i}") for i in range(4)]
    rungs = []

    def on_rung(found):
        rungs.append({s.name: s.evidence.n_samples for s in found})

    Screening(task=task, rungs=(30, 60, 110), on_rung=on_rung).run([*bad, *good])

    assert [max(seen.values()) for seen in rungs] == [30, 60, 110]
    assert {n for name, n in rungs[-1].items() if name.startswith("noise")} == {30}
    assert 110 in {n for name, n in rungs[-1].items() if name.startswith("fake")}


def test_first_rung_holds_three_of_each_class():
    task = make_task(120, n_classes=3)

    screening = Screening(task=task, rungs=(4,))

    assert len(screening.rows(4)) == 9


def test_no_time_is_a_reason_not_a_crash(task):
    screening = Screening(task=task, may_begin=lambda: False)

    assert screening.run([fake_backbone()]) == []
    assert screening.failed == [("fake/tiny", "no time left to screen it")]


def test_what_earlier_rungs_showed_stands_when_time_ends(task):
    rungs = []

    def check():
        if rungs:
            raise Stopped

    screening = Screening(task=task, rungs=(30, 110), check=check, on_rung=rungs.append)
    (found,) = screening.run([fake_backbone()])

    assert found.evidence.n_samples == 30
    assert screening.failed == []


def test_interrupt_keeps_what_is_known(task, noise_backbone):
    def on_backbone(name, done, total):
        if done == 1:
            raise KeyboardInterrupt

    screening = Screening(task=task, on_backbone=on_backbone)
    found = screening.run([fake_backbone(), noise_backbone])

    assert screening.interrupted
    assert len(found) == 1


def test_backbone_that_fails_is_left_out_with_its_reason(task):
    def load(device):
        raise OSError("half a file")

    broken = dataclasses.replace(fake_backbone("fake/broken"), load=load)
    screening = Screening(task=task)

    assert [s.name for s in screening.run([broken, fake_backbone()])] == ["fake/tiny"]
    assert screening.failed == [("fake/broken", "OSError: half a file")]


def test_score_that_fails_leaves_its_reason(task):
    def fail(given):
        raise ValueError("no such class")

    scores = [
        fake_score(),
        ScoreSpec(name="broken", compute=fail),
        ScoreSpec(name="odd", compute=lambda given: float("nan")),
    ]
    (found,) = Screening(task=task, scores=scores).run([fake_backbone()])

    assert "between_share" in found.evidence.scores
    assert not {"broken", "odd"} & found.evidence.scores.keys()
    assert found.evidence.failed == {
        "broken": "ValueError: no such class",
        "odd": "its value is nan",
    }


def test_pass_that_fails_costs_its_scores_only(task):
    spec = fake_backbone()

    def load(device):
        def fail(batch):
            raise RuntimeError("the head is gone")

        return dataclasses.replace(spec.load(device), source_probs=fail)

    needy = ScoreSpec(name="needy", compute=lambda g: 1.0, needs=frozenset({"source_probs"}))
    screening = Screening(task=task, scores=[fake_score(), needy])
    (found,) = screening.run([dataclasses.replace(spec, load=load)])

    assert screening.failed == []
    assert "needy" not in found.evidence.scores
    assert found.evidence.failed["source_probs"] == "RuntimeError: the head is gone"


@pytest.mark.parametrize("chosen", [[], ["between_share"]])
def test_expectations_rest_on_the_same_scores_whatever_is_shown(task, chosen):
    scores = [fake_score()] if chosen else None

    (usual,) = Screening(task=task, rungs=(60,)).run([fake_backbone()])
    screening = Screening(task=task, rungs=(60,), scores=scores)
    (found,) = screening.run([fake_backbone()])

    assert found.expectation == usual.expectation
    assert screening.shows("ridge_loo") == (not chosen)


def test_interrupt_during_a_look_loses_no_name(task):
    seen = []

    def check():
        seen.append(1)
        if len(seen) > 1:
            raise KeyboardInterrupt

    screening = Screening(task=task, check=check)
    shelf = [dataclasses.replace(fake_backbone(), name=f"fake/{i}") for i in range(3)]
    ranking, _ = rank_backbones(screening, shelf)

    names = [line.name for line in ranking] + [name for name, _ in ranking.skipped]
    assert sorted(names) == ["fake/0", "fake/1", "fake/2"]
    assert ranking.interrupted


def test_source_probabilities_reach_scores_that_need_them(task):
    seen = []

    def count(given):
        seen.append(given.source_probs.shape)
        return 0.0

    score = ScoreSpec(name="needy", compute=count, needs=frozenset({"source_probs"}))
    Screening(task=task, scores=[score], rungs=(30, 60)).run([fake_backbone()])

    assert seen == [(30, 5), (30, 5)]  # of the first rung alone: they cost a pass of their own
