from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest

from autotl.ranking import Expectation, MethodGain
from autotl.search.study.candidate import Candidate, Outcome
from autotl.search.study.chooser import Chooser
from autotl.search.study.portfolio import Portfolio
from autotl.search.study.posterior import MethodPrior, Scale
from autotl.search.study.space import SearchSpace
from autotl.specs import AdaptationSpec, Choice, Range
from autotl.testing.fakes import fake_adaptation

PROBE = AdaptationSpec(
    name="probe", steps=fake_adaptation().steps, restore=fake_adaptation().restore,
    space={"solver": Choice(options=("ridge", "logistic")), "scaling": Choice(options=(1, 2))},
    defaults={"solver": "logistic", "scaling": 1},
)  # fmt: skip
TUNED = AdaptationSpec(
    name="tuned", steps=fake_adaptation().steps, restore=fake_adaptation().restore,
    space={
        "lr": Range(low=1e-5, high=1e-1, log=True),
        "epochs": Range(low=2, high=30, integer=True),
    },
    defaults={"lr": 1e-3, "epochs": 10}, trains_backbone=True,
)  # fmt: skip
ALIKE = {name: MethodPrior(gain=0.0) for name in ("probe", "tuned")}


class Costs:
    """Stands in for the planner: says what a candidate costs by backbone and method."""

    def __init__(self, costs=None, per_epoch=0.0):
        self.costs, self.per_epoch = costs or {}, per_epoch

    def cost(self, spec, candidate, left, *, may_time=True):
        cost = self.costs.get((candidate.backbone, spec.name), 1.0)
        cost += self.per_epoch * candidate.params.get("epochs", 0)
        return cost if cost <= left else None


def chooser(
    expected, costs=None, *, entries=(), specs=(PROBE, TUNED), per_epoch=0.0, methods=ALIKE
):
    space = SearchSpace(list(expected), specs)
    screened = {
        name: SimpleNamespace(
            expectation=x
            and SimpleNamespace(expected=x[0], spread=x[1], methods={}, level_spread=0.0)
        )
        for name, x in expected.items()
    }
    return Chooser(
        space, screened, Costs(costs, per_epoch), Portfolio(entries), methods,
        Scale(level_spread=0.5),
    )  # fmt: skip


def outcome(pair, value, trial=0, *, state="complete", **params):
    spec = {"probe": PROBE, "tuned": TUNED}[pair[1]]
    candidate = Candidate(backbone=pair[0], adaptation=pair[1], params={**spec.defaults, **params})
    return Outcome(
        trial=trial, candidate=candidate, state=state, value=value,
        history=[] if value is None else [value],
    )  # fmt: skip


def seen(*outcomes):
    return {o.candidate.key(): o.trial for o in outcomes}


def order(found):
    return [start.pair for start in found]


TWO = {"good": (0.9, 0.02), "poor": (0.6, 0.02)}


def test_the_promising_comes_before_the_poor():
    found = chooser(TWO).starts([], {}, 0.5, 100.0)

    assert {p[0] for p in order(found)[:2]} == {"good"}
    assert found[0].candidate.params == PROBE.defaults or found[0].pair[1] == "tuned"
    assert all(s.rate >= t.rate for s, t in pairwise(found))


def test_the_cheap_comes_before_the_equally_promising():
    dear = {("good", "tuned"): 50.0, ("poor", "tuned"): 50.0}

    found = chooser({"good": (0.8, 0.05), "poor": (0.8, 0.05)}, dear).starts([], {}, 0.5, 100.0)

    assert [p[1] for p in order(found)] == ["probe", "probe", "tuned", "tuned"]


def test_what_cannot_improve_is_last_however_cheap():
    costs = {("poor", "probe"): 0.01, ("poor", "tuned"): 0.01}

    found = chooser({"good": (0.9, 0.03), "poor": (0.3, 0.01)}, costs).starts(
        [outcome(("good", "probe"), 0.91)], {}, 0.91, 100.0
    )

    assert found[0].pair[0] == "good"


def test_results_count_more_than_expectations():
    told = [outcome(("good", "probe"), 0.5), outcome(("poor", "probe"), 0.8, 1)]
    unsure = {"good": (0.9, 0.1), "poor": (0.6, 0.2)}

    found = chooser(unsure).starts(told, seen(*told), 0.8, 100.0)

    assert found[0].pair[0] == "poor"


