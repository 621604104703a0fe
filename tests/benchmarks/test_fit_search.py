import json

import numpy as np
import pytest
from fit_search import fit_methods, fit_portfolio, good_pairs
from oracle import pack

SETS = {"one": "things", "two": "things", "three": "letters", "four": "faces"}
BACKBONES = ("a", "b", "c", "d")
N_GROUPS = 10


def row(name, backbone, method, params, accuracy, *, n_test=400):
    return {
        "set": name, "family": SETS[name], "modality": "image", "n_classes": 4, "n_train": 100,
        "n_validation": 50, "n_test": n_test, "n_guard": 0, "backbone": backbone,
        "input_side": 32, "method": method, "params": json.dumps(params, sort_keys=True),
        "seed": 0, "round": "coarse", "n_groups": N_GROUPS, "start": 0,
        "freeze_depth": round(params.get("freeze_fraction", 1.0) * N_GROUPS),
        "planned_steps": params.get("epochs", 1), "state": "complete", "choice": None,
        "validation": [accuracy], "log_loss": [1.0], "test": [accuracy], "guard": [],
        "seconds": [1.0], "embed_seconds": 0.0, "extract_seconds": 0.0, "augment_seconds": 0.0,
        "best_step": 1, "test_best": pack(np.ones(n_test, bool)),
    }  # fmt: skip


def tuned(lr, epochs=5):
    return {"freeze_fraction": 0.5, "lr": lr, "epochs": epochs, "augment": 0.0}


def table(reached, method="lp_ft"):
    """Rows of all sets; `reached(set, backbone, lr)` is an accuracy."""
    rows = []
    for name in SETS:
        for i, backbone in enumerate(BACKBONES):
            rows.append(row(name, backbone, "linear_probe", {"solver": "ridge"}, 0.5 + 0.05 * i))
            rows += [
                row(name, backbone, method, tuned(lr), reached(name, backbone, lr))
                for lr in (1e-4, 1e-3, 1e-2)
            ]
    return rows


def test_what_is_best_everywhere_comes_first_and_alone():
    found = fit_portfolio(table(lambda name, backbone, lr: 0.8 if lr == 1e-3 else 0.7))

    assert [(method, params["lr"]) for method, params in found] == [("lp_ft", 1e-3)]


def test_what_helps_where_the_first_does_not_comes_second():
    def reached(name, backbone, lr):
        best = 1e-2 if name == "four" else 1e-3
        return 0.8 if lr == best else 0.6 + lr

    found = fit_portfolio(table(reached))

    assert [params["lr"] for _, params in found] == [1e-3, 1e-2]


def test_an_entry_is_what_was_measured():
    rows = table(lambda name, backbone, lr: lr)
    [(method, params), *_] = fit_portfolio(rows)

    assert (method, json.dumps(params)) in {(r["method"], r["params"]) for r in rows}


def test_poor_backbones_of_a_set_have_no_say():
    rows = table(lambda name, backbone, lr: 0.7 + (lr == 1e-3) * (backbone in "cd") - lr)

    assert {b for _, b in good_pairs(rows)} == {"c", "d"}
    assert fit_portfolio(rows)[0][1]["lr"] == 1e-3


def test_families_count_alike():
    def reached(name, backbone, lr):  # two sets of one family against two families of one
        return 0.8 if lr == (1e-4 if SETS[name] == "things" else 1e-2) else 0.5

    assert fit_portfolio(table(reached))[0][1]["lr"] == 1e-2


def test_what_a_method_adds_is_found_again():
    def reached(name, backbone, lr):
        odds = np.log(
            (0.5 + 0.05 * BACKBONES.index(backbone)) / (0.5 - 0.05 * BACKBONES.index(backbone))
        )
        return float(1 / (1 + np.exp(-(odds + 0.5 + 0.3 * (backbone == "d")))))

    rows = table(reached)
    found = fit_methods(rows, [("lp_ft", tuned(1e-3))])["lp_ft"]

    assert found["backbones"]["d@32"] - found["backbones"]["a@32"] == pytest.approx(0.3, abs=0.1)
    constant, by_odds, by_samples = found["gain"]
    assert constant + by_odds * 0.3 + by_samples * np.log(25) == pytest.approx(0.58, abs=0.1)
    assert 0.1 < found["spread"] < 0.3  # all sets agree, but they are few


def test_how_far_parameters_matter_is_how_far_others_exceed_the_first():
    flat = table(lambda name, backbone, lr: 0.7)
    steep = table(lambda name, backbone, lr: 0.6 if lr == 1e-3 else 0.8)
    poor, good = [("lp_ft", tuned(1e-3))], [("lp_ft", tuned(1e-2))]

    assert fit_methods(flat, poor)["lp_ft"]["params_spread"] == pytest.approx(0.0)
    assert fit_methods(steep, poor)["lp_ft"]["params_spread"] > 0.5
    assert fit_methods(steep, good)["lp_ft"]["params_spread"] == pytest.approx(0.0, abs=0.2)


def test_a_table_without_tuned_curves_gives_nothing():
    rows = [r for r in table(lambda name, backbone, lr: 0.7) if r["method"] == "linear_probe"]

    assert fit_portfolio(rows) == []
    assert fit_methods(rows, []) == {}
