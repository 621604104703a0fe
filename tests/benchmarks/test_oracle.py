import json

import numpy as np
import oracle as oracle_module
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FLOOR, FROZEN, SCHEMA, Curve, Oracle, lines, pack, unpack, write_rows

N_GROUPS = 10


def row(params, validation, *, method="lp_ft", backbone="a/one", name="set1", **changes):
    """A row with as many steps as there are validation values; test is 0.1 below them."""
    n = len(validation)
    correct = np.random.default_rng(n).random(30) < 0.5
    made = {
        "set": name, "family": "objects", "modality": "image",
        "n_classes": 3, "n_train": 60, "n_validation": 30, "n_test": 30, "n_guard": 0,
        "backbone": backbone, "input_side": 32, "source_domain": None, "n_params": 1000,
        "method": method, "params": json.dumps(params, sort_keys=True), "seed": 0,
        "round": "coarse", "n_groups": N_GROUPS, "start": 0,
        "freeze_depth": int(params.get("freeze_fraction", 1.0) * N_GROUPS + 0.5),
        "planned_steps": n, "state": "complete", "reason": "", "choice": None,
        "validation": validation, "log_loss": [1.0] * n,
        "test": [v - 0.1 for v in validation], "guard": [],
        "seconds": [0.5] * n, "wall_seconds": [0.6] * n,
        "embed_seconds": 0.001, "extract_seconds": 0.002, "augment_seconds": 0.0,
        "best_step": int(np.argmax(validation)) + 1 if validation else 0,
        "validation_best": pack(correct), "validation_last": pack(~correct),
        "test_best": pack(correct), "test_last": pack(correct),
    }  # fmt: skip
    return {**made, **changes}


def tuned(fraction=0.5, lr=1e-3, epochs=5, augment=0.0):
    return {"freeze_fraction": fraction, "lr": lr, "epochs": epochs, "augment": augment}


@given(st.lists(st.booleans(), max_size=40))
@settings(deadline=None)
def test_bits_come_back(values):
    correct = np.array(values, bool)
    assert (unpack(pack(correct), len(values)) == correct).all()