def test_nothing_is_started_that_does_not_fit():
    only_probes = {("good", "tuned"): 50.0, ("poor", "tuned"): 50.0}

    assert {s.pair[1] for s in chooser(TWO, only_probes).starts([], {}, 0.5, 10.0)} == {"probe"}
    assert chooser(TWO).starts([], {}, 0.5, 0.5) == []


def test_a_shorter_schedule_is_started_where_the_portfolio_does_not_fit():
    (start,) = chooser({"good": (0.9, 0.02)}, specs=[TUNED], per_epoch=1.0).starts(
        [], {}, 0.5, 5.0
    )

    assert start.candidate.params["epochs"] == 2
    assert start.cost <= 5.0


def test_the_portfolio_comes_first_then_the_defaults_then_the_sampler():
    entries = [("tuned", {"lr": 0.05}), ("tuned", {"lr": 7.0}), ("tuned", {"unheard_of": 1})]
    choose = chooser({"good": (0.9, 0.02)}, entries=entries, specs=[TUNED])
    done, lrs = {}, []
    for trial in range(3):
        (start,) = choose.starts([], done, 0.5, 100.0)
        lrs.append(start.candidate and start.candidate.params["lr"])
        if start.candidate:
            done[start.candidate.key()] = trial
        assert start.why

    assert lrs == [0.05, 1e-3, None]


def test_a_space_of_choices_is_used_up():
    choose = chooser({"good": (0.9, 0.02)}, specs=[PROBE])
    done, tried = {}, []
    while found := choose.starts([], done, 0.5, 100.0):
        tried.append(found[0].candidate)
        done[found[0].candidate.key()] = len(tried)
        assert len(tried) < 10

    assert len({c.key() for c in tried}) == len(tried) == 4


def test_a_method_that_fails_loses_its_turn():
    alike = {"a": (0.8, 0.05), "b": (0.8, 0.05)}
    failed = [
        outcome(("a", "tuned"), None, t, state="failed", lr=10.0 ** -(t + 2)) for t in range(3)
    ]

    found = chooser(alike).starts(failed, seen(*failed), 0.5, 100.0)

    assert [s.pair[1] for s in found] == ["probe", "probe", "tuned", "tuned"]
    assert found[-1].rate > 0  # a little of a chance is left


def test_a_backbone_that_fails_loses_its_turn():
    alike = {"a": (0.8, 0.05), "b": (0.8, 0.05)}
    failed = [
        outcome(("a", "probe"), None, 0, state="failed"),
        outcome(("a", "probe"), None, 1, state="failed", solver="ridge"),
    ]
    fine = [outcome(("b", "probe"), 0.8, 2), outcome(("b", "probe"), 0.8, 3, solver="ridge")]

    found = chooser(alike).starts([*failed, *fine], seen(*failed, *fine), 0.5, 100.0)

    rates = {s.pair: s.rate for s in found}
    assert rates["b", "tuned"] > rates["a", "tuned"]


def test_outcomes_that_failed_teach_nothing_of_values():
    failed = outcome(("good", "probe"), 0.01, state="failed")
    choose = chooser(TWO)

    assert choose.beliefs([failed]) == choose.beliefs([])


THREE = {"a": (0.6, 0.1), "b": (0.6, 0.1), "c": (0.6, 0.1)}
BAD = [
    outcome((name, method), 0.4, trial)
    for trial, (name, method) in enumerate((n, m) for n in THREE for m in ("probe", "tuned"))
]


def test_a_search_without_hope_says_why():
    reason = chooser(THREE).hopeless(BAD, 0.95, 0.2)

    assert "nothing beat the floor" in reason
    assert "6 trials" in reason


def test_hope_is_not_given_up_before_enough_was_tried():
    choose = chooser(THREE)

    assert choose.hopeless([], 0.95, 0.9) == ""
    assert choose.hopeless([o for o in BAD if o.candidate.backbone != "c"], 0.95, 0.9) == ""
    unseen = [Outcome(trial=9, candidate=BAD[-1].candidate, state="failed")]
    assert choose.hopeless([*BAD[:4], *unseen], 0.95, 0.9) == ""
    assert choose.hopeless([*BAD[:4], *unseen * 3], 0.95, 0.9)  # it is broken


