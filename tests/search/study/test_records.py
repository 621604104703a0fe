import dataclasses
import json
import math

import numpy as np
import pytest

from autotl.errors import ModelFormatError
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.records import TrialRecords
from autotl.specs import SavedState


def state(value):
    return SavedState(tensors={"w": np.full(3, value, np.float32)}, config={"at": value})


def filled(trial=7, **changes):
    """Return an outcome none of whose fields has its default value."""
    candidate = Candidate(
        backbone="a/b",
        adaptation="lp_ft",
        params={"lr": 1e-4, "epochs": 5, "augment": 0.0, "batch_norm": "frozen", "x": None},
    )
    values = {
        "trial": trial, "candidate": candidate, "state": "paused", "reason": "others were better",
        "why": "0.9 expected é \"best\"\n", "value": 0.1 + 0.2, "log_loss": 1 / 3, "steps": 3,
        "planned_steps": 9, "tuned": True, "freeze_depth": 2, "freeze_fraction": 0.45,
        "seconds": 1.25, "embed_seconds": 0.5, "proba": np.random.default_rng(0).random((5, 3)),
        "saved": state(1.0), "finished_at": 12.5, "history": [0.1, 1 / 7, 0.1 + 0.2],
        "costs": [1.0, 2.0, math.pi], "gap": -0.05,
        "log_e": 2.5, "traceback": "Traceback", "discordance": 0.3, "doubted": True,
        "audited": True, "unselected": False, "predictor_kept": False,
        "guesses": {"information": 1 / 3},
    }  # fmt: skip
    return Outcome(**{**values, **changes})


@pytest.fixture
def records(tmp_path):
    return TrialRecords(tmp_path / "trials")


def reread(records):
    return TrialRecords(records.folder)


def test_every_field_comes_back_exactly(records):
    written = filled()
    blank = Outcome(trial=0, candidate=written.candidate, state="running")
    names = {f.name for f in dataclasses.fields(Outcome)} - {"candidate", "predictor_kept"}
    for name in names:  # a new field must be put into `filled`
        assert repr(getattr(written, name)) != repr(getattr(blank, name)), name
    records.write(written)

    found = reread(records).read(7)

    for f in dataclasses.fields(Outcome):
        if f.name == "saved":
            continue
        before, after = getattr(written, f.name), getattr(found, f.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before)
            assert after.dtype == before.dtype
        else:
            assert after == before, f.name
    assert found.candidate.key() == written.candidate.key()
    np.testing.assert_array_equal(reread(records).predictor(found).tensors["w"], [1, 1, 1])


def test_what_was_not_measured_comes_back_as_that(records):
    written = filled(
        value=None, log_loss=math.inf, proba=None, saved=None, gap=None,
        log_e=None, history=[], costs=[],
    )  # fmt: skip
    records.write(written)

    found = reread(records).read(7)

    assert found.log_loss == math.inf
    assert (found.value, found.proba, found.gap, found.log_e) == (None,) * 4
    assert found.history == []
    assert reread(records).predictor(found) is None


def test_numbers_of_trials_leave_predictors_and_states_out(records):
    for number in (12, 3):
        records.write(filled(number))
        records.pause(number, [state(0.0), state(1.0)])

    assert reread(records).trials() == [3, 12]


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "[]", "{}", '{"candidate": 1}', '{"candidate": {"backbone": "a"}}',
     '{"candidate": {"backbone": "a", "adaptation": "m", "params": {}}}', "\x00\xff"],
)  # fmt: skip
def test_a_damaged_record_says_so(records, content):
    records.write(filled())
    (records.folder / "00007.json").write_text(content, encoding="latin-1")

    with pytest.raises(ModelFormatError):
        reread(records).read(7)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_missing_or_cut_file_says_so(records, suffix):
    path = records.folder / f"00007{suffix}"
    records.write(filled())
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(ModelFormatError):
        records.read(7)

    path.unlink()
    with pytest.raises(ModelFormatError):
        records.read(7)


def test_fields_of_a_later_version_are_passed_over(records):
    records.write(filled())
    path = records.folder / "00007.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unheard_of": 1}))

    assert records.read(7).value == 0.1 + 0.2


def test_a_predictor_is_dropped_and_the_rest_stays(records):
    written = filled()
    records.write(written)
    records.drop_predictor(written)
    records.write(written)

    found = reread(records).read(7)
    assert not found.predictor_kept
    assert records.predictor(found) is None
    assert {p.name for p in records.folder.iterdir()} == {"00007.json", "00007.safetensors"}


def test_states_of_a_pause_come_back_fold_by_fold_and_are_dropped(records):
    records.write(filled())
    records.pause(7, [state(float(k)) for k in range(5)])

    assert [s.config["at"] for s in reread(records).paused(7, 5)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ModelFormatError):
        records.paused(7, 6)

    records.drop_states(7)
    with pytest.raises(ModelFormatError):
        records.paused(7, 5)
    assert not list(records.folder.glob("*fold*"))
    assert records.read(7).state == "paused"


def test_without_a_folder_records_last_as_long_as_they_are_used():
    records = TrialRecords(None)
    folder = records.folder
    records.write(filled())
    assert records.trials() == [7]

    del records
    assert not folder.exists()
