import optuna
import pytest

from autotl.errors import SpaceChangedError
from autotl.search.settings import select_adaptations
from autotl.search.study.space import SearchSpace


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
