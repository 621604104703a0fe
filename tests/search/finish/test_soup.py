"""Averaging the weights of a study's own networks."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.adapt import TunedNetwork
from autotl.data import build_task
from autotl.features import BackboneSession
from autotl.registry import get_registry
from autotl.search.finish import soup as soups
from autotl.search.finish.again import Contender, fit_again
from autotl.search.finish.soup import find_soup, stir
from autotl.search.study.candidate import Candidate, Outcome
from autotl.testing.fakes import fake_backbone, fake_modality, toy_images


@pytest.fixture(scope="module")
def kitchen():
    """A task, and contenders that were fitted on its first fold."""
    images, y = toy_images(60)
    task = build_task(images, [f"class {code}" for code in y])
    task = replace(task, modality=fake_modality())
    session = BackboneSession(fake_backbone(), task.samples, fake_modality())
    found = []
    for trial, method in enumerate(("fine_tune", "lp_ft", "linear_probe")):
        spec = get_registry().adaptations.get(method)
        candidate = Candidate(
            backbone=session.spec.name, adaptation=method, params=dict(spec.defaults)
        )
        outcome = Outcome(
            trial=trial, candidate=candidate, state="complete", value=0.5, steps=2,
            planned_steps=2, tuned=spec.trains_backbone,
        )  # fmt: skip
        contender = Contender(outcome=outcome, spec=spec, session=session)
        fitted = fit_again(contender, task, task.split.folds[0].train, seed=trial)
        outcome.saved = fitted.save()
        found.append(contender)
    return task, found


def of(outcome):
    return outcome.saved


def lead_of(low):
    """Stand in for the interval that decides."""

    def compare(task, one, other, rows, confidence):
        return replace(_COMPARE(task, one, other, rows, confidence), low=low)

    return compare


_COMPARE = soups.compare


def test_what_may_be_chance_is_not_averaged(kitchen, monkeypatch):
    task, found = kitchen
    monkeypatch.setattr(soups, "compare", lead_of(-0.01))

    assert find_soup(found[0], found, task, of) is None


def test_parts_sum_to_one_and_lead_by_more_than_a_standard_error(kitchen, monkeypatch):
    task, found = kitchen
    monkeypatch.setattr(soups, "compare", lead_of(0.01))
    soup = find_soup(found[0], found, task, of)

    assert sum(weight for weight, _ in soup.parts) == pytest.approx(1.0)
    assert soup.parts[0][1] is found[0]


def test_only_a_tuned_finalist_is_averaged(kitchen):
    task, found = kitchen

    assert find_soup(found[2], found, task, of) is None


def test_what_was_fitted_again_is_averaged_as_it_was_found(kitchen):
    task, found = kitchen
    lead = soups.compare(
        task, *(np.full((len(task.split.folds[0].validation), 3), 1 / 3),) * 2,
        task.split.folds[0].validation, 0.683,
    )  # fmt: skip
    soup = soups.Soup(parts=((0.5, found[0]), (0.5, found[2])), lead=lead)

    used, saved = stir(soup, [found[0].outcome.saved, found[2].outcome.saved], task)

    network, tuned = TunedNetwork.restore(saved), TunedNetwork.restore(found[0].outcome.saved)
    state = found[0].session.inputs(np.arange(3)).load_backbone(0).module.state_dict()
    name = next(n for n in tuned.changed if tuned.changed[n].is_floating_point())
    assert used.used
    assert np.allclose(network.changed[name], (tuned.changed[name] + state[name]) / 2, atol=1e-6)
