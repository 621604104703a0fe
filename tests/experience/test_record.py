"""Records say the same after a round trip, and refuse what is none."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotl.errors import InvalidDataError, ModelFormatError
from autotl.experience import DataFingerprint, Moments, RunRecord, TrialRecord

names = st.text(st.characters(exclude_characters=":"), max_size=30)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 10**12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**50), 2**50), finite, names)
curves = st.lists(st.integers(0, 1000), unique=True, max_size=4).flatmap(
    lambda steps: st.tuples(*(st.tuples(st.just(s), finite, finite) for s in sorted(steps)))
)
trials = st.builds(
    TrialRecord,
    backbone=names,
    adaptation=names,
    params=st.dictionaries(names, scalars, max_size=4),
    state=st.sampled_from(["complete", "pruned", "failed"]),
    value=st.none() | finite,
    curve=curves,
    steps=counts,
    seconds=finite,
    n_samples=counts,
)
moments = st.integers(1, 2).flatmap(
    lambda size: st.builds(
        Moments,
        n=st.integers(1, 512),
        mean=st.tuples(*[finite] * size),
        variance=st.tuples(*[st.floats(0, 1e300)] * size),
    )
)
fingerprints = st.builds(
    DataFingerprint,
    modality=names,
    metric=names,
    n_train=counts,
    n_classes=counts,
    class_entropy=finite,
    moments=st.dictionaries(names, moments, max_size=2),
    scores=st.dictionaries(names, finite, max_size=3),
    n_scored=counts,
)
records = st.builds(
    RunRecord,
    finished_at=st.floats(0, 2e11),
    version=names,
    device=names,
    fingerprint=fingerprints,
    trials=st.lists(trials, max_size=2).map(tuple),
    floor=st.none() | finite,
    gap=st.none() | finite,
    verdict=names,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_record_survives_json(record):
    again = RunRecord.from_json(record.to_json())

    assert again == record
    assert again.id == record.id


@settings(max_examples=40)
@given(scalars | st.dictionaries(names, scalars) | st.lists(scalars))
def test_json_that_is_no_record_is_refused(content):
    with pytest.raises(ModelFormatError, match="damaged"):
        RunRecord.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trials", None),
        ("trials", [{"backbone": "a/b"}]),
        ("trials", [{"backbone": "a/b", "adaptation": "x", "params": {"lr": [1]}}]),
        ("trials", [{"backbone": "a/b", "adaptation": "x", "curve": [[1, 2]]}]),
        ("trials", [{"backbone": "a/b", "adaptation": "x", "curve": [[2, 1, 1], [1, 1, 1]]}]),
        ("trials", [{"backbone": "a/b", "adaptation": "x", "steps": -1}]),
        ("finished_at", 1e300),
        ("finished_at", "today"),
        ("version", "x" * 1000),
        ("floor", "high"),
        ("surprise", 1),
    ],
)
def test_record_with_a_wrong_field_is_refused(make_run, field, value):
    content = json.loads(make_run({("a/b", "probe"): 0.5}).to_json())

    with pytest.raises(ModelFormatError, match="damaged"):
        RunRecord.from_json(json.dumps({**content, field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_train", -1),
        ("n_train", 1.5),
        ("n_classes", True),
        ("class_entropy", float("nan")),
        ("scores", {"a/b": "good"}),
        ("moments", {"e": {"n": 3, "mean": [0, 1], "variance": [1]}}),
        ("moments", {"e": {"n": 3, "mean": [0], "variance": [-1]}}),
        ("moments", {"e": {"n": 3, "mean": [None], "variance": [1]}}),
        ("moments", {"e": {"n": 0, "mean": [0], "variance": [1]}}),
        ("moments", {"e": {"n": 3, "mean": [0] * 5000, "variance": [1] * 5000}}),
    ],
)
def test_fingerprint_with_a_wrong_field_is_refused(make_run, field, value):
    content = json.loads(make_run({("a/b", "probe"): 0.5}).to_json())
    content["fingerprint"][field] = value

    with pytest.raises(ModelFormatError, match="damaged"):
        RunRecord.from_json(json.dumps(content))


def test_trial_takes_numpy_values_and_drops_what_was_not_measured():
    trial = TrialRecord(
        backbone="a/b",
        adaptation="lp_ft",
        params={"lr": np.float32(0.5), "epochs": np.int64(3)},
        value=float("nan"),
        curve=[(1, np.float64(0.5), 1.0), (2, float("nan"), 2.0), (np.int64(3), 0.6, 3.0)],
        steps=np.int64(3),
        seconds=np.float32(3),
    )

    assert trial.value is None
    assert trial.curve == ((1, 0.5, 1.0), (3, 0.6, 3.0))
    assert json.loads(json.dumps(trial.params)) == {"lr": 0.5, "epochs": 3}


def test_long_curve_keeps_its_ends():
    curve = [(step, step / 1000, float(step)) for step in range(1, 1001)]

    kept = TrialRecord(backbone="a/b", adaptation="x", curve=curve).curve

    assert len(kept) == 32
    assert (kept[0], kept[-1]) == (curve[0], curve[-1])


def test_folders_of_this_machine_are_left_out(make_run, make_data):
    secret = "text:/home/somebody/clients/encoder"
    data = make_data(scores={secret: 0.5, "timm/a": 0.6})

    record = make_run({(secret, "linear_probe"): 0.9, ("timm/a", "linear_probe"): 0.8}, data=data)

    assert "somebody" not in record.to_json()
    assert [t.backbone for t in record.trials] == ["timm/a"]


def test_of_many_trials_the_best_are_kept(make_run):
    record = make_run({(f"timm/{i}", "linear_probe"): i / 1000 for i in range(700)})

    assert [t.backbone for t in record.trials] == [f"timm/{i}" for i in range(200, 700)]


def test_best_trial_is_complete_and_the_cheapest_of_equals(make_run):
    def trial(name, value, seconds, state="complete"):
        return TrialRecord(
            backbone=name, adaptation="x", value=value, seconds=seconds, state=state
        )

    trials = (
        trial("a", 0.9, 9.0), trial("b", 0.9, 2.0), trial("c", 0.95, 1.0, "pruned"),
        trial("d", None, 1.0),
    )  # fmt: skip

    assert make_run({}, trials=trials).best.backbone == "b"
    assert make_run({}, trials=trials[3:]).best is None


def test_time_of_a_step_leaves_the_first_one_out():
    slow_start = [(1, 0.5, 10.0), (2, 0.6, 12.0), (3, 0.7, 14.0)]

    def seconds(**fields):
        return TrialRecord(backbone="a", adaptation="x", **fields).seconds_per_step

    assert seconds(curve=slow_start, steps=3, seconds=14.0) == 2.0
    assert seconds(curve=slow_start[:1], steps=1, seconds=10.0) == 10.0
    assert seconds() is None


def test_error_names_the_value():
    with pytest.raises(InvalidDataError, match="steps of a trial is 'many'; expected a whole"):
        TrialRecord(backbone="a", adaptation="x", steps="many")
