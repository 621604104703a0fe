"""What planted runs let expect, and that nothing goes wrong where they say nothing."""

import math

import numpy as np
import pytest

from autotl.experience import TrialRecord, advise

PROBE, TUNED = "linear_probe", "lp_ft"
GOOD, FAIR, POOR = "timm/good", "timm/fair", "timm/poor"
PLANTED = {(GOOD, PROBE): 0.9, (FAIR, PROBE): 0.7, (POOR, PROBE): 0.5}


def odds(p):
    return math.log(p / (1 - p))


def test_no_runs_give_neutral_advice(make_data):
    advice = advise([], make_data())

    assert advice.gain(GOOD, PROBE) == (0.0, 0.0)
    assert advice.gain(GOOD) == (0.0, 0.0)
    assert advice.configurations(3) == []
    assert advice.seconds(GOOD, PROBE) is None
    assert list(advice.similar) == []


def test_same_data_searched_again_repeats_what_it_showed(make_run, make_data):
    advice = advise([make_run(PLANTED, data=make_data(seed=1))], make_data(seed=2))

    mean = np.mean([odds(p) for p in PLANTED.values()])
    for (backbone, method), p in PLANTED.items():
        gain = advice.gain(backbone, method)
        assert gain.mean == pytest.approx(odds(p) - mean, abs=1e-4)
        assert gain.weight > 5
        assert advice.gain(backbone) == pytest.approx(gain)
    assert advice.gain(GOOD, TUNED) == (0.0, 0.0)
    best = advice.configurations(1)[0]
    assert best[:3] == (GOOD, PROBE, {"lr": 0.9 / 100, "epochs": 5, "batch_norm": "frozen"})
    assert best.weight > 5


def test_data_that_is_not_alike_does_not_count(make_run, make_data):
    far = make_run(PLANTED, data=make_data(8.0))
    text = make_run(PLANTED, data=make_data(modality="text"))

    advice = advise([far, text], make_data())

    assert list(advice.similar) == []
    assert advice.gain(GOOD, PROBE) == (0.0, 0.0)
    assert advice.configurations() == []


def test_nearer_runs_outvote_farther_ones(make_run, make_data):
    reversed_ = {(GOOD, PROBE): 0.5, (FAIR, PROBE): 0.7, (POOR, PROBE): 0.9}
    near = make_run(PLANTED, data=make_data(0.1, seed=1))
    far = make_run(reversed_, data=make_data(1.5, seed=2))

    advice = advise([far, near], make_data())

    assert [s.run for s in advice.similar] == [near, far]
    assert advice.gain(GOOD, PROBE).mean > advice.gain(POOR, PROBE).mean
    assert advice.configurations(1)[0].backbone == GOOD


def test_levels_of_data_sets_cancel(make_run, make_data):
    # The easy set shows the poor one, the hard set the good one, both the fair one.
    easy = make_run({(POOR, PROBE): 0.9, (FAIR, PROBE): 0.95}, data=make_data(0.8, seed=1))
    hard = make_run({(FAIR, PROBE): 0.3, (GOOD, PROBE): 0.5}, data=make_data(-0.8, seed=2))

    advice = advise([easy, hard], make_data())

    order = [advice.gain(name, PROBE).mean for name in (POOR, FAIR, GOOD)]
    assert order[2] - order[1] == pytest.approx(odds(0.5) - odds(0.3), abs=1e-3)
    assert order[1] - order[0] == pytest.approx(odds(0.95) - odds(0.9), abs=1e-3)


def test_runs_on_the_same_data_share_one_vote(make_run, make_data):
    reversed_ = {(GOOD, PROBE): 0.5, (FAIR, PROBE): 0.7, (POOR, PROBE): 0.9}
    often = [
        make_run(reversed_, data=make_data(0.8, seed=seed), ended=1e9 + seed) for seed in range(9)
    ]
    once = make_run(PLANTED, data=make_data(-0.4, seed=20))

    advice = advise([*often, once], make_data())

    assert advice.gain(GOOD, PROBE).mean > advice.gain(POOR, PROBE).mean
    alone = advise(often[:1], make_data()).gain(GOOD, PROBE).weight
    together = advise(often, make_data()).gain(GOOD, PROBE).weight
    assert together == pytest.approx(alone, rel=0.1)
    assert advice.configurations(1)[0].backbone == GOOD


