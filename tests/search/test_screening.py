import numpy as np

from autotl.data import build_task
from autotl.search.budget import Budget
from autotl.search.progress import SilentProgress
from autotl.search.screening import Screening, loo_estimate, subsample
from autotl.shelf import Shelf
from autotl.testing.fakes import fake_backbone, toy_images


def make_task(n=90):
    images, y = toy_images(n)
    return build_task(images, y)


def test_subsample_keeps_class_shares_and_leaves_the_holdout():
    task = make_task(300)

    rows = subsample(task, 60, seed=1)

    assert not set(rows) & set(task.split.holdout)
    counts = np.bincount(task.y[rows])
    assert counts.max() - counts.min() <= 1
    assert abs(len(rows) - 60) <= 3


def test_estimate_tells_signal_from_noise():
    task = make_task()
    y = task.y[task.split.train_validation]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(y), 20)).astype(np.float32)
    signal = noise + 3 * np.eye(20)[y].astype(np.float32)

    assert loo_estimate(signal, y, 3, task) > 0.9
    assert loo_estimate(noise, y, 3, task) < 0.6


def screen(shelf, seconds=600.0, trials=1):
    return Screening(
        make_task(), shelf, Budget(seconds, trials), SilentProgress(), device="cpu", seed=0
    )


def test_screening_orders_by_estimate(noise_backbone):
    screening = screen(Shelf(usable=[noise_backbone, fake_backbone()]))

    assert [s.name for s in screening.run()] == ["fake/tiny", "fake/noise"]


def test_no_time_is_a_reason_not_a_crash():
    screening = screen(Shelf(usable=[fake_backbone()]), seconds=1e-6, trials=None)

    assert screening.run() == []
    assert screening.failed == [("fake/tiny", "no time left to screen it")]
