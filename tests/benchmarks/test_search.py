"""Searches in simulated time, on a small table that is made up."""

import itertools
import json
from types import SimpleNamespace
from zlib import crc32

import knowledge
import numpy as np
import pytest
import rivals
import search
import simulate
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import as_high, judge, mean_curve, plot, reaching, regret, set_table, table
from knowledge import Known, Sources, left_out
from oracle import FLOOR, Oracle, lines
from rivals import AUTOTL, BASELINE, SEARCHERS
from world import NO_FLOOR, Clock, World, playable, score_at

from autotl.ranking import Prior
from autotl.search.budget import OutOfTime
from autotl.search.study.candidate import Candidate, Outcome

FAMILIES = {"set1": "objects", "set2": "textures", "set3": "hands"}
BACKBONES = ("a/one", "b/two", "c/three")
TUNED = ("lp_ft", "fine_tune")
FULL = {
    "freeze_fraction": 0.5, "lr": 1e-3, "weight_decay": 1e-3, "epochs": 5, "augment": 0.0,
    "label_smoothing": 0.0, "batch_norm": "frozen",
}  # fmt: skip
N_GROUPS = 10
QUICK = ["--seconds", "40", "--sets", "set1"]


def row(name, backbone, method, params, values, **changes):
    """A row whose test accuracies are those of validation, less a little of the row's own."""
    rng = np.random.default_rng(crc32(str((name, backbone, method, params)).encode()))
    luck = 0.02 * rng.random()
    made = {
        "set": name, "family": FAMILIES[name], "modality": "image", "n_classes": 4,
        "n_train": 60, "n_validation": 40, "n_test": 200, "n_guard": 0, "backbone": backbone,
        "input_side": 32, "source_domain": None, "n_params": 1000 * len(backbone),
        "method": method, "params": json.dumps(params, sort_keys=True), "seed": 0,
        "round": "coarse", "n_groups": N_GROUPS, "start": N_GROUPS, "freeze_depth": N_GROUPS,
        "planned_steps": len(values), "state": "complete", "reason": "", "choice": None,
        "validation": list(values), "log_loss": [2 - v for v in values],
        "test": [v - luck for v in values], "guard": [],
        "seconds": [0.2] * len(values), "wall_seconds": [0.2] * len(values),
        "embed_seconds": 0.01, "extract_seconds": 0.004, "augment_seconds": 0.001,
        "best_step": int(np.argmax(values)) + 1,
    }  # fmt: skip
    return {**made, **changes}


def rising(end, n):
    return [float(end * (1 - 0.4 * 0.5**k)) for k in range(1, n + 1)]


def rows_of(name):
    """Probes of all choices, tuned curves at three rates, and a floor."""
    found = [
        row(name, "pixels", FLOOR, {}, [0.4], choice=0.4, seconds=[1.5]),
        row(name, "majority", FLOOR, {}, [0.3], choice=0.3, seconds=[0.5]),
    ]
    for i, backbone in enumerate(BACKBONES):
        height = 0.55 + 0.05 * ((i + int(name[-1])) % 3)
        for solver, scaling in itertools.product(("logistic", "ridge"), ("feature", "global")):
            params = {"solver": solver, "scaling": scaling}
            found.append(row(name, backbone, "linear_probe", params, rising(height, 9)))
        for method, (k, lr) in itertools.product(TUNED, enumerate((1e-4, 1e-3, 3e-3))):
            params = {**FULL, "lr": lr}
            values = rising(height + 0.1 - 0.04 * k, 5)
            found.append(
                row(name, backbone, method, params, values, start=4, freeze_depth=5)
            )  # fmt: skip
    return found


ROWS = [r for name in FAMILIES for r in rows_of(name)]
ORACLE = Oracle(ROWS)


@pytest.fixture(scope="module")
def known():
    """What may be known without looks at samples, nor truths of the ranking."""
    others = left_out(ROWS, "objects")
    return Known(prior=Prior.load("image"), rows=others, portfolio=[("lp_ft", {"lr": 1e-4})])


@pytest.fixture
def folder(tmp_path):
    """A folder of lines, as curves.py leaves it."""
    made = tmp_path / "curves"
    made.mkdir()
    text = "".join(f"\n{json.dumps(r)}\n" for r in ROWS)
    (made / "curves-1.jsonl").write_text(text, encoding="utf-8")
    return made