def test_a_line_that_was_cut_costs_that_line_only(tmp_path):
    whole = [row(tuned(lr=lr), [0.5]) for lr in (1e-4, 1e-3)]
    text = [f"\n{json.dumps(r)}\n" for r in whole]
    cut = text[0][: len(text[0]) // 2]  # killed while writing; then started again
    (tmp_path / "curves-1.jsonl").write_text(text[0] + cut + text[1], encoding="utf-8")

    assert list(lines(tmp_path)) == whole


def test_parquet_holds_what_the_lines_hold(tmp_path):
    rows = [
        row(tuned(), [0.4, 0.6, 0.5]),
        row({}, [0.3], method=FLOOR, backbone="pixels + majority", choice=0.31),
    ]
    for r in rows:
        with (tmp_path / "curves-1.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(r) + "\n")
        with (tmp_path / "curves-1.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({**r, "method": FROZEN}) + "\n")
    write_rows(oracle_module.read_rows(tmp_path), tmp_path / "curves.parquet")

    from_lines, from_table = Oracle.load(tmp_path), Oracle.load(tmp_path / "curves.parquet")

    first, second = (o.curve("set1", "a/one", "lp_ft", tuned()) for o in (from_lines, from_table))
    assert set(second.row) == set(SCHEMA)
    np.testing.assert_allclose(first.validation, second.validation, atol=1e-6)
    for part, at in (("validation", "best"), ("validation", "last"), ("test", "best")):
        assert (first.correct(part, at) == second.correct(part, at)).all()
    assert not second.correct("guard").size
    assert from_table.floor("set1").row["choice"] == pytest.approx(0.31)
    assert from_table.sets() == ["set1"]
    assert from_table.backbones("set1") == ["a/one"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (tuned(lr=2e-4), tuned(lr=3e-4)),  # logarithmic: 1e-4 is further
        (tuned(fraction=0.52), tuned(lr=1e-3)),  # rounds to the same depth
        (tuned(fraction=0.85), tuned(fraction=0.9)),
        (tuned(epochs=30), tuned(epochs=15)),
        ({"lr": 3e-4}, tuned(lr=3e-4)),  # what is not given decides nothing
    ],
)
def test_nearest_configuration(asked, expected):
    table = [
        tuned(lr=1e-4), tuned(lr=3e-4), tuned(lr=1e-3),
        tuned(fraction=0.9), tuned(epochs=15),
    ]  # fmt: skip
    found = Oracle([row(params, [0.5] * params["epochs"]) for params in table]).curve(
        "set1", "a/one", "lp_ft", asked
    )
    assert found.params == expected


def test_what_is_tabulated_is_found_at_distance_zero():
    table = [tuned(f, lr, n, a) for f in (0.5, 0.9) for lr in (1e-4, 3e-3)
             for n in (5, 15) for a in (0.0, 0.3)]  # fmt: skip
    oracle = Oracle([row(params, [0.5] * params["epochs"]) for params in table])
    for params in table:
        found = oracle.curve("set1", "a/one", "lp_ft", params)
        assert (found.params, found.distance) == (params, 0.0)


def test_unknown_pairs_are_named():
    with pytest.raises(KeyError, match="a/two"):
        Oracle([row(tuned(), [0.5])]).curve("set1", "a/two", "lp_ft", tuned())


def test_the_engine_s_rule_chooses_the_step():
    curve = Curve.of(row(tuned(), [0.4, 0.6, 0.6, 0.5], log_loss=[1.0, 0.9, 0.8, 0.7]))

    assert [curve.best_step(n) for n in range(5)] == [0, 1, 2, 3, 3]
    assert curve.test_after(1) == pytest.approx(0.3)
    assert curve.test_after() == pytest.approx(0.5)
    assert np.isnan(curve.test_after(0))


@given(st.integers(1, 15), st.integers(1, 40), st.integers(0, 1000))
@settings(deadline=None)
def test_stretching_keeps_range_end_and_cost_of_a_step(n_tabulated, n_steps, seed):
    values = np.random.default_rng(seed).random(n_tabulated).tolist()
    curve = Curve.of(row(tuned(epochs=len(values)), values))
    stretched = curve.stretched(n_steps)

    assert len(stretched) == n_steps
    assert stretched.validation[-1] == pytest.approx(values[-1])
    assert min(values) - 1e-9 <= stretched.validation.min()
    assert stretched.validation.max() <= max(values) + 1e-9
    assert stretched.seconds.sum() == pytest.approx(0.5 * n_steps)


def test_a_failed_curve_fails_at_the_same_share_of_another_plan():
    failed = Curve.of(row(tuned(epochs=10), [0.5] * 4, planned_steps=10, state="failed"))
    assert failed.failed
    assert len(failed.stretched(20)) == 8


def test_nothing_of_a_set_is_above_its_best():
    rows = [
        row(tuned(lr=1e-4), [0.5, 0.7], test=[0.65, 0.6]),  # a trial may be ended after one step
        row(tuned(lr=1e-3), [0.6, 0.4], test=[0.62, 0.1]),
        row(tuned(lr=3e-3), [], state="failed", test=[], best_step=0),
        row({}, [0.4], method=FLOOR, backbone="majority", choice=0.4, test=[0.5]),
    ]
    assert Oracle(rows).best("set1") == pytest.approx(0.65)
    floor = row({}, [0.4], method=FLOOR, backbone="hog", choice=0.5, test=[0.7])
    assert Oracle([*rows, floor]).best("set1") == pytest.approx(0.7)
    assert Oracle([*rows, floor]).floor("set1").row["backbone"] == "hog"
    assert Oracle([*rows, floor]).floor_seconds("set1") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("augment", "start", "expected"),
    [
        (0.0, 0, 0.0),  # samples are read in the first step
        (0.0, 5, 60 * 0.002 + 30 * 0.002),
        (0.3, 5, 4 * 60 * (0.002 + 0.001) + 30 * 0.002),
        (0.0, N_GROUPS, 0.0),  # embeddings
        (0.3, N_GROUPS, 4 * 60 * (0.002 + 0.001)),  # of views, which no other method needs
    ],
)
def test_what_is_paid_once(augment, start, expected):
    made = row(tuned(augment=augment), [0.5], start=start, augment_seconds=0.001)
    assert Curve.of(made).extraction_seconds == pytest.approx(expected)
    assert Curve.of(made).embedding_seconds == pytest.approx(90 * 0.001)
