from dataclasses import replace

import optuna
import pytest

from autotl.search.settings import select_adaptations
from autotl.search.study.belief import Belief
from autotl.search.study.chooser import Start
from autotl.search.study.sampler import TransferSampler
from autotl.search.study.space import SearchSpace

SPACE = SearchSpace(["a/one", "b/two"], select_adaptations(None))


def start(backbone, adaptation, **params):
    candidate = SPACE.default(backbone, adaptation, **params) if params else None
    return Start(
        pair=(backbone, adaptation), candidate=candidate, belief=Belief(mean=0.5, sd=0.1),
        cost=1.0, gain=0.1,
    )  # fmt: skip


@pytest.fixture
def study():
    """Return a study and the list of what is to be chosen next."""
    queue = []
    sampler = TransferSampler(lambda: queue.pop(0) if queue else None, SPACE, 0)
    made = optuna.create_study(direction="maximize", sampler=sampler)
    made.queue = queue
    return made


def ask(study, chosen):
    study.queue.append(chosen)
    trial = study.ask()
    return SPACE.suggest(trial), trial


def test_a_whole_candidate_is_tried_as_it_is(study):
    found, _ = ask(study, start("b/two", "lp_ft", lr=1e-4, epochs=11, augment=0.7))

    assert found.key() == SPACE.default("b/two", "lp_ft", lr=1e-4, epochs=11, augment=0.7).key()


def test_the_pair_is_the_chooser_s_and_the_rest_is_drawn(study):
    drawn = [ask(study, start("b/two", "fine_tune"))[0] for _ in range(4)]

    assert {(c.backbone, c.adaptation) for c in drawn} == {("b/two", "fine_tune")}
    assert len({c.params["lr"] for c in drawn}) == 4


def test_no_more_layers_are_trained_than_fit(study):
    limited = replace(start("b/two", "fine_tune"), least_frozen=0.6)

    drawn = [ask(study, limited)[0].params["freeze_fraction"] for _ in range(12)]

    assert min(drawn) == 0.6
    assert len(set(drawn)) > 1


def test_a_choice_serves_one_trial_only(study):
    ask(study, start("b/two", "lp_ft", lr=1e-4))
    drawn = [ask(study, None)[0] for _ in range(12)]

    assert {c.backbone for c in drawn} == {"a/one", "b/two"}
    assert sum(c.params.get("lr") == 1e-4 for c in drawn) == 0


def test_a_trial_that_waits_is_what_it_was_enqueued_as(study):
    waiting = SPACE.default("a/one", "fine_tune", epochs=9)
    study.enqueue_trial(SPACE.to_optuna(waiting))

    found, _ = ask(study, start("b/two", "lp_ft", lr=1e-4))

    assert found.key() == waiting.key()


def test_all_states_of_trials_are_learnt_from(study):
    from optuna.trial import TrialState

    for k in range(15):  # beyond the random start of TPE
        found, trial = ask(study, start("a/one", "lp_ft", lr=1e-5 * (k + 1)))
        trial.set_constraint("negative_transfer", 0.1 * (k % 3) - 0.1)
        state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[k % 3]
        study.tell(trial, 0.1 * k if k % 3 == 0 else None, state)
    found, _ = ask(study, start("a/one", "lp_ft"))

    assert found.params["lr"] > 0


def test_the_same_seed_draws_the_same_and_another_does_not():
    def draw(seed):
        sampler = TransferSampler(lambda: start("a/one", "lp_ft"), SPACE, seed)
        study = optuna.create_study(sampler=sampler)
        return [SPACE.suggest(study.ask()).params["lr"] for _ in range(3)]

    assert draw(1) == draw(1) != draw(2)


def test_draws_stay_near_what_did_best(study):
    best = SPACE.default("b/two", "fine_tune", lr=1.23e-4, mix="cutmix", dropout=0.5)
    near = replace(start("b/two", "fine_tune"), near=best)

    drawn = [ask(study, near)[0].params for _ in range(40)]

    for name in ("lr", "mix", "weight_decay"):
        same = sum(params[name] == best.params[name] for params in drawn)
        assert 4 < same < 38, name
    assert len({tuple(sorted(map(str, params.items()))) for params in drawn}) > 30
