import dataclasses
import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.ranking import Evidence, Prior
from autotl.ranking.evidence import Target
from autotl.ranking.prior import INPUTS
from autotl.registry import get_registry
from autotl.testing.fakes import fake_backbone

TARGET = Target(y=np.zeros(0, int), n_train=800, n_classes=4, prior=np.full(4, 0.25))
SHIPPED = json.loads(files("autotl.ranking").joinpath("prior.json").read_text(encoding="utf-8"))


def evidence(name, accuracy, n_samples=200, **scores):
    spec = dataclasses.replace(fake_backbone(), name=name)
    found = Evidence(spec=spec, target=TARGET, n_samples=n_samples, seconds_per_sample=0.01)
    found.scores |= {"ridge_loo": accuracy, "knn_loo": accuracy, **scores}
    return found


@pytest.fixture(params=SHIPPED["modalities"])
def prior(request):
    return Prior(SHIPPED["modalities"][request.param])


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8), st.floats(0.0, 1.0))
@settings(max_examples=50)
def test_another_backbone_changes_no_order(accuracies, newcomer):
    prior = Prior.load("image")
    shelf = [evidence(str(i), a) for i, a in enumerate(accuracies)]

    before = [x.expected for x in prior.expect(shelf)]
    after = [x.expected for x in prior.expect([*shelf, evidence("new", newcomer)])][:-1]

    for i in range(len(shelf)):
        for j in range(len(shelf)):
            if before[i] > before[j] + 1e-9:
                assert after[i] > after[j]


def test_better_features_are_expected_to_be_better(prior):
    shelf = [evidence("a", 0.9), evidence("b", 0.6), evidence("c", 0.3)]

    expected = [x.expected for x in prior.expect(shelf)]

    assert expected == sorted(expected, reverse=True)
    assert all(0 < e < 1 for e in expected)


def test_missing_input_counts_as_the_mean(prior):
    shelf = [evidence("a", 0.8, logme=0.1), evidence("b", 0.8, logme=0.3)]
    blind = evidence("c", 0.8)

    *_, last = prior.expect([*shelf, blind])
    middle = evidence("d", 0.8, logme=0.2)
    *_, known = prior.expect([*shelf, middle])

    assert last.expected == pytest.approx(known.expected)


def test_more_samples_mean_less_spread(prior):
    few, many = (
        prior.expect([evidence("a", 0.8, n), evidence("b", 0.7, n)])[0].spread for n in (30, 3000)
    )

    assert few >= many > 0


def test_speed_of_the_machine_changes_nothing(prior):
    shelf = [evidence("a", 0.8), evidence("b", 0.7)]
    slower = [dataclasses.replace(e, seconds_per_sample=7.0 / e.scores["knn_loo"]) for e in shelf]

    assert prior.expect(shelf) == prior.expect(slower)


def test_extreme_evidence_stays_inside_the_unit_interval(prior):
    for expectation in prior.expect([evidence("a", 1.0), evidence("b", 0.0)]):
        assert 0 <= expectation.expected <= 1
        assert np.isfinite([expectation.spread, expectation.static]).all()


def test_nothing_seen_gives_nothing(prior):
    assert prior.expect([]) == []


def test_shipped_inputs_exist(prior):
    registry = get_registry()
    known = {*registry.scores.names(), *registry.similarities.names()}

    assert set(prior.coefficients["weights"]) <= INPUTS.keys()
    assert prior.needs - set(INPUTS) == set()
    facts = {"log_params", "published_accuracy"}
    assert prior.needs <= known | facts


def test_unknown_modality_gets_the_general_prior():
    assert Prior.load("smells").coefficients == SHIPPED["modalities"]["any"]
