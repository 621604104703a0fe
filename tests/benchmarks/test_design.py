import itertools
from collections import Counter

import design
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.features import freeze_depth
from autotl.registry import get_registry

SMALL, LARGE = "embedded/glyphs", "text/minilm-6"
factor_grids = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(
    lambda sizes: {f"f{i}": tuple(range(n)) for i, n in enumerate(sizes)}
)


@given(factor_grids, st.integers(0, 300), st.integers(0, 5))
@settings(deadline=None)
def test_points_are_distinct_seeded_and_as_many_as_asked(factors, n, seed):
    chosen = design.balanced(factors, n, (seed,))
    again = design.balanced(factors, n, (seed,))

    n_points = len(list(itertools.product(*factors.values())))
    assert len(chosen) == len({tuple(p.values()) for p in chosen}) == min(n, n_points)
    assert chosen == again


@given(factor_grids, st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
@settings(deadline=None)
def test_what_is_taken_is_not_chosen_again(factors, n, n_more, seed):
    first = design.balanced(factors, n, (seed,))
    more = design.balanced(factors, n_more, (seed + 1,), taken=first)

    assert not any(point in first for point in more)


@pytest.mark.parametrize("seed", range(5))
def test_every_beginning_uses_levels_alike(seed):
    factors = {"rate": tuple(range(5)), "method": ("a", "b"), "epochs": (5, 15)}
    chosen = design.balanced(factors, 20, (seed,))

    for n in range(1, 21):
        for name, levels in factors.items():
            counts = Counter(point[name] for point in chosen[:n])
            used = [counts[level] for level in levels]
            assert max(used) - min(used) <= 2
    assert len({tuple(p.values()) for p in chosen}) == 20


def test_the_coarse_round_is_the_same_for_all_pairs_and_the_refined_one_is_not():
    def configs(round_, pair):
        return design.tuned_configs(round_, SMALL, 20, images=True, seed=(0, pair))

    assert configs("coarse", 1) == configs("coarse", 2)
    assert configs("refined", 1) != configs("refined", 2)


def test_the_short_round_is_the_part_of_the_coarse_one_with_few_epochs():
    short, coarse = (
        design.tuned_configs(round_, SMALL, 20, images=True, seed=(0, 1))
        for round_ in ("short", "coarse")
    )

    assert {config["epochs"] for config in short} == {5}
    assert [config for config in coarse if config["epochs"] == 5] == short
    assert len(short) < len(coarse)


@given(
    st.integers(1, 30), st.booleans(), st.sampled_from([SMALL, LARGE]), st.integers(0, 2**32 - 1)
)
@settings(deadline=None, max_examples=40)
def test_each_configuration_is_measured_once_with_each_depth_under_one_name(
    n_groups, images, backbone, pair
):
    rounds = [
        design.tuned_configs(r, backbone, n_groups, images=images, seed=(0, pair))
        for r in ("coarse", "refined")
    ]
    both = [*rounds[0], *rounds[1]]

    assert all(rounds)
    assert len({tuple(sorted(c.items())) for c in both}) == len(both)
    depths = {(freeze_depth(c["freeze_fraction"], n_groups), c["freeze_fraction"]) for c in both}
    assert len(depths) == len({depth for depth, _ in depths})


def test_only_small_backbones_are_tuned_from_the_beginning():
    def fractions(backbone):
        rounds = ("coarse", "refined")
        found = [design.tuned_configs(r, backbone, 100, images=True, seed=(0, 1)) for r in rounds]
        return {config["freeze_fraction"] for configs in found for config in configs}

    assert fractions(LARGE) == {0.5, 0.75, 0.9}
    assert fractions(SMALL) == {0.0, 0.25, 0.5, 0.75, 0.9}


def test_most_curves_are_cheap_tails():
    both = [
        config
        for round_ in ("coarse", "refined")
        for config in design.tuned_configs(round_, LARGE, 100, images=False, seed=(0, 1))
    ]
    tails = [config for config in both if config["freeze_fraction"] >= 0.75]
    assert len(tails) > len(both) / 2


@pytest.mark.parametrize("name", design.TUNED)
def test_parameters_lie_in_the_method_s_own_space(name):
    spec = get_registry().adaptations.get(name)
    for config in design.tuned_configs("coarse", SMALL, 20, images=True, seed=(0, 1)):
        params = design.full_params(spec, config)
        assert set(params) == set(spec.space)
        assert params["lr"] == config["lr"]
        for key, dimension in spec.space.items():
            options = getattr(dimension, "options", None)
            if options is not None:
                assert params[key] in options
            else:
                assert dimension.low <= params[key] <= dimension.high