def searched(name, known, seconds=30.0, seed=0, oracle=ORACLE):
    world = World(oracle, "set1", seconds)
    rivals.run(name, world, known, seed)
    return world


# The clock


@given(st.lists(st.floats(0, 20), max_size=20), st.floats(1, 60))
@settings(deadline=None)
def test_what_is_paid_for_is_what_passes(payments, limit):
    clock = Clock(limit)
    for seconds in payments:
        before = clock.now
        try:
            clock.spend("work", seconds)
        except OutOfTime:
            assert clock.now == pytest.approx(limit)
        assert before <= clock.now <= limit
    assert clock.now == pytest.approx(sum(clock.charged.values()))
    assert clock.now == pytest.approx(min(limit, sum(payments)))


def test_a_stage_ends_what_is_paid_for():
    clock = Clock(100)
    with pytest.raises(OutOfTime), clock.stage(3):
        clock.spend("work", 5)
    assert clock.now == 3
    clock.spend("work", 5)
    assert clock.now == 8


# The world


def test_embedding_and_activations_are_paid_once():
    world = World(ORACLE, "set1", 1000)
    candidate = world.space.default("a/one", "lp_ft", **{**FULL, "augment": 0.0})
    curve = world.curve(candidate, 5)
    world.embed("a/one", 30)
    assert world.clock.charged["embedding"] == pytest.approx(30 * 0.01)
    world.prepare(candidate, curve)
    world.prepare(candidate, curve)
    assert world.clock.charged["embedding"] == pytest.approx(100 * 0.01)
    assert curve.extraction_seconds > 0
    assert world.clock.charged["extraction"] == pytest.approx(curve.extraction_seconds)
    assert world.missing("a/one") == 0 < world.missing("b/two")


def test_training_from_another_head_needs_no_embedding():
    world = World(ORACLE, "set1", 1000)
    candidate = world.space.default("a/one", "fine_tune", **FULL)
    world.prepare(candidate, world.curve(candidate, 5))
    assert world.clock.charged["embedding"] == 0


def test_a_running_trial_ships_and_a_paused_one_does_not(known):
    world = World(ORACLE, "set1", 1000)
    floor = world.measure_floor()
    assert floor == 0.4
    at_floor = world.shipped[-1][2]
    outcome = Outcome(trial=0, candidate=world.space.default("a/one", "lp_ft", **FULL), state="")
    outcome.planned_steps, seen = 5, []

    def report(seconds):
        seen.append(world.shipped[-1][2])
        return ("paused", "for a test") if len(outcome.history) == 2 else None

    runner = simulate.TableRunner(world)
    runner.run(outcome, 1000, report)
    assert at_floor < seen[0] < seen[1]
    assert world.shipped[-1][2] == at_floor

    runner.run(outcome, 1000, lambda seconds: None, [None])
    assert outcome.state == "complete"
    assert len(outcome.history) == len(outcome.costs) == 5
    assert world.shipped[-1][2] > seen[1]
    assert world.clock.charged["training"] == pytest.approx(1.0)


def test_a_trial_that_failed_raises_after_its_steps():
    failing = [dict(r) for r in rows_of("set1") if r["method"] == "linear_probe"]
    failing[-1] |= {"state": "failed", "reason": "NaN"}
    world = World(Oracle(failing), "set1", 100)
    candidate = Candidate(
        backbone="c/three", adaptation="linear_probe", params=json.loads(failing[-1]["params"])
    )
    outcome = Outcome(trial=0, candidate=candidate, state="", planned_steps=9)
    with pytest.raises(FloatingPointError, match="NaN"):
        simulate.TableRunner(world).run(outcome, 100, lambda seconds: None)
    assert world.shipped[-1][1] == NO_FLOOR


def test_a_table_that_grows_is_played_where_all_pairs_are_there():
    probes = [r for r in ROWS if r["set"] == "set1" and r["method"] == "linear_probe"]
    one = [r for r in ROWS if r["set"] == "set1" and r["backbone"] == "b/two"]
    assert playable(Oracle(probes), "set1") == (list(BACKBONES), ["linear_probe"])
    backbones, methods = playable(Oracle([*probes, *one]), "set1")
    assert (backbones, set(methods)) == (["b/two"], {"linear_probe", *TUNED})
    assert playable(ORACLE, "set1")[0] == list(BACKBONES)


