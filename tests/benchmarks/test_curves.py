import argparse
import json
from types import SimpleNamespace

import pytest
from curves import Costs, Lines, Pair, key, stages
from design import ROUNDS
from ground_truth import TUNED_SETS
from oracle import FROZEN, read_rows
from sets import FAMILIES

SPEC = SimpleNamespace(name="embedded/glyphs", modality="image")
ARGS = argparse.Namespace(seed=0, sets=None, rounds=list(ROUNDS))
FROZEN_RECORD = {
    "set": "dtd10", "backbone": "embedded/glyphs", "method": FROZEN, "params": "{}", "seed": 0,
    "n_groups": 10, "kept": [5, 9, 10], "n_train": 700, "n_validation": 200, "n_test": 100,
    "embed_seconds": 0.01, "extract": [[5, 0.005], [9, 0.009], [10, 0.01]],
    "profile": [[0, 5, 9, 10], [0.0, 0.005, 0.009, 0.01], [0.02, 0.01, 0.002, 0.0]],
}  # fmt: skip


def record(fit):
    method, params = fit
    shown = json.dumps(params, sort_keys=True)
    return {"set": "dtd10", "backbone": SPEC.name, "method": method.name, "params": shown,
            "seed": 0}  # fmt: skip


def pair(out, round_="coarse"):
    return Pair("dtd10", SPEC, round_, ARGS, out)


def test_sets_with_tuned_truth_come_first_in_all_rounds():
    found = list(stages(ARGS))

    assert [round_ for round_, _ in found] == [*ROUNDS, *ROUNDS]
    assert all(tuple(names) == TUNED_SETS for _, names in found[: len(ROUNDS)])
    assert {*found[0][1], *found[-1][1]} == set(FAMILIES)
    assert not {*found[0][1]} & {*found[-1][1]}


@pytest.mark.parametrize("round_", ROUNDS)
def test_the_work_goes_on_after_a_cut_line_and_loses_that_line_only(tmp_path, round_):
    out = Lines(tmp_path, 1)
    todo = pair(out, round_).todo(10)
    out.add(FROZEN_RECORD, *(record(fit) for fit in todo))
    assert pair(out, round_).finished()
    file = tmp_path / "curves-1.jsonl"
    file.write_text(file.read_text()[:-20])  # killed in the middle of the last line

    again = Lines(tmp_path, 1)
    left = pair(again, round_).todo(10)
    assert left == todo[-1:]
    again.add(record(left[0]))

    assert pair(Lines(tmp_path, 2), round_).finished()  # the other part sees it too
    assert [key(row) for row in read_rows(tmp_path)] == [key(record(fit)) for fit in todo]


def test_nothing_is_finished_before_a_first_look(tmp_path):
    assert not pair(Lines(tmp_path, 1)).finished()


def test_a_deeper_cut_costs_less_and_what_is_done_corrects_the_guess(tmp_path):
    costs = Costs([FROZEN_RECORD])
    fits = pair(Lines(tmp_path, 1)).todo(10)
    middle, tail = (
        next(fit for fit in fits if fit[1]["freeze_fraction"] == fraction
             and fit[1]["epochs"] == 15)
        for fraction in (0.5, 0.9)
    )  # fmt: skip
    assert costs.todo(FROZEN_RECORD, [tail]) < costs.todo(FROZEN_RECORD, [middle])

    # 700 training samples forward and backward from cut 5, and 200 to validate.
    epoch = 700 * (0.005 + 0.01) + 200 * 0.005
    slow = {**record(middle), "round": "coarse", "freeze_depth": 5, "planned_steps": 15,
            "seconds": [2 * epoch] * 15}  # fmt: skip
    corrected = Costs([FROZEN_RECORD, slow])
    steps = 15 * (epoch + 100 * 0.005)
    before = costs.todo(FROZEN_RECORD, [middle])
    assert corrected.todo(FROZEN_RECORD, [middle]) - before == pytest.approx(steps)
