import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.search.study.belief import Belief, expected_improvement
from autotl.search.study.posterior import MethodPrior, Posterior, Scale

METHODS = {
    "probe": MethodPrior(gain=0.0, spread=0.05, pair_spread=0.1, params_spread=0.08),
    "tuned": MethodPrior(gain=0.05, spread=0.35, pair_spread=0.25, params_spread=0.2),
}
BACKBONES = {"a": (0.8, 0.03), "b": (0.7, 0.05), "c": None}
PAIRS = [(b, m) for b in BACKBONES for m in METHODS]

pairs = st.sampled_from(PAIRS)
shares = st.floats(0.0, 1.0)
readings = st.lists(st.tuples(pairs, shares), max_size=8)


def posterior(told=(), *, backbones=BACKBONES, share=True, level_spread=0.5, n_samples=None):
    found = Posterior(
        backbones, METHODS, Scale(level_spread=level_spread, share=share, n_samples=n_samples)
    )
    for pair, value in told:
        found.tell(pair, value)
    return found


def belief(told, pair, **how):
    return posterior(told, **how).beliefs([pair])[0]


def log_odds(p):
    return np.log(p / (1 - p))


@given(readings, pairs, st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_value_above_the_mean_never_lowers_the_mean(told, pair, above):
    before = belief(told, pair).mean
    value = before + above * (1 - before)

    after = belief([*told, (pair, value)], pair).mean

    assert after >= min(before, 0.999) - 1e-6  # shares nearer to one count as 0.999


@given(readings, pairs, st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_first_value_below_the_mean_never_raises_the_mean(told, pair, below):
    told = [(p, v) for p, v in told if p != pair]
    before = belief(told, pair).mean

    after = belief([*told, (pair, before * below)], pair).mean

    assert after <= max(before, 0.001) + 1e-6


@given(readings, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_trials_and_of_pairs_changes_nothing(told, random):
    turned, asked = list(told), list(PAIRS)
    random.shuffle(turned)
    random.shuffle(asked)

    one = dict(zip(PAIRS, posterior(told).beliefs(PAIRS), strict=True))
    other = dict(zip(asked, posterior(turned).beliefs(asked), strict=True))

    for pair in PAIRS:
        assert other[pair].mean == pytest.approx(one[pair].mean, abs=1e-9)
        assert other[pair].sd == pytest.approx(one[pair].sd, abs=1e-9)


@given(readings)
@settings(max_examples=60, deadline=None)
def test_beliefs_in_shares_are_shares_with_a_positive_spread(told):
    for b in posterior(told).beliefs(PAIRS):
        assert 0 < b.mean < 1
        assert np.isfinite(b.sd)
        assert b.sd > 0


@given(st.floats(0.02, 0.98), st.floats(0.001, 0.1))
@settings(max_examples=30, deadline=None)
def test_without_trials_the_prior_stands(share, spread):
    shelf = {"a": (share, spread)}
    prior = posterior(backbones=shelf).beliefs([("a", "probe"), ("a", "tuned")])

    assert prior[0].mean == pytest.approx(share, abs=1e-9)
    assert prior[1].mean > share  # tuning is worth a little on average
    assert prior[0].sd > spread  # the level, the method and the parameters add doubt


def test_trials_of_one_pair_teach_of_what_shares_a_part_with_it():
    told = [(("a", "probe"), 0.95)]
    before = dict(zip(PAIRS, posterior().beliefs(PAIRS), strict=True))
    after = dict(zip(PAIRS, posterior(told).beliefs(PAIRS), strict=True))

    gain = {p: log_odds(after[p].mean) - log_odds(before[p].mean) for p in PAIRS}
    assert gain["a", "probe"] > gain["a", "tuned"]
    assert gain["a", "tuned"] > gain["b", "tuned"] > 0  # the backbone's part, then the level
    assert after["a", "probe"].sd < before["a", "probe"].sd


def test_more_trials_make_surer():
    spreads = [belief([(("a", "tuned"), 0.8)] * n, ("a", "tuned")).sd for n in range(6)]

    assert spreads == sorted(spreads, reverse=True)


def test_many_trials_outweigh_the_prior():
    told = [(("a", "tuned"), 0.31)] * 60

    assert belief(told, ("a", "tuned")).mean == pytest.approx(0.31, abs=0.03)


def test_an_unknown_backbone_counts_as_a_poor_one_with_much_doubt():
    known, worst, unknown = posterior().beliefs([("a", "probe"), ("b", "probe"), ("c", "probe")])

    assert unknown.mean == pytest.approx(worst.mean)
    assert unknown.mean < known.mean
    assert unknown.sd > worst.sd


def test_nothing_but_unknown_backbones():
    one, other = posterior(backbones={"x": None, "y": None}).beliefs(
        [("x", "probe"), ("y", "probe")]
    )

    assert one == other
    assert one.mean == pytest.approx(0.5)


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_expectations_and_values_at_the_edge(edge):
    shelf = {"a": (edge, 0.0), "b": (0.5, 0.1)}
    told = [(("a", "probe"), edge), (("b", "tuned"), 1 - edge), (("a", "probe"), edge)]

    for b in posterior(told, backbones=shelf).beliefs([(n, m) for n in shelf for m in METHODS]):
        assert 0 < b.mean < 1
        assert 0 < b.sd < 10
        assert 0 <= b.chance(0.5) <= 1
        assert b.improvement(0.5) >= 0


def test_values_of_other_metrics_are_taken_as_they_are():
    told = [(("a", "probe"), -0.7), (("a", "probe"), -0.6), (("b", "probe"), -1.9)]

    a, b = posterior(told, share=False, level_spread=2.0).beliefs([("a", "probe"), ("b", "probe")])

    assert a.mean == pytest.approx(-0.6, abs=0.2)  # the best of a pair, not a share
    assert b.mean == pytest.approx(-1.9, abs=0.3)
    assert belief([(("a", "probe"), 7.0)], ("a", "probe"), share=False).mean > 1


def test_no_pairs_no_beliefs():
    assert posterior([(("a", "probe"), 0.5)]).beliefs([]) == []


@given(st.floats(-1, 1), st.floats(0.0, 1.0), st.floats(-1, 1))
@settings(max_examples=60, deadline=None)
def test_improvement_is_that_of_a_gaussian(mean, sd, best):
    found = expected_improvement(mean, sd, best)
    z = (np.arange(20_000) + 0.5) / 20_000
    draws = mean + sd * _normal_quantiles(z)

    assert found == pytest.approx(np.maximum(draws - best, 0).mean(), abs=2e-3)
    assert found >= max(mean - best, 0) - 1e-9


def _normal_quantiles(z):
    from scipy.special import ndtri

    return ndtri(z)


def test_improvement_grows_with_mean_and_doubt():
    assert Belief(mean=0.8, sd=0.1).improvement(0.9) > Belief(mean=0.7, sd=0.1).improvement(0.9)
    assert Belief(mean=0.8, sd=0.2).improvement(0.9) > Belief(mean=0.8, sd=0.1).improvement(0.9)
    assert Belief(mean=0.8, sd=0.1).chance(0.9) == pytest.approx(0.1587, abs=1e-3)


@given(st.sampled_from(list(BACKBONES)), st.integers(5, 500), st.integers(5, 500))
@settings(max_examples=40, deadline=None)
def test_a_value_on_few_samples_says_less_of_other_pairs(backbone, n, more):
    told, other = [((backbone, "probe"), 0.5)], (backbone, "tuned")
    before = belief([], other).mean

    few = belief(told, other, n_samples=min(n, more)).mean
    many = belief(told, other, n_samples=max(n, more)).mean

    assert abs(few - before) <= abs(many - before) + 1e-9


def test_luck_with_the_samples_is_taken_off_and_promises_nothing():
    told = [(("a", "tuned"), 0.9)] * 3
    few, many = (posterior(told, n_samples=n) for n in (30, 3000))

    assert few.reached() < many.reached() < 0.9
    (one,), (other,) = (p.beliefs([("a", "tuned")]) for p in (few, many))
    assert one.log_odds[1] == pytest.approx(other.log_odds[1])


def test_nothing_is_reached_before_a_trial():
    assert posterior().reached() is None


def test_a_perfect_score_on_few_samples_leaves_room_for_a_gain():
    few, many = (posterior(n_samples=n) for n in (20, 2000))

    assert few.within(1.0) == pytest.approx(0.975)
    assert many.within(1.0) == 0.999
    assert few.within(0.6) == 0.6


def test_what_a_method_adds_may_depend_on_the_backbone():
    found = Posterior(BACKBONES, METHODS, Scale(), gains={("a", "tuned"): 1.0})

    of_a, of_b = found.beliefs([("a", "tuned"), ("b", "tuned")])

    assert log_odds(of_a.mean) == pytest.approx(log_odds(0.8) + 1.0)
    assert log_odds(of_b.mean) == pytest.approx(log_odds(0.7) + METHODS["tuned"].gain)


def test_parameters_that_change_little_are_expected_to_go_on_so():
    alike = [(("a", "tuned"), value) for value in (0.80, 0.801, 0.799, 0.80)]
    apart = [(("a", "tuned"), value) for value in (0.80, 0.60, 0.75, 0.65)]

    for pair in (("a", "tuned"), ("b", "tuned")):  # of the method, on any backbone
        assert belief(alike, pair).sd < belief(apart, pair).sd
    assert belief(alike, ("a", "tuned")).sd < belief(alike[:1], ("a", "tuned")).sd / 2


def test_what_was_reached_on_many_samples_is_what_was_read():
    told = [(("a", "tuned"), 0.9), (("a", "tuned"), 0.7), (("b", "probe"), 0.75)]

    assert posterior(told).reached() == pytest.approx(0.9, abs=1e-6)
    assert 0.8 < posterior(told, n_samples=30).reached() < 0.9


def test_a_variant_is_known_from_what_it_is_a_variant_of():
    methods = {
        "tuned": MethodPrior(gain=0.2, spread=0.4, pair_spread=0.3),
        "variant": MethodPrior(gain=0.1, spread=0.05, pair_spread=0.05, over="tuned"),
        "stranger": MethodPrior(gain=0.1, spread=0.4, pair_spread=0.3),
    }
    backbones = {"a": (0.7, 0.05), "b": (0.6, 0.05)}
    before = Posterior(backbones, methods, Scale(n_samples=10_000))
    after = Posterior(backbones, methods, Scale(n_samples=10_000))
    after.tell(("a", "tuned"), 0.9)

    pairs = [("a", "variant"), ("a", "stranger")]
    (variant, stranger), then = after.beliefs(pairs), before.beliefs(pairs)

    assert variant.mean > stranger.mean > then[1].mean
    assert variant.mean == pytest.approx(0.9, abs=0.04)


def test_covariances_are_those_of_one_joint_distribution():
    methods = {
        "tuned": MethodPrior(spread=0.4, pair_spread=0.3),
        "variant": MethodPrior(spread=0.1, pair_spread=0.1, over="tuned"),
        "other": MethodPrior(spread=0.2, pair_spread=0.1, over="tuned"),
    }
    posterior = Posterior({"a": (0.7, 0.05), "b": (0.6, 0.05)}, methods, Scale())
    pairs = [(b, m) for b in ("a", "b") for m in methods]

    K = posterior._covariance(pairs, pairs)

    assert np.allclose(K, K.T)
    assert np.linalg.eigvalsh(K).min() > -1e-9
    assert np.allclose(np.diag(K), [posterior._variance(p) for p in pairs])
