import dataclasses
import json

import numpy as np
import pytest

from autotl.errors import ModelFormatError
from autotl.features import BackboneSession
from autotl.registry import get_registry
from autotl.result.model import FittedModel, load
from autotl.result.predictors import EnsemblePredictor, TransferPredictor
from autotl.search.budget import Budget
from autotl.search.finish.again import Contender
from autotl.search.finish.finalists import ShippingRule
from autotl.search.finish.finisher import Finisher
from autotl.search.finish.holdout import mistakes
from autotl.search.finish.scratch import Scratch
from autotl.search.floor.baselines import Baseline
from autotl.search.progress import SilentProgress
from autotl.testing.fakes import fake_adaptation


def finisher(toys, task, seconds=600.0, trials=1):
    budget = Budget(seconds, trials)
    measurement = toys.floor(task, budget, SilentProgress())
    baselines = measurement.run()
    return Finisher(task, measurement, baselines, budget, SilentProgress(), 0)


def run(end, *pool, **options):
    first = pool[0]
    return end.run(first.outcome, first.spec, first.session, pool, **options)


@pytest.fixture
def registered(toys, monkeypatch):
    """Register the toy modality, backbone and method, so that models can be loaded again."""
    registry, task = get_registry(), toys.task(60)

    def register(catalog, spec):
        monkeypatch.setitem(catalog._specs, spec.name, spec)
        monkeypatch.setitem(catalog._aliases, spec.name, spec.name)
        monkeypatch.setitem(catalog._owners, spec.name, "tests")
        return spec

    register(registry.modalities, task.modality)
    register(registry.backbones, toys.backbone())
    return register(registry.adaptations, fake_adaptation())


def real(task, toys, trial, method, n_steps=3, tuned=False):
    """A trial of a registered method on the toy backbone, as the search would leave it."""
    made = toys.contender(task, trial)
    session = BackboneSession(toys.backbone(), task.samples, task.modality)
    candidate = dataclasses.replace(
        made.outcome.candidate, adaptation=method.name, params=dict(method.defaults)
    )
    outcome = dataclasses.replace(
        made.outcome, candidate=candidate, steps=n_steps, planned_steps=n_steps, tuned=tuned
    )
    return Contender(outcome=outcome, spec=method, session=session)


def saved(folder, task, predictor, floor=None, shipped="transfer"):
    result = {"verdict": "inconclusive", "best": None, "leaderboard": [], "shipped": shipped}
    model = FittedModel(predictor, task.modality, task.classes, "accuracy", result, floor=floor)
    model.save(folder)
    return load(folder)


def test_finalist_ships_when_its_mean_is_higher(toys):
    task = toys.task(90, noise=1.5)
    end = finisher(toys, task)
    good, bad = (
        toys.contender(task, 0),
        toys.contender(task, 1, spec=toys.method("bad", quality=-3.0)),
    )
    end.baselines[:] = [Baseline(validation=0.3, choice=2.0)]

    finish = run(end, bad, good)

    assert finish.finalist.trial == 0
    assert finish.shipped == "transfer"
    assert finish.standing["n_splits"] == 5
    rows = {row["trial"]: row for row in finish.standing["finalists"]}
    assert rows[0]["chosen"]
    assert rows[0]["mean"] > rows[1]["mean"]


def test_flagged_finalist_leaves_the_floor(toys):
    task = toys.task(90)
    end = finisher(toys, task)
    end.baselines[:] = [Baseline(validation=0.3, choice=2.0)]

    finish = run(end, toys.contender(task, 0), rule=ShippingRule(negative=frozenset({0})))

    assert finish.shipped == "floor"
    assert "flagged" in finish.why_floor
    assert finish.gap is not None


def test_floor_of_the_same_make_is_listed_with_its_holdout(toys):
    task = toys.task(90)
    end = finisher(toys, task)

    finish = run(end, toys.contender(task, 0))
    end.score_baselines(finish)

    rows = {b.name: b for b in end.baselines}
    own = rows["untrained:toy/backbone + logistic_regression"]
    assert own.state == "complete"
    assert own.choice > 0.4
    assert own.holdout is not None
    assert end.baselines[0].choice == max(b.choice for b in end.baselines)


