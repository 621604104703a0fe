import optuna
import pytest

from autotl.errors import PluginError, SpaceChangedError
from autotl.search.settings import select_adaptations
from autotl.search.study.space import SearchSpace
from autotl.specs import AdaptationSpec, Choice, Range


@pytest.fixture
def space():
    return SearchSpace(["a/one", "b/two"], select_adaptations(None))


@pytest.mark.parametrize("adaptation", ["linear_probe", "lp_ft", "fine_tune"])
def test_enqueued_default_comes_back(space, adaptation):
    study = optuna.create_study()
    candidate = space.default("b/two", adaptation)
    study.enqueue_trial(space.to_optuna(candidate))

    assert space.suggest(study.ask()) == candidate


def test_suggested_values_lie_inside_the_space(space):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    for _ in range(30):
        candidate = space.suggest(study.ask())
        assert set(candidate.params) == set(space.adaptations[candidate.adaptation].space)
        spec = space.adaptations[candidate.adaptation]
        assert 0 <= candidate.freeze_fraction(spec) <= 1


def test_changed_space_says_what_has_changed(space):
    SearchSpace(["b/two", "a/one"], select_adaptations(None)).check(space.described())
    other = SearchSpace(["a/one", "c/three"], select_adaptations(["linear_probe"]))

    with pytest.raises(SpaceChangedError) as caught:
        other.check(space.described())
    for change in ("'c/three' was added", "'b/two' was removed", "'lp_ft' was removed"):
        assert change in str(caught.value)


def test_method_that_trains_without_a_fraction_is_not_frozen(space):
    import dataclasses

    spec = dataclasses.replace(space.adaptations["lp_ft"], space={}, defaults={})
    candidate = SearchSpace(["a/one"], [spec]).default("a/one", "lp_ft")

    assert candidate.freeze_fraction(spec) == 0.0


def test_shared_names_of_different_kinds_are_kept_apart():
    import dataclasses

    from autotl.specs import Range

    first, second = select_adaptations(["lp_ft", "fine_tune"])
    second = dataclasses.replace(
        second, space={"lr": Range(low=0.0, high=1.0)}, defaults={"lr": 0.5}
    )
    space = SearchSpace(["a/one"], [first, second])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    chosen = {space.suggest(study.ask()).adaptation for _ in range(20)}

    assert chosen == {"lp_ft", "fine_tune"}


def conditional():
    return AdaptationSpec(
        name="tune",
        steps=None, restore=None,
        space={
            "mode": Choice(options=("plain", "strong")),
            "strength": Range(low=0.1, high=10.0, log=True, when={"mode": ("strong",)}),
        },
        defaults={"mode": "plain", "strength": 1.0},
    )  # fmt: skip


def test_a_parameter_that_does_not_matter_keeps_its_default_and_is_not_stored():
    space = SearchSpace(["a/one"], [conditional()])
    plain = space.default("a/one", "tune", strength=7.0)
    strong = space.default("a/one", "tune", mode="strong", strength=7.0)

    assert plain.params == {"mode": "plain", "strength": 1.0}
    assert "tune.strength" not in space.to_optuna(plain)
    assert "tune.strength" not in space.distributions(plain)
    assert space.from_optuna(space.to_optuna(plain)) == plain
    assert space.from_optuna(space.to_optuna(strong)) == strong
    assert set(space.distributions(strong)) == set(space.to_optuna(strong))


def test_a_trial_is_asked_only_for_what_matters():
    space = SearchSpace(["a/one"], [conditional()])

    for mode in ("plain", "strong"):
        wanted = space.to_optuna(space.default("a/one", "tune", mode=mode))
        asked = []

        class Trial:
            def suggest(self, name, *_args, wanted=wanted, asked=asked, **_kwargs):
                asked.append(name)
                return wanted[name]

            suggest_categorical = suggest_float = suggest_int = suggest

        candidate = space.suggest(Trial())

        assert candidate.params["mode"] == mode
        assert ("tune.strength" in asked) == (mode == "strong")


def test_a_condition_must_name_what_stands_before():
    with pytest.raises(PluginError, match="must stand before"):
        AdaptationSpec(
            name="tune", steps=None, restore=None,
            space={"strength": Range(low=0, high=1, when={"mode": ("strong",)})},
            defaults={"strength": 0.5},
        )  # fmt: skip