# Searchers


@pytest.mark.parametrize("name", SEARCHERS)
def test_time_and_shipped_scores_of_every_searcher(name, known):
    world = searched(name, known)
    assert world.clock.now == pytest.approx(sum(world.clock.charged.values()))
    assert world.clock.now <= world.clock.seconds
    at = [t for t, _, _ in world.shipped]
    assert at == sorted(at)
    assert at[-1] <= world.clock.now
    spans = [(t["began"], t["ended"]) for t in world.log]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert spans[0][0] >= ORACLE.floor_seconds("set1")
    best = ORACLE.best("set1")
    assert all(test <= best for _, _, test in world.shipped)
    assert world.score_at(0.0) == 0.25  # a guess, until the floor is there
    assert world.score_at(30.0) > ORACLE.floor("set1").test_after()


@pytest.mark.parametrize("name", SEARCHERS)
def test_the_same_seed_searches_the_same(name, known):
    assert searched(name, known, seed=3).log == searched(name, known, seed=3).log


@pytest.mark.parametrize("name", SEARCHERS)
def test_nobody_chooses_by_test_values(name, known):
    """Another truth changes what is shipped in score, but in nothing else."""
    changed = Oracle([{**r, "test": [1 - t for t in r["test"]]} for r in ROWS])
    one, other = searched(name, known), searched(name, known, oracle=changed)

    def chosen(world):
        hidden = ("test",)
        trials = [{k: v for k, v in t.items() if k not in hidden} for t in world.log]
        return trials, world.clock.charged, [value for _, value, _ in world.shipped]

    assert chosen(one) == chosen(other)
    assert one.shipped[-1][2] == pytest.approx(1 - other.shipped[-1][2])


def test_autotl_searches_with_its_own_study(known):
    world = World(ORACLE, "set1", 60.0)
    study = simulate.search(world, known, 0)
    assert study.best.value == max(o.value for o in study.outcomes if o.state == "complete")
    assert world.shipped[-1][1] == study.best.value
    assert world.log[0]["method"] == "linear_probe"
    assert {"screening", "scores"} & set(world.clock.charged)
    assert len(study.outcomes) > 10


def test_what_was_best_elsewhere_is_taken_always(known):
    others = [r for r in ROWS if r["set"] in ("set2", "set3")]
    gains = rivals.above_others(others, "lp_ft")
    world = searched("always the same, LP-FT", known)
    assert {t["backbone"] for t in world.log} == {max(gains, key=gains.get)}
    assert {t["method"] for t in world.log} == {"lp_ft"}


def test_the_strongest_simple_rival_probes_every_backbone_once(known):
    world = searched("best frozen probe", known)
    assert sorted(t["backbone"] for t in world.log) == sorted(BACKBONES)
    assert {t["method"] for t in world.log} == {"linear_probe"}


# What may be known


def test_nothing_of_the_evaluated_family_reaches_a_fit(monkeypatch):
    def shelf(family, method="linear_probe"):
        return SimpleNamespace(
            name=family, family=family, modality="image", method=method, look="quarter",
            evidence=[], truth=np.zeros(0),
        )  # fmt: skip

    reached = {}

    def spy(name, found):
        def fit(rows, *rest):
            rows = list(rows)
            families = {r["family"] if isinstance(r, dict) else r.family for r in rows}
            reached.setdefault(name, []).append(families)
            return found

        monkeypatch.setattr(knowledge, name, fit)

    for name, found in {
        "fit": {"level": 0.0}, "read_gains": [], "fit_portfolio": [], "fit_methods": {},
    }.items():  # fmt: skip
        spy(name, found)
    truth = [{"family": f, "modality": "image"} for f in FAMILIES.values()]
    monkeypatch.setattr(knowledge, "records", lambda folder: truth)
    monkeypatch.setattr(
        knowledge, "read_shelves", lambda folder: [shelf(f) for f in FAMILIES.values()]
    )
    sources = Sources(ROWS, "anywhere")
    for family in FAMILIES.values():
        reached.clear()
        known = sources.known("image", family)
        others = set(FAMILIES.values()) - {family}
        assert set(reached) == {"fit", "read_gains", "fit_portfolio", "fit_methods"}
        assert all(families == others for found in reached.values() for families in found)
        assert {r["family"] for r in known.rows} == others