def test_network_that_has_no_twin_is_named(toys):
    def load_nothing(device):
        raise OSError("weights are gone")

    task = toys.task(60)
    end = finisher(toys, task)
    one = toys.contender(task, 0)
    one.session.spec = toys.backbone(load=load_nothing)

    finish = run(end, one)

    failed = [b for b in end.baselines if b.state == "failed"]
    assert [b.reason for b in failed] == ["OSError: weights are gone"]
    assert finish.transfer is not None


def test_stronger_floor_is_what_transfer_has_to_beat(toys, monkeypatch):
    task = toys.task(90)
    end = finisher(toys, task)
    before = end.baselines[0]
    before.choice = -1.0

    finish = run(end, toys.contender(task, 0))

    assert finish.new_floor
    assert end.baselines[0].name.startswith("untrained:")
    expected = np.mean([end.baselines[0].choice, 1.0])
    assert finish.standing["floor"] <= expected


def test_hurried_finish_does_only_what_is_needed(toys):
    task = toys.task(60)
    end = finisher(toys, task)
    end.hurried = True

    finish = run(end, toys.contender(task, 0), toys.contender(task, 1), ensemble=True)

    assert finish.standing["n_splits"] == 0
    assert finish.ensemble is None
    assert finish.transfer is not None
    assert not [b for b in end.baselines if b.name.startswith("untrained:")]


def test_no_time_for_a_rematch_is_said(toys):
    task = toys.task(60)
    # In units that no machine is too slow for.
    end = finisher(toys, task, seconds=30_000.0, trials=None)
    one = toys.contender(task, 0, seconds=100_000.0)
    one.outcome.saved = one.spec.restore and next(
        one.spec.steps(
            dataclasses.make_dataclass("T", ["train", "y", "seed", "n_classes", "n_steps"])(
                one.session.inputs(task.split.train_validation),
                task.y[task.split.train_validation], 0, 3, 1,
            )
        )
    ).predictor.save()  # fmt: skip
    end.budget._started -= 20_000  # nearly over

    finish = run(end, one)

    assert any("flatters" in note for note in finish.notes)
    assert finish.standing["n_splits"] == 0
    assert finish.transfer is not None


def test_finalist_that_cannot_be_refitted_gives_way(toys):
    task, calls = toys.task(60), []
    good = toys.method("good")

    def steps(one, state=None):
        calls.append(len(one.y))
        if len(one.y) == len(task.split.train_validation):
            raise ValueError("only on all of it")
        yield from good.steps(one, state)

    fragile = dataclasses.replace(good, name="fragile", steps=steps)
    end = finisher(toys, task)
    weak = toys.contender(task, 0, spec=toys.method("weak", quality=-3.0))

    finish = run(end, weak, toys.contender(task, 1, spec=fragile))

    assert finish.finalist.trial == 0
    assert any("'weak' on 'toy/backbone' is taken" in note for note in finish.notes)


def test_ensemble_ships_when_clearly_better_and_survives_saving(toys, registered, tmp_path):
    task = toys.task(120)
    end = finisher(toys, task)
    end.baselines[:] = [Baseline(validation=0.3, choice=2.0)]
    truth = np.eye(3)[task.y]
    rows = np.concatenate([f.validation for f in task.split.folds])
    half = np.random.default_rng(0).permutation(len(rows)) < len(rows) // 2
    pool = [real(task, toys, i, registered) for i in range(2)]
    pool[1] = dataclasses.replace(pool[1], spec=dataclasses.replace(registered, name="twin"))
    pool[1].outcome.candidate = dataclasses.replace(pool[1].outcome.candidate, adaptation="twin")
    for contender, sure in zip(pool, (half, ~half), strict=True):
        proba = np.where(sure[:, None], 0.9 * truth[rows] + 0.03, 0.3)
        proba[~sure] += 0.01 * np.eye(3)[(task.y[rows][~sure] + 1) % 3]
        contender.outcome.proba = proba / proba.sum(axis=1, keepdims=True)
        contender.outcome.value = task.metric(task.y[rows], contender.outcome.proba)

    finish = run(end, *pool, ensemble=True)

    assert finish.ensemble["used"]
    assert [m["weight"] for m in finish.ensemble["members"]] == [0.5, 0.5]
    assert isinstance(finish.transfer, EnsemblePredictor)
    members = [dataclasses.replace(m, adaptation="nearest_mean") for m in finish.transfer.members]
    kept = EnsemblePredictor(members=members, weights=finish.transfer.weights)
    again = saved(tmp_path / "model", task, kept, finish.floor)
    X = np.stack([task.samples[i] for i in range(6)])
    np.testing.assert_allclose(again.predict_proba(X), kept.predict_proba(list(X)), atol=1e-6)
    names = {p.relative_to(tmp_path / "model").as_posix() for p in tmp_path.rglob("*.*")}
    assert {"members/0/model.json", "members/1/model.safetensors", "floor/model.json"} <= names


