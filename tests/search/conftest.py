import dataclasses

import pytest

from autotl.data import build_task
from autotl.registry import get_registry
from autotl.search.budget import Budget
from autotl.search.engine import Search
from autotl.search.progress import SilentProgress
from autotl.search.settings import Settings
from autotl.shelf import Shelf
from autotl.testing.fakes import fake_backbone, toy_images


@pytest.fixture
def run_search():
    """Search toy images on fake backbones; returns the fitted model."""

    def run(*backbones, n=60, trials=4, seconds=600.0, progress=None, data=None, **settings):
        images, y = toy_images(n)
        given = {"X": images, "y": [f"class {code}" for code in y], **(data or {})}
        task = build_task(seed=settings.get("seed", 0), **given)
        shelf = Shelf(usable=list(backbones or [fake_backbone()]))
        search = Search(
            task,
            shelf,
            Settings(budget_seconds=seconds, trials=trials, **settings),
            Budget(seconds, trials),
            progress or SilentProgress(),
        )
        return search.run()

    return run


@pytest.fixture
def broken_adaptation(monkeypatch):
    """Register a method that raises on its second step."""
    from autotl.testing.fakes import fake_adaptation

    good = fake_adaptation()

    def steps(task, state=None):
        yield next(iter(good.steps(task, state)))
        raise ValueError("the method's own bug")

    broken = dataclasses.replace(good, name="broken", steps=steps)
    catalog = get_registry().adaptations
    monkeypatch.setitem(catalog._specs, "broken", broken)
    monkeypatch.setitem(catalog._aliases, "broken", "broken")
    return broken