def test_looks_keep_no_truth():
    evidence = SimpleNamespace(spec=SimpleNamespace(name="a/one"))
    shelves = [
        SimpleNamespace(name="set1", look="first", method=m, evidence=[evidence], truth=[0.9])
        for m in ("lp_ft", "linear_probe")
    ]
    assert knowledge.looks(shelves) == {("set1", "first"): {"a/one": evidence}}


# Records and figures


def arguments(folder, work, *more):
    return ["--table", str(folder), "--work", str(work), *QUICK, "--seeds", "1", *more]


def test_a_run_goes_on_where_it_was_stopped(folder, tmp_path, monkeypatch, capsys):
    some = [AUTOTL, "best frozen probe"]
    search.main(arguments(folder, tmp_path / "work", "--searchers", some[0]))
    ran = []
    monkeypatch.setattr(
        search,
        "one",
        lambda o, s, wanted, log, one=search.one: ran.append(wanted) or one(o, s, wanted),
    )
    search.main(arguments(folder, tmp_path / "work", "--searchers", *some))
    assert [wanted[1] for wanted in ran] == some[1:]
    search.main(arguments(folder, tmp_path / "work", "--searchers", *some))
    assert len(ran) == 1
    assert {r["searcher"] for r in lines(tmp_path / "work")} == set(some)


def test_parts_share_the_runs(folder, tmp_path):
    work = tmp_path / "work"
    for part in ("1/2", "2/2"):
        search.main(arguments(folder, work, "--part", part, "--searchers", *list(SEARCHERS)[-3:]))
    found = [search.key(r) for r in lines(work)]
    assert len(found) == len(set(found)) == 3


def test_the_report_is_written(folder, tmp_path, capsys):
    figures, plotted = tmp_path / "figures.json", tmp_path / "plot.svg"
    names = [AUTOTL, BASELINE, "best frozen probe"]
    search.main(
        arguments(
            folder, tmp_path / "work", "--searchers", *names,
            "--json", str(figures), "--plot", str(plotted),
        )
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert set(json.loads(figures.read_text())) == set(names)
    assert plotted.read_text().count("<polyline") == 3


def run_record(searcher, shipped, name="set1", seed=0, **changes):
    made = {
        "set": name, "searcher": searcher, "seed": seed, "seconds": 900.0, "best": 0.9,
        "floor_test": 0.5, "shipped": shipped,
    }  # fmt: skip
    return {**made, **changes}


def test_figures_of_two_searchers():
    own = run_record(AUTOTL, [[0, None, 0.1], [30, 0.6, 0.7], [90, 0.8, 0.85]])
    other = run_record(BASELINE, [[0, None, 0.1], [600, 0.8, 0.852]])
    low = run_record(AUTOTL, [[0, None, 0.1], [30, 0.6, 0.4]], seed=1)
    assert regret(own, 60) == pytest.approx(20.0)
    assert regret(own, 900) == pytest.approx(5.0)
    assert reaching(own, other) == 1.0
    assert reaching(other, own) == pytest.approx(600 / 900)
    assert as_high(own, other)
    assert not as_high(low, other)
    found = judge([own, other, low])
    assert found[AUTOTL]["below_floor"] == 0.5
    assert found[AUTOTL]["as_high"] == 1.0  # of the seeds that both have
    assert found[BASELINE]["time_to_baseline"] == pytest.approx(600 / 900)
    assert "0.667" in table(found)
    assert "set1" in set_table(found, "900")


def test_sets_count_alike_in_the_plot():
    runs = [
        run_record(AUTOTL, [[0, None, score]], name=name, seed=seed)
        for name, score, n in (("set1", 0.2, 3), ("set2", 0.8, 1))
        for seed in range(n)
    ]
    assert mean_curve(runs, [10.0]) == [pytest.approx(0.5)]
    assert plot(runs).startswith("<svg")
    assert score_at(runs[0]["shipped"], 5.0) == 0.2
