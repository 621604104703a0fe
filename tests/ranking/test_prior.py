import dataclasses
import json
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.ranking import Evidence, Prior
from autotl.ranking.evidence import Target
from autotl.ranking.prior import INPUTS, MethodGain
from autotl.registry import get_registry
from autotl.testing.fakes import fake_backbone

TARGET = Target(y=np.zeros(0, int), n_train=800, n_classes=4, prior=np.full(4, 0.25))
SHIPPED = json.loads(files("autotl.ranking").joinpath("prior.json").read_text(encoding="utf-8"))


def evidence(name, accuracy, n_samples=200, **scores):
    spec = dataclasses.replace(fake_backbone(), name=name, input_size=None)
    found = Evidence(spec=spec, target=TARGET, n_samples=n_samples, seconds_per_sample=0.01)
    found.scores |= {"ridge_loo": accuracy, "knn_loo": accuracy, **scores}
    return found


@pytest.fixture(params=SHIPPED["modalities"])
def prior(request):
    return Prior(SHIPPED["modalities"][request.param])


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8), st.floats(0.0, 1.0))
@settings(max_examples=50)
def test_another_backbone_changes_no_order_without_records(accuracies, newcomer):
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


COEFFICIENTS = {
    "level": 1.0,
    "weights": {"ridge_loo": 1.0},
    "static": {},
    "record": {"a": 1.0, "b": 0.0, "c": -1.0, "d@224": 2.0},
    "doubt": {
        "level": 0.1,
        "growth": 0.1,
        "scores": 0.01,
        "sampling": 1.0,
        "scale": 0.2,
        "record": 0.05,
    },
    "methods": {
        "lp_ft": {
            "gain": [0.5, -0.1, 0.2],
            "backbones": {"a": 0.3},
            "spread": 0.3,
            "pair_spread": 0.2,
        }
    },
}


def expected_of(shelf, **changes):
    prior = Prior({**COEFFICIENTS, **changes})
    return {e.spec.name: x for e, x in zip(shelf, prior.expect(shelf), strict=True)}


def test_records_count_with_few_samples_and_scores_with_many():
    def lead_of_b(n_samples):
        shelf = [evidence("b", 0.8, n_samples), evidence("a", 0.6, n_samples)]
        found = expected_of(shelf)
        return found["b"].expected - found["a"].expected

    assert lead_of_b(10) < 0 < lead_of_b(700)


def test_records_narrow_the_spread():
    shelf = [evidence("a", 0.8, 30), evidence("b", 0.7, 30)]

    with_records, without = expected_of(shelf), expected_of(shelf, record={})

    assert with_records["b"].spread < without["b"].spread


def test_a_backbone_without_a_record_keeps_what_its_scores_say():
    shelf = [evidence("a", 0.6), evidence("b", 0.6), evidence("new", 0.8)]

    with_records, without = expected_of(shelf), expected_of(shelf, record={})

    assert with_records["new"] == without["new"]
    assert with_records["a"].expected > without["a"].expected


def test_records_say_how_their_backbones_differ_not_how_they_stand_to_others():
    shelf = [evidence("a", 0.6), evidence("b", 0.6), evidence("new", 0.6)]
    shifted = {name: value + 3.0 for name, value in COEFFICIENTS["record"].items()}

    assert expected_of(shelf)["a"].expected == pytest.approx(
        expected_of(shelf, record=shifted)["a"].expected
    )


def test_a_record_holds_for_one_input_size():
    large = evidence("d", 0.7)
    large.spec = dataclasses.replace(large.spec, input_size=(3, 224, 224))
    small = evidence("d", 0.7)
    small.spec = dataclasses.replace(small.spec, input_size=(3, 96, 96))

    known, unknown = (expected_of([evidence("b", 0.7), e])["d"] for e in (large, small))

    assert known.expected > unknown.expected


@given(
    st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3),
    st.permutations(["a", "b", "c"]),
)
@settings(max_examples=30)
def test_the_order_of_the_shelf_changes_nothing(accuracies, names):
    shelf = [evidence(name, a) for name, a in zip(names, accuracies, strict=True)]

    found, turned = expected_of(shelf), expected_of(shelf[::-1])

    for name, expectation in found.items():
        assert turned[name].expected == pytest.approx(expectation.expected)
        assert turned[name].spread == pytest.approx(expectation.spread)


def test_gain_of_a_method_is_linear_in_what_is_expected_of_the_probe():
    prior = Prior(COEFFICIENTS)

    found = prior.method_gain("lp_ft", 2.0, float(np.e))

    assert found == MethodGain(gain=pytest.approx(0.5), spread=0.3, pair_spread=0.2)
    assert prior.method_gain("unheard_of", 2.0, 10.0) is None


def test_some_backbones_gain_more_than_others():
    prior = Prior(COEFFICIENTS)

    one, other = (
        prior.method_gain("lp_ft", 2.0, 10.0, evidence(name, 0.8).spec) for name in ("a", "b")
    )

    assert one.gain - other.gain == pytest.approx(0.3)


def test_what_a_backbone_gains_is_read_at_the_nearest_size_of_inputs():
    known = {"a@32": 0.1, "a@96": 0.2, "other@224": 0.9}
    lp_ft = {**COEFFICIENTS["methods"]["lp_ft"], "backbones": known}
    prior = Prior({**COEFFICIENTS, "methods": {"lp_ft": lp_ft}})

    def gain(name, side):
        spec = dataclasses.replace(fake_backbone(), name=name, input_size=(3, side, side))
        return prior.method_gain("lp_ft", 2.0, 10.0, spec).gain

    assert gain("a", 224) - gain("b", 224) == pytest.approx(0.2)
    assert gain("a", 40) - gain("b", 40) == pytest.approx(0.1)


def test_more_samples_mean_less_spread(prior):
    def log_odds_spread(n_samples):
        shelf = [evidence("x", 0.8, n_samples), evidence("y", 0.7, n_samples)]
        first = prior.expect(shelf)[0]
        return first.spread / (first.expected * (1 - first.expected))

    assert log_odds_spread(30) >= log_odds_spread(700) > 0


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


def test_the_shared_part_of_the_spread_is_the_same_for_all_and_within_it(prior):
    found = prior.expect([evidence("a", 0.9), evidence("b", 0.6), evidence("c", 0.4)])

    odds = [x.level_spread / (x.expected * (1 - x.expected)) for x in found]
    assert odds == pytest.approx([odds[0]] * 3)
    assert all(0 < x.level_spread < x.spread for x in found)


def test_expectations_say_what_measured_methods_add():
    shipped = Prior.load("image")
    e = evidence("a", 0.7)

    [x] = shipped.expect([e])

    n_per_class = e.target.n_train / e.target.n_classes
    odds = float(np.log(x.expected / (1 - x.expected)))
    expected = shipped.method_gain("lp_ft", odds, n_per_class, e.spec)
    assert x.methods["lp_ft"].gain == pytest.approx(expected.gain)
    assert set(x.methods) == set(shipped.coefficients["methods"])