def test_damaged_ensemble_is_refused(toys, registered, tmp_path):
    task = toys.task(60)
    finish = run(finisher(toys, task), real(task, toys, 0, registered))
    kept = EnsemblePredictor(members=[finish.transfer] * 2, weights=[0.25, 0.75])
    saved(tmp_path / "m", task, kept)
    path = tmp_path / "m" / "model.json"
    config = json.loads(path.read_text())

    for weights in ([0.5, 0.6], [], [-1, 2], ["a", 1], None):
        path.write_text(json.dumps(config | {"predictor": {"weights": weights}}))
        with pytest.raises(ModelFormatError, match="damaged"):
            load(tmp_path / "m")


def test_untrained_floor_can_be_saved_and_loaded(toys, registered, tmp_path):
    task = toys.task(90)
    end = finisher(toys, task)
    end.baselines[0].choice = -1.0
    finish = run(end, real(task, toys, 0, registered))
    assert end.baselines[0].name.startswith("untrained:")

    again = saved(tmp_path / "model", task, finish.floor, finish.floor, shipped="floor")

    X = [task.samples[i] for i in task.split.holdout]
    np.testing.assert_allclose(again.predict_proba(np.stack(X)), finish.floor_proba, atol=1e-5)
    assert again.floor is not None


def test_network_from_scratch_is_a_floor_that_can_be_kept(toys, registered, tmp_path):
    task = toys.task(60)
    method = get_registry().adaptations.get("fine_tune")
    tuned = real(task, toys, 0, method, n_steps=2, tuned=True)
    end = finisher(toys, task)
    baseline = Baseline(network=Scratch(tuned, task, seed=5))

    end.measurement.admit(baseline, end.baselines, float("inf"))
    assert (baseline.state, baseline.reason) == ("complete", "")
    assert baseline.name == "untrained:toy/backbone + fine_tune"
    assert baseline.validation == baseline.choice > 0
    model = end.measurement.final(baseline)
    assert isinstance(model, TransferPredictor)
    proba = end.measurement.holdout_proba(baseline, model)
    again = saved(tmp_path / "model", task, model, shipped="floor")

    X = np.stack([task.samples[i] for i in task.split.holdout])
    np.testing.assert_allclose(again.predict_proba(X), proba, atol=1e-5)
    assert model.save().config["untrained_seed"] == 5


def test_mistakes_are_the_most_confident_ones(toys):
    task = toys.task(90)
    y = task.y[task.split.holdout]
    proba = np.eye(3)[y] * 0.6 + 0.4 / 3
    proba[3] = np.eye(3)[(y[3] + 1) % 3] * 0.5 + 0.5 / 3
    proba[5] = np.eye(3)[(y[5] + 1) % 3] * 0.9 + 0.1 / 3

    found = mistakes(task, proba)

    assert [m["row"] for m in found] == [int(task.split.holdout[i]) for i in (5, 3)]
    assert found[0]["true"] == f"class {y[5]}"
    assert found[0]["probability"] == pytest.approx(0.9 + 0.1 / 3)
    assert mistakes(task, np.eye(3)[y]) == []