def test_run_of_one_trial_tells_no_gain(make_run, make_data):
    advice = advise([make_run({(GOOD, PROBE): 0.9})], make_data())

    assert advice.gain(GOOD, PROBE).weight == pytest.approx(0, abs=1e-6)
    assert advice.configurations(1)[0].backbone == GOOD


def test_what_did_not_beat_the_floor_is_not_proposed(make_run, make_data):
    advice = advise([make_run(PLANTED, floor=0.6)], make_data())
    assert [c.backbone for c in advice.configurations()] == [GOOD, FAIR]

    advice = advise([make_run(PLANTED, floor=0.95)], make_data())
    assert advice.configurations() == []
    assert advice.gain(GOOD, PROBE).mean > 0  # still the best of them


def test_pruned_trials_tell_but_are_not_proposed_and_failed_ones_do_neither(make_run, make_data):
    def trial(name, value, state="complete"):
        return TrialRecord(backbone=name, adaptation=PROBE, value=value, state=state)

    trials = (
        trial(GOOD, 0.9), trial(GOOD, 0.6), trial(FAIR, 0.7, "pruned"), trial(POOR, 0.99, "failed")
    )  # fmt: skip
    advice = advise([make_run({}, trials=trials)], make_data())

    assert advice.gain(GOOD, PROBE).mean > advice.gain(FAIR, PROBE).mean
    assert advice.gain(POOR, PROBE) == (0.0, 0.0)
    assert [c.backbone for c in advice.configurations()] == [GOOD]


def test_methods_of_a_backbone_are_told_apart_and_joined(make_run, make_data):
    values = {(GOOD, PROBE): 0.6, (GOOD, TUNED): 0.9, (FAIR, PROBE): 0.7, (FAIR, TUNED): 0.8}

    advice = advise([make_run(values)], make_data())

    assert advice.gain(FAIR, PROBE).mean > advice.gain(GOOD, PROBE).mean
    assert advice.gain(GOOD).mean > advice.gain(FAIR).mean
    assert [c[:2] for c in advice.configurations(2)] == [(GOOD, TUNED), (FAIR, TUNED)]


def test_metric_that_is_no_share_tells_an_order_only(make_run, make_data):
    data = make_data(metric="neg_log_loss")
    run = make_run({(GOOD, PROBE): -0.3, (POOR, PROBE): -2.0}, data=data, floor=-1.0)

    advice = advise([run], data)

    assert advice.gain(GOOD, PROBE) == (0.0, 0.0)
    assert [c.backbone for c in advice.configurations()] == [GOOD]


def test_times_are_of_the_same_device_and_of_any_data(make_run, make_data):
    runs = [
        make_run(PLANTED, data=make_data(8.0)),
        make_run(PLANTED, device="cuda", trials=(slow(),)),
    ]

    assert advise(runs, make_data(), "cpu").seconds(GOOD, PROBE) == pytest.approx(3 / 1500)
    assert advise(runs, make_data(), "cuda").seconds(GOOD, PROBE) == pytest.approx(100 / 10)
    assert advise(runs, make_data(), "mps").seconds(GOOD, PROBE) is None


def slow():
    return TrialRecord(backbone=GOOD, adaptation=PROBE, steps=1, seconds=100.0, n_samples=10)


def test_of_many_runs_the_most_similar_count(make_run, make_data):
    run = make_run({(f"timm/{i}", m): 0.5 + i / 100 for i in range(30) for m in (PROBE, TUNED)})

    advice = advise([run] * 80, make_data(seed=5))

    assert len(advice.similar) == 64
    assert advice.gain("timm/29", TUNED).mean > advice.gain("timm/0", TUNED).mean