def test_hope_is_not_given_up_once_anything_beat_the_floor():
    assert chooser(THREE).hopeless([*BAD, outcome(("a", "tuned"), 0.96, 9)], 0.95, 0.9) == ""


def test_hope_is_not_given_up_near_the_floor():
    near = [outcome((o.candidate.backbone, o.candidate.adaptation), 0.945, o.trial) for o in BAD]

    assert chooser(THREE).hopeless(near, 0.95, 0.2) == ""


def test_what_learns_from_the_users_other_data_is_tried_before_hope_is_given_up():
    shared = replace(TUNED, name="shared", needs=frozenset({"source"}))
    methods = {**ALIKE, "shared": MethodPrior(gain=0.0)}
    choose = chooser(THREE, {("b", "shared"): 0.5}, specs=(PROBE, TUNED, shared), methods=methods)
    pair, floor = ("b", "shared"), 0.999

    starts = choose.starts(BAD, seen(*BAD), floor, 100.0)
    assert order(starts) == [pair]  # the cheapest of them alone
    assert choose.hopeless(BAD, floor, 0.2, starts) == ""

    params = {**shared.defaults}
    tried = Outcome(
        trial=9, candidate=Candidate(backbone="b", adaptation="shared", params=params),
        state="complete", value=0.4, history=[0.4],
    )  # fmt: skip
    starts = choose.starts([*BAD, tried], seen(*BAD, tried), floor, 100.0)
    assert order(starts) == []
    assert choose.hopeless([*BAD, tried], floor, 0.2, starts)
    assert choose.hopeless(BAD, floor, 0.2, [])  # it fits no more


def test_less_hope_is_enough_to_stop_once_half_the_time_is_gone():
    choose, floors = chooser(THREE), [0.4 + 0.01 * k for k in range(1, 55)]
    early = [f for f in floors if choose.hopeless(BAD, f, 0.2)]
    late = [f for f in floors if choose.hopeless(BAD, f, 0.6)]

    assert early
    assert set(early) < set(late)


def test_a_shelf_of_one_may_be_given_up():
    bad = [outcome(("a", "probe"), 0.3), outcome(("a", "tuned"), 0.3, 1)]

    assert chooser({"a": (0.6, 0.1)}).hopeless(bad, 0.95, 0.2)


@pytest.mark.parametrize("known", [{"a": None, "b": (0.8, 0.05)}, {"a": None, "b": None}])
def test_backbones_nothing_is_known_of_get_their_turn(known):
    assert {p[0] for p in order(chooser(known).starts([], {}, 0.5, 100.0))} == {"a", "b"}


def test_a_backbone_that_training_helps_more_is_trained_first():
    gains = {"a": MethodGain(gain=0.1, spread=0.1, pair_spread=0.1)}
    gains["b"] = replace(gains["a"], gain=1.0)
    screened = {
        name: SimpleNamespace(
            expectation=Expectation(
                expected=0.8, spread=0.02, static=0.8, level_spread=0.01, methods={"tuned": gain}
            )
        )
        for name, gain in gains.items()
    }
    made = Chooser(
        SearchSpace(["a", "b"], (PROBE, TUNED)), screened, Costs(), Portfolio([]), ALIKE, Scale()
    )
    probed = [outcome((b, "probe"), 0.8, trial) for trial, b in enumerate("ab")]

    first = made.starts(probed, seen(*probed), 0.8, 100.0)[0]

    assert first.pair == ("b", "tuned")
    beliefs = made.beliefs(probed)
    assert beliefs["b", "tuned"].mean > beliefs["a", "tuned"].mean + 0.05


def test_a_pair_that_only_fails_is_given_up():
    failures = [
        outcome(("good", "tuned"), None, trial, state="failed", lr=10.0**-trial)
        for trial in range(1, 6)
    ]

    found = chooser(TWO)

    assert ("good", "tuned") in order(found.starts(failures[:4], seen(*failures[:4]), 0.5, 100.0))
    assert ("good", "tuned") not in order(found.starts(failures, seen(*failures), 0.5, 100.0))


