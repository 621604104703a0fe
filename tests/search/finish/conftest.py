"""Tasks and trials without images or networks, for tests of what happens after the search."""

import hashlib
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest

from autotl.adapt.raw import LOGISTIC
from autotl.data import Fold, Metric, Samples, Split, Task
from autotl.data.splits import make_folds, make_holdout
from autotl.search.finish.again import Contender
from autotl.search.floor.baselines import Baseline
from autotl.search.floor.measurement import FloorMeasurement, validation_rows
from autotl.search.study.candidate import Candidate, Outcome
from autotl.specs import AdaptationSpec, BackboneSpec, LoadedBackbone, SavedState, Step
from autotl.testing.fakes import fake_modality


def accuracy(y, proba):
    return float((proba.argmax(axis=1) == y).mean())


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def toy_task(n=90, *, n_classes=3, n_groups=None, seed=0, noise=1.0):
    """Vectors whose first entries tell the class, more or less."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = (np.eye(n_classes)[y] * 2 + rng.normal(size=(n, n_classes)) * noise).astype(np.float32)
    units = np.arange(n) if n_groups is None else rng.permutation(n) % n_groups
    rest, holdout = make_holdout(y, units, seed)
    folds = make_folds(y[rest], units[rest], seed)
    return Task(
        modality=fake_modality(),
        samples=Samples([list(X)]),
        y=y,
        classes=[f"class {c}" for c in range(n_classes)],
        groups=units,
        fingerprints=[hashlib.sha256(x.tobytes()).hexdigest() for x in X],
        metric=Metric("accuracy"),
        split=Split(tuple(Fold(rest[f.train], rest[f.validation]) for f in folds), holdout),
    )


def _stack(samples):
    import torch

    return torch.from_numpy(np.stack(samples))


def _load(device, *, seed=0):
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU())
        module = nn.Sequential(OrderedDict(first=first, last=nn.Linear(8, 4)))
        module.first[1].running_mean.fill_(0.3)  # as if it had seen data
    return LoadedBackbone(
        module=module.to(device).eval(),
        preprocess=_stack,
        layer_groups=(("first",), ("last",)),
    )


def toy_backbone(name="toy/backbone", **changes):
    """A small network over vectors."""
    return BackboneSpec(
        name=name,
        modality="vectors",
        embed_dim=4,
        load=changes.pop("load", _load),
        weights_digest=lambda: "toy",
        license="MIT",
        permissive=True,
        **changes,
    )


class ToySession:
    """Samples themselves as embeddings; no network."""

    seconds_per_sample = 0.0
    embed_seconds = 0.0
    device = "cpu"

    def __init__(self, task, name="toy/backbone"):
        self.samples, self.modality = task.samples, task.modality
        self.spec = toy_backbone(name)

    def check(self):
        pass

    def missing(self, rows):
        return 0

    def inputs(self, rows):
        return np.stack([self.samples[int(i)] for i in rows])


class _Constant:
    def __init__(self, means, quality):
        self.means, self.quality = means, quality

    def predict_proba(self, inputs):
        return softmax(self.quality * (inputs @ self.means.T))

    def save(self):
        return SavedState(
            tensors={"means": self.means, "quality": np.array([self.quality])}, config={}
        )


def toy_method(name="toy", *, quality=3.0, tuned=False, fails=False, seen=None):
    """Nearest class mean; a negative quality is always wrong. `seen` collects training rows."""

    def steps(task, state=None):
        if seen is not None:
            seen.append((task.train, task.y, task.seed))
        if fails:
            raise ValueError("the method's own bug")
        means = np.stack([task.train[task.y == c].mean(axis=0) for c in range(task.n_classes)])
        for _ in range(task.n_steps):
            predictor = _Constant(means, quality)
            yield Step(predictor=predictor, state=predictor.save)

    return AdaptationSpec(
        name=name,
        steps=steps,
        restore=lambda s: _Constant(s.tensors["means"], float(s.tensors["quality"][0])),
        trains_backbone=tuned,
    )


def contender(task, trial, proba=None, *, spec=None, backbone="toy/backbone", seconds=0.0):
    """A complete trial; without `proba` it is given what its method predicts."""
    spec = spec or toy_method(f"toy{trial}")
    session = ToySession(task, backbone)
    rows = validation_rows(task)
    if proba is None:
        probas = []
        for fold in task.split.folds:
            X, y = session.inputs(fold.train), task.y[fold.train]
            means = np.stack([X[y == c].mean(axis=0) for c in range(len(task.classes))])
            probas.append(softmax(3.0 * session.inputs(fold.validation) @ means.T))
        proba = np.concatenate(probas)
    else:  # given in the order of train and validation
        order = {row: i for i, row in enumerate(task.split.train_validation)}
        proba = proba[[order[row] for row in rows]]
    outcome = Outcome(
        trial=trial,
        candidate=Candidate(backbone=backbone, adaptation=spec.name, params={}),
        state="complete",
        value=float(task.metric(task.y[rows], proba)),
        log_loss=0.0,
        steps=1,
        planned_steps=1,
        tuned=spec.trains_backbone,
        seconds=seconds,
        proba=proba,
        history=[0.0],
    )
    return Contender(outcome=outcome, spec=spec, session=session)


class TwoBaselines(FloorMeasurement):
    """The two quickest models without transfer."""

    def _list(self):
        feature = self.task.modality.raw_features[0]
        return [Baseline(), Baseline(feature=feature, classifier=LOGISTIC)]


@pytest.fixture(scope="session")
def toys():
    """Makers of tasks, methods and trials."""
    return SimpleNamespace(
        accuracy=accuracy,
        backbone=toy_backbone,
        floor=TwoBaselines,
        contender=contender,
        method=toy_method,
        softmax=softmax,
        task=toy_task,
        session=ToySession,
    )
