import numpy as np
import pytest

from autotl.experience import DataFingerprint, Moments, RunRecord, TrialRecord

SHELF = {"timm/small": 0.6, "timm/medium": 0.7, "timm/large": 0.8, "text/other": 0.5}


@pytest.fixture
def make_data():
    """Build the fingerprint of samples drawn around a centre."""

    def make(centre=0.0, *, seed=0, n_train=500, n_classes=4, scores=SHELF, **changes):
        rng = np.random.default_rng(seed)
        features = np.linspace(-1, 1, 16) + centre + rng.normal(size=(512, 16))
        known = {
            "modality": "image",
            "metric": "accuracy",
            "n_train": n_train,
            "n_classes": n_classes,
            "class_entropy": float(np.log(n_classes)),
            "moments": {"embedded/small#1": Moments.of(features)},
            "scores": scores,
            "n_scored": 128,
        }
        return DataFingerprint(**{**known, **changes})

    return make


@pytest.fixture
def make_run(make_data):
    """Build the record of a run from values by (backbone, method)."""

    def make(values, *, data=None, ended=1e9, trials=None, **changes):
        trials = trials or tuple(
            TrialRecord(
                backbone=backbone,
                adaptation=adaptation,
                params={"lr": value / 100, "epochs": 5, "batch_norm": "frozen"},
                value=value,
                curve=[(1, value / 2, 2.0), (2, value, 5.0)],
                steps=2,
                seconds=5.0,
                n_samples=1500,
            )
            for (backbone, adaptation), value in values.items()
        )
        known = {"version": "0.2.0", "device": "cpu", "floor": 0.4, "gap": 0.1}
        return RunRecord(
            finished_at=ended,
            fingerprint=data or make_data(),
            trials=trials,
            verdict="positive",
            **{**known, **changes},
        )

    return make