def test_a_drawn_trial_freezes_what_it_must_to_fit():
    depths = replace(
        TUNED, space={**TUNED.space, "freeze_fraction": Range(low=0.0, high=1.0)},
        defaults={**TUNED.defaults, "freeze_fraction": 1.0},
    )  # fmt: skip
    made = chooser({"a": (0.8, 0.05)}, specs=[depths])
    made._planner.cost = lambda spec, candidate, left, may_time: (
        1.0 if candidate.params["freeze_fraction"] >= 0.5 else None
    )
    tried = Candidate(backbone="a", adaptation="tuned", params=depths.defaults)

    (first,) = made.starts([], {tried.key(): 0}, 0.5, 100.0)

    assert first.candidate is None
    assert first.least_frozen == 0.5


def test_hope_is_not_given_up_while_a_paused_trial_may_win():
    assert chooser(THREE).hopeless(BAD, 0.95, 0.2)
    assert chooser(THREE).hopeless(BAD, 0.95, 0.2, paused=0.4) == ""


def test_gains_in_log_odds_say_nothing_of_other_metrics():
    gain = MethodGain(gain=0.8, spread=0.3, pair_spread=0.3)
    screened = {
        "a": SimpleNamespace(
            expectation=Expectation(
                expected=0.8, spread=0.05, static=0.8, level_spread=0.01, methods={"tuned": gain}
            )
        )
    }
    space = SearchSpace(["a"], (PROBE, TUNED))
    made = Chooser(
        space, screened, Costs(), Portfolio([]), ALIKE, Scale(share=False, level_spread=2.0)
    )

    beliefs = made.beliefs([outcome(("a", "probe"), 0.82)])

    assert beliefs["a", "tuned"].mean == pytest.approx(beliefs["a", "probe"].mean, abs=0.01)


def test_without_probes_all_methods_may_look_at_what_is_unseen():
    made = chooser({"a": (0.6, 0.02), "b": (0.6, 0.02)}, specs=[TUNED])

    assert {s.pair[0] for s in made.starts([], {}, 0.97, 100.0)} == {"a", "b"}


def test_what_promises_nothing_is_not_started_unless_trials_are_counted():
    probed = [outcome(("good", "probe"), 0.98, 0), outcome(("poor", "probe"), 0.5, 1)]

    found = chooser(TWO).starts(probed, seen(*probed), 0.3, 100.0)
    counted = chooser(TWO).starts(probed, seen(*probed), 0.3, float("inf"))

    assert ("poor", "probe") not in order(found)
    assert ("poor", "probe") in order(counted)


def test_a_drawn_trial_is_priced_by_the_least_frozen_one_that_fits():
    depths = replace(
        TUNED, space={**TUNED.space, "freeze_fraction": Range(low=0.0, high=1.0)},
        defaults={**TUNED.defaults, "freeze_fraction": 0.0},
    )  # fmt: skip
    made = chooser({"a": (0.8, 0.05)}, specs=[depths])
    made._planner.cost = lambda spec, candidate, left, may_time: (
        10.0 * (1.0 - candidate.params["freeze_fraction"])
        if candidate.params["freeze_fraction"] >= 0.5
        else None
    )
    tried = made._space.deepest("a", "tuned")
    default = Candidate(backbone="a", adaptation="tuned", params=depths.defaults)

    (first,) = made.starts([], {tried.key(): 0, default.key(): 1}, 0.5, 100.0)

    assert first.cost == 5.0


def test_a_network_is_timed_only_once_its_backbone_was_looked_at():
    asked = []
    made = chooser({"a": (0.6, 0.05), "b": (0.6, 0.05)})
    made._planner.cost = lambda spec, candidate, left, may_time: (
        asked.append((candidate.backbone, may_time)) or 1.0
    )

    made.starts([], {}, 0.3, 100.0)
    before = dict(asked)
    asked.clear()
    probed = outcome(("a", "probe"), 0.6)
    made.starts([probed], seen(probed), 0.3, 100.0)

    assert before == {"a": False, "b": False}
    assert dict(asked) == {"a": True, "b": False}


def test_without_probes_networks_are_timed_at_once():
    asked = []
    made = chooser({"a": (0.6, 0.05)}, specs=[TUNED])
    made._planner.cost = lambda spec, candidate, left, may_time: asked.append(may_time) or 1.0

    made.starts([], {}, 0.3, 100.0)

    assert set(asked) == {True}
