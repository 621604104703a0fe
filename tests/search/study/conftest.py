"""A study on a runner that takes no time, and the picture of one that was killed."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from autotl.search.budget import Budget
from autotl.search.study.chooser import Chooser
from autotl.search.study.halving import CostHalving
from autotl.search.study.portfolio import Portfolio
from autotl.search.study.posterior import MethodPrior, Scale
from autotl.search.study.records import TrialRecords
from autotl.search.study.space import SearchSpace
from autotl.search.study.study import Study
from autotl.specs import AdaptationSpec, Choice, Range, SavedState
from autotl.testing.fakes import fake_adaptation

N_STEPS = 12
PROBE = AdaptationSpec(
    name="probe", steps=fake_adaptation().steps, restore=fake_adaptation().restore,
    space={"solver": Choice(options=("ridge", "logistic")), "scaling": Choice(options=(1, 2))},
    defaults={"solver": "logistic", "scaling": 1},
)  # fmt: skip
TUNED = AdaptationSpec(
    name="tuned", steps=fake_adaptation().steps, restore=fake_adaptation().restore,
    space={"lr": Range(low=1e-5, high=1e-1, log=True)}, defaults={"lr": 1e-3},
    trains_backbone=True,
)  # fmt: skip


class Killed(BaseException):
    """Ends a run where a real one is killed; what it left is looked at in a copy."""


def rise(candidate):
    """Return a learning curve whose height the learning rate decides."""
    if candidate.adaptation == "probe":
        return [0.5]
    # The defaults are far from the best, so that what comes later takes the lead.
    height = 0.9 - 0.1 * abs(np.log10(candidate.params["lr"]) + 2)
    return [float(height * np.sqrt(k / N_STEPS)) for k in range(1, N_STEPS + 1)]


class Runner:
    """Plays curves; `on_step(outcome)` may raise."""

    def __init__(self, curve=rise, on_step=lambda outcome: None):
        self.curve, self.on_step = curve, on_step
        self.begun, self.continued = [], []

    def plan(self, candidate, left, *, first):
        return N_STEPS, ""

    def predict(self, outcome, rows):
        return None

    def run(self, outcome, until, report, states=None):
        log = self.continued if states else self.begun
        log.append((outcome.trial, outcome.candidate))
        outcome.state, outcome.tuned = "running", outcome.candidate.adaptation == "tuned"
        curve = self.curve(outcome.candidate)
        if states:
            assert [s.config["done"] for s in states] == [len(outcome.history)] * 2
        for value in curve[len(outcome.history) :]:
            self.step(outcome, value)
            self.on_step(outcome)
            signal = report(0.0)
            if signal is not None:
                outcome.state, outcome.reason = signal
                saved = SavedState(
                    tensors={"x": np.zeros(1)}, config={"done": len(outcome.history)}
                )
                return [saved, saved] if signal[0] == "paused" else []
        outcome.state, outcome.reason = "complete", "all steps done"
        return []

    def step(self, outcome, value):
        outcome.history.append(value)
        outcome.costs.append(float(len(outcome.history)))
        if outcome.value is None or value > outcome.value:
            outcome.value, outcome.steps, outcome.log_loss = value, len(outcome.history), 1 - value
            outcome.proba = np.eye(2)
            outcome.saved = SavedState(
                tensors={"value": np.array([value])}, config={"trial": outcome.trial}
            )


class Silent:
    """A guard that says nothing."""

    def watch(self, outcome, outcomes):
        return ""

    def judge(self, outcome):
        return None

    def spares(self, trial):
        return False


def cost(spec, candidate, left, *, may_time=True):
    return 1.0 if spec is PROBE else 5.0


def make_study(
    folder=None, *, trials=None, runner=None, backbones=("a", "b"), methods=(PROBE, TUNED),
    seed=8, worker=None, floor=0.1, earlier=0.0, accept_changes=False, on_outcome=None, cost=cost,
):  # fmt: skip
    space = SearchSpace(list(backbones), methods)
    screened = {
        name: SimpleNamespace(
            expectation=SimpleNamespace(expected=0.7, spread=0.05, methods={}, level_spread=0.0),
            name=name,
        )
        for name in backbones
    }
    chooser = Chooser(
        space, screened, SimpleNamespace(cost=cost), Portfolio([]),
        {"probe": MethodPrior(), "tuned": MethodPrior(gain=0.1, spread=0.4)},
        Scale(level_spread=0.5),
    )  # fmt: skip
    rows = []
    study = Study(
        space=space, chooser=chooser, runner=runner or Runner(), halving=CostHalving(2.0),
        guard=Silent(), records=TrialRecords(folder / "trials" if folder else None),
        budget=Budget(600.0, trials, earlier=earlier), seed=seed, floor=floor,
        reserve=lambda best: 0.0, on_outcome=on_outcome or (lambda o: rows.append(o.trial)),
        journal=folder / "study.journal" if folder else None, n_folds=2, worker=worker,
        accept_changes=accept_changes,
    )  # fmt: skip
    study.rows = rows
    return study


def search(folder=None, **more):
    """Run a study to its end."""
    study = make_study(folder, **more)
    study.run()
    return study


def shown(study):
    return [(o.trial, o.candidate.key(), o.state, o.value, o.history) for o in study.outcomes]


def repeats(study):
    return [o.reason for o in study.outcomes if "the same as" in o.reason]


class Picture:
    """Copies a run's folder at some step: what a killed process leaves."""

    def __init__(self, folder, of, at=2):
        self.folder, self.of, self.at = folder, of, at
        self.copy = folder.with_name(folder.name + "-killed")
        self.outcome = None

    def __call__(self, outcome):
        if outcome.trial == self.of and len(outcome.history) == self.at:
            shutil.copytree(self.folder, self.copy)
            self.outcome = outcome
            raise Killed


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    made.mkdir()
    return made


def kill(folder, of, at=2, **more):
    """Search until a step of a trial; returns the picture of that moment."""
    picture = Picture(folder, of, at)
    with pytest.raises(Killed):
        search(folder, runner=Runner(on_step=picture), **more)
    return picture


@pytest.fixture(scope="session")
def toys():
    """Makers of studies, their runner and what they try."""
    return SimpleNamespace(
        N_STEPS=N_STEPS, PROBE=PROBE, TUNED=TUNED, Killed=Killed, Runner=Runner, kill=kill,
        make_study=make_study, repeats=repeats, rise=rise, search=search, shown=shown,
    )  # fmt: skip
