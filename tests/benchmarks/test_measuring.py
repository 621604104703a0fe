import dataclasses

import numpy as np
import pytest
from measuring import curve, extract, first_fold, floors, frozen_costs, parts, sizes
from oracle import FLOOR, Curve

from autotl.data import build_task
from autotl.features import ActivationStore, BackboneSession, Caching, freeze_depth
from autotl.registry import get_registry
from autotl.specs import LoadedBackbone
from autotl.testing.fakes import fake_backbone, toy_images


@pytest.fixture(scope="module")
def task():
    images, y = toy_images(90)
    return first_fold(build_task(images, y, seed=0))


@pytest.fixture
def make_session(task, tmp_path):
    def make(spec):
        caching = Caching(
            store=ActivationStore(tmp_path / "cache", 10**9),
            digests=task.fingerprints, y=task.y, demand=(0.0, 0.5, 0.9),
        )  # fmt: skip
        return BackboneSession(spec, task.samples, task.modality, caching=caching)

    return make


def measured(session, task, method, **changes):
    spec = get_registry().adaptations.get(method)
    frozen = {**frozen_costs(session, task), "seed": 0}
    return curve(session, task, spec, {**spec.defaults, **changes}, frozen)


@pytest.mark.parametrize("changes", [{"freeze_fraction": 0.0}, {"freeze_fraction": 0.9}])
def test_a_curve_has_each_planned_step_and_the_bits_of_two(task, make_session, changes):
    record = measured(make_session(fake_backbone()), task, "lp_ft", epochs=3, **changes)
    shown = Curve.of({**record, **sizes(task)})

    assert record["state"] == "complete"
    assert len(shown) == record["planned_steps"] == 3
    assert (shown.seconds > 0).all()
    for part in ("validation", "test"):
        assert len(record[part]) == 3
        for at, step in (("best", record["best_step"]), ("last", 3)):
            hits = shown.correct(part, at)
            assert len(hits) == len(parts(task)[part])
            assert hits.mean() == pytest.approx(record[part][step - 1], abs=1e-4)
    assert record["best_step"] == shown.best_step()
    assert record["guard"] == []


@pytest.mark.parametrize("fraction", [0.5, 0.9, 1.0])
def test_all_that_a_fit_reads_is_computed_before_the_clock_runs(
    task, make_session, monkeypatch, fraction
):
    session = make_session(fake_backbone())
    spec = get_registry().adaptations.get("lp_ft")
    frozen = {**frozen_costs(session, task), "seed": 0}
    params = {**spec.defaults, "freeze_fraction": fraction, "augment": 0.3, "epochs": 5}
    start = session.start_for(freeze_depth(fraction, session.n_groups))
    assert start > 0
    extract(session, task, start, strength=0.3)

    def passes(*_args):
        raise AssertionError("frozen layers were run")

    monkeypatch.setattr(session, "passes", passes)
    assert len(curve(session, task, spec, params, frozen)["validation"]) == 5


def test_a_probe_has_a_step_for_each_strength(task, make_session):
    record = measured(make_session(fake_backbone()), task, "linear_probe")
    assert len(record["validation"]) == record["planned_steps"] == 9


def test_a_backbone_that_yields_nan_fails_and_says_so(task, make_session):
    spec = fake_backbone()

    def load(device) -> LoadedBackbone:
        import torch

        loaded = spec.load(device)
        hook = lambda module, args, out: out * float("nan")  # noqa: E731
        loaded.module.register_forward_hook(hook)
        assert isinstance(loaded.module, torch.nn.Module)
        return loaded

    record = measured(
        make_session(dataclasses.replace(spec, load=load)), task, "fine_tune", epochs=2
    )
    assert record["state"] == "failed"
    assert record["reason"]
    assert record["best_step"] == len(record["validation"]) == 0


def test_floors_are_judged_as_fitted_on_the_training_rows(task):
    found = {record["backbone"]: record for record in floors(task)}
    majority = found["majority"]
    most_common = np.bincount(task.y[task.split.folds[0].train]).argmax()

    assert all(record["method"] == FLOOR for record in found.values())
    assert majority["test"] == [
        pytest.approx(np.mean(task.y[task.split.holdout] == most_common), abs=1e-4)
    ]
    best = max(found.values(), key=lambda record: record["choice"])
    shown = Curve.of({**best, **sizes(task)})
    assert best["test"][0] > majority["test"][0]
    assert shown.correct("test").mean() == pytest.approx(best["test"][0], abs=1e-4)


def test_a_guard_block_is_judged_where_the_split_has_one(task, make_session):
    @dataclasses.dataclass(frozen=True)
    class Guarded(type(task.split)):
        guard: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))

    if "guard" in {f.name for f in dataclasses.fields(task.split)}:
        split = dataclasses.replace(task.split, guard=task.split.holdout[:5])
    else:
        split = Guarded(task.split.folds, task.split.holdout, task.split.holdout[:5])
    guarded = dataclasses.replace(task, split=split)
    record = measured(make_session(fake_backbone()), guarded, "linear_probe")
    shown = Curve.of({**record, **sizes(guarded)})

    assert len(record["guard"]) == 9
    np.testing.assert_array_equal(shown.correct("guard"), shown.correct("test")[:5])
