import numpy as np
import pytest
from guard import (
    FLOOR,
    draw,
    early_stops,
    false_flags,
    groups_of_ten,
    mcnemar_stops,
    planted_cases,
    power_table,
)


@pytest.mark.parametrize(("gap", "discordance"), [(0.0, 0.2), (0.1, 0.25), (0.2, 0.2)])
def test_pairs_have_the_gap_and_the_discordance(gap, discordance):
    candidate, floor = draw(np.random.default_rng(0), 40_000, gap, discordance)

    assert floor.mean() - candidate.mean() == pytest.approx(gap, abs=0.01)
    assert np.mean(floor != candidate) == pytest.approx(discordance, abs=0.01)


def test_naive_tests_look_after_each_twenty():
    floor = np.ones(40, bool)
    late = np.arange(40) < 20  # all that speaks against the candidate comes at the end

    assert mcnemar_stops(late, floor)
    assert not mcnemar_stops(late[:25], floor[:25])


def test_groups_go_the_same_way():
    walk, candidate, floor = groups_of_ten(np.random.default_rng(0))

    for unit in np.unique(walk.units):
        rows = walk.units == unit
        assert len(set(candidate[rows])) == len(set(floor[rows])) == 1


def test_planted_cases_stop_the_sooner_the_worse(capsys):
    found = planted_cases(np.random.default_rng(0), 60)

    stops = [row["500"]["stopped"] for row in found.values()]
    assert stops[:3] == [1, 1, 1]
    assert stops[-1] == 0  # the helpful one
    examples = [row["500"]["examples"] for row in found.values()][:4]
    assert examples == sorted(examples)
    assert str(FLOOR) in capsys.readouterr().out


def test_every_mixture_of_flags_is_reported():
    found = false_flags(np.random.default_rng(0), 2)

    assert len(found) == 5
    assert all(0 <= row["fdr"] <= 1 and 0 <= row["power"] <= 1 for row in found.values())


def test_early_stops_compare_three_calibrations_on_the_same_draws():
    found = early_stops(np.random.default_rng(0), 1)

    assert set(found) == {"start", "survivors", "audits"}
    assert all(0 <= found[mode]["saved"] < 1 for mode in found)


def test_power_grows_with_the_gap():
    found = power_table(np.random.default_rng(0), 20)

    powers = [row["power"] for row in found["500, 0.16-0.32, 1"].values()]
    assert powers == sorted(powers)
    assert powers[-1] == 1
