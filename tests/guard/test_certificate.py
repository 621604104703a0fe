import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.errors import InvalidDataError
from autotl.guard import certify, plan_walk


def walk_of(n, **keywords):
    return plan_walk("accuracy", np.zeros(n, int), **keywords)


def draw(rng, n, *, floor=0.8, gap=0.0, discordance=0.2):
    """Who is right on which example: the floor, and a candidate that is worse by `gap`."""
    u = rng.random(n)
    lost, won = (discordance + gap) / 2, (discordance - gap) / 2
    first = rng.random(n) < floor
    floor_right = np.where(u < lost, True, np.where(u < lost + won, False, first))
    candidate = np.where(u < lost, False, np.where(u < lost + won, True, first))
    return candidate, floor_right


def test_seven_losses_in_a_row_are_enough():
    floor = np.ones(10, bool)

    found = certify(walk_of(10), ~floor, floor)

    assert found.finding == "negative"
    assert found.n_examples == 7
    wealth = 6 * (3 * (2**12 - 1) / 12 - (2**13 - 1) / 13 - 2 * (2**11 - 1) / 11)
    assert found.log_e_negative == pytest.approx(np.log(wealth))


@settings(max_examples=60, deadline=None)
@given(data=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80), groups=st.booleans())
def test_swapping_roles_swaps_certificates(data, groups):
    one, other = np.array(data, bool).reshape(-1, 2).T
    walk = walk_of(len(one), groups=np.arange(len(one)) // 3 if groups else None)

    found, swapped = certify(walk, one, other), certify(walk, other, one)

    signs = {"negative": "positive", "positive": "negative", "inconclusive": "inconclusive"}
    assert swapped.finding == signs[found.finding]
    assert swapped.n_examples == found.n_examples
    assert swapped.log_e_negative == found.log_e_positive
    assert swapped.log_e_positive == found.log_e_negative


def test_what_comes_after_the_finding_does_not_change_it():
    rng = np.random.default_rng(0)
    candidate, floor = draw(rng, 400, gap=0.18)
    walk = walk_of(400)

    whole = certify(walk, candidate, floor)
    until = certify(walk, candidate[: whole.n_examples], floor[: whole.n_examples])
    before = certify(walk, candidate[: whole.n_examples - 1], floor[: whole.n_examples - 1])

    assert whole.finding == until.finding == "negative"
    assert whole.n_examples == until.n_examples
    assert before.finding == "inconclusive"


def false_findings(draw_case, n_repetitions=600):
    found = [certify(*draw_case()).finding for _ in range(n_repetitions)]
    return found.count("negative") / len(found), found.count("positive") / len(found)


def test_equals_are_seldom_found_different():
    rng = np.random.default_rng(1)
    walk = walk_of(500)

    shares = false_findings(lambda: (walk, *draw(rng, 500)))

    assert max(shares) <= 0.05


@pytest.mark.parametrize(
    ("kind", "rare", "lost", "won"),
    [
        ("accuracy", 0.5, (0.05, 0.25), (0.25, 0.05)),
        ("balanced_accuracy", 0.1, (0.1, 0.4), (0.3, 0.2)),
    ],
)
def test_equals_are_seldom_found_different_in_strata(kind, rare, lost, won):
    # Better on the common class by as much as worse on the rare one, in fixed numbers of each.
    rng = np.random.default_rng(2)
    y = (np.arange(300) < 300 * rare).astype(int)

    def case():
        walk = plan_walk(kind, y, class_shares=np.array([1 - rare, rare]), seed=rng.integers(1e9))
        classes, u = y[walk.order], rng.random(300)
        return walk, u > 1 - np.array(won)[classes], u < np.array(lost)[classes]

    assert max(false_findings(case)) <= 0.05


def test_equals_are_seldom_found_different_in_groups():
    # All of a group goes one way: taken one by one, examples would be sure evidence.
    rng = np.random.default_rng(3)
    walk, single = walk_of(400, groups=np.arange(400) // 10), walk_of(400)

    def right():
        sign = rng.choice([-1, 0, 1], 40, p=[0.3, 0.4, 0.3])[walk.units]
        return sign > 0, sign < 0

    assert max(false_findings(lambda: (walk, *right()), 300)) <= 0.05
    assert max(false_findings(lambda: (single, *right()), 100)) > 0.2


def test_balanced_accuracy_weighs_the_rare_class():
    y = np.repeat([0, 1], [180, 20])
    plain = plan_walk("accuracy", y)
    balanced = plan_walk("balanced_accuracy", y, class_shares=np.array([0.9, 0.1]))
    common = y[plain.order] == 0
    candidate = common & (np.cumsum(common) % 5 == 0)  # wins 36 of 180, loses 20 of 20

    found, weighted = certify(plain, candidate, ~common), certify(balanced, candidate, ~common)

    assert found.log_e_positive > found.log_e_negative
    assert weighted.log_e_negative > 2 > weighted.log_e_positive


def test_margin_asks_for_more():
    rng = np.random.default_rng(5)
    walk = walk_of(800)

    found = [certify(walk, *draw(rng, 800, gap=0.05), margin=0.05).finding for _ in range(200)]
    beyond = [certify(walk, *draw(rng, 800, gap=0.2), margin=0.05).finding for _ in range(50)]

    assert found.count("negative") / 200 <= 0.05
    assert beyond.count("negative") / 50 >= 0.9


def test_no_examples_are_inconclusive():
    found = certify(walk_of(0), np.zeros(0, bool), np.zeros(0, bool))

    assert (found.finding, found.n_examples, found.log_e_negative) == ("inconclusive", 0, 0.0)


@pytest.mark.parametrize(
    ("candidate", "floor", "message"),
    [
        ([1, 0, 1], [1, 0], "candidate has 3 examples but floor has 2"),
        ([1, 0, 2], [1, 0, 1], "candidate holds"),
        ([1, 0, np.nan], [1, 0, 1], "candidate holds"),
        ([[1], [0]], [1, 0], r"candidate has shape \(2, 1\)"),
        ([1] * 5, [0] * 5, "5 examples were read, but the walk has 4"),
    ],
)
def test_what_is_not_right_or_wrong_is_refused(candidate, floor, message):
    with pytest.raises(InvalidDataError, match=message):
        certify(walk_of(4), np.array(candidate), np.array(floor))


@pytest.mark.parametrize("keywords", [{"alpha": 0}, {"alpha": 1.0}, {"margin": -0.1}])
def test_levels_out_of_range_are_refused(keywords):
    with pytest.raises(InvalidDataError, match="Expected a"):
        certify(walk_of(1), np.ones(1, bool), np.ones(1, bool), **keywords)
