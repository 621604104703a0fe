import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.metric import Metric
from autotl.result.intervals import paired_gap


def onehot(codes, n=3):
    return np.eye(n)[codes]


def gap_of(name, y, a, b, **keywords):
    metric = Metric(name)
    return paired_gap(metric.kind, metric, y, onehot(a), onehot(b), **keywords)


def paired(both, only_a, only_b, neither):
    """Codes of truth 0 where a and b are right so often."""
    a = np.repeat([0, 0, 1, 1], [both, only_a, only_b, neither])
    b = np.repeat([0, 1, 0, 1], [both, only_a, only_b, neither])
    return np.zeros(len(a), int), a, b


def test_newcombe_matches_the_published_example():
    # Newcombe (1998), table III, example of Schwartz and Wintle: e=36, f=12, g=2, h=0.
    y, a, b = paired(36, 12, 2, 0)

    gap = gap_of("accuracy", y, a, b)

    assert gap.value == pytest.approx(0.2)
    assert gap.low == pytest.approx(0.0569, abs=1e-4)
    assert gap.high == pytest.approx(0.3404, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["accuracy", "balanced_accuracy"]),
    seed=st.integers(0, 10_000),
    n=st.integers(12, 80),
)
def test_interval_holds_the_value_and_mirrors(name, seed, n):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    a, b = (np.where(rng.random(n) < 0.7, y, (y + 1) % 3) for _ in range(2))

    gap, mirrored = gap_of(name, y, a, b), gap_of(name, y, b, a)

    assert gap.low <= gap.value <= gap.high
    assert mirrored.low == pytest.approx(-gap.high)
    assert mirrored.high == pytest.approx(-gap.low)


def test_equal_predictors_are_inconclusive():
    y, a, _ = paired(50, 10, 10, 10)

    gap = gap_of("accuracy", y, a, a)

    assert gap.value == 0
    assert gap.verdict == "inconclusive"


def test_interval_covers_the_true_gap_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        kinds = rng.choice(4, 150, p=[0.7, 0.15, 0.05, 0.1])
        y, a, b = paired(*np.bincount(kinds, minlength=4))
        gap = gap_of("accuracy", y, a, b)
        hits += gap.low <= 0.10 <= gap.high
    assert 0.92 <= hits / 400 <= 0.985


@pytest.mark.parametrize("name", ["f1_macro", "neg_log_loss"])
def test_other_metrics_use_a_bootstrap(name):
    rng = np.random.default_rng(1)
    y = np.arange(90) % 3
    good = np.where(rng.random(90) < 0.95, y, 0)
    poor = np.where(rng.random(90) < 0.40, y, 1)

    gap = gap_of(name, y, good, poor)

    assert gap.method == "stratified bootstrap"
    assert gap.verdict == "positive"


def test_groups_are_the_unit_and_widen_the_interval():
    rng = np.random.default_rng(2)
    y = np.zeros(200, int)
    a_right = np.repeat(rng.random(10) < 0.7, 20)
    a, b = np.where(a_right, 0, 1), np.where(rng.random(200) < 0.5, 0, 1)

    alone = gap_of("accuracy", y, a, b)
    grouped = gap_of("accuracy", y, a, b, groups=np.repeat(np.arange(10), 20))

    assert grouped.method == "units"
    assert grouped.high - grouped.low > alone.high - alone.low


def gap_of_codes(metric, y, a, b, **keywords):
    return paired_gap(metric.kind, metric, y, onehot(a, 100), onehot(b, 100), **keywords)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_one_duplicate_among_many_classes_does_not_decide(name):
    rng = np.random.default_rng(0)
    y = np.arange(300) % 100
    a, b = (np.where(rng.random(300) < 0.7, y, (y + 1) % 100) for _ in range(2))
    groups = np.arange(300)
    groups[100] = 0
    metric = Metric(name)

    alone = gap_of_codes(metric, y, a, b)
    gap = gap_of_codes(metric, y, a, b, groups=groups)

    assert gap.low == pytest.approx(alone.low, abs=0.02)
    assert gap.high == pytest.approx(alone.high, abs=0.02)


@pytest.mark.parametrize("name", ["accuracy", "f1_macro"])
def test_few_groups_never_decide(name):
    y = np.arange(30) % 3
    a, b = y, np.where(np.arange(30) < 20, y, (y + 1) % 3)

    gap = gap_of(name, y, a, b, groups=np.arange(30) % 4)

    assert gap.verdict == "inconclusive"


def test_balanced_interval_is_narrow_for_equal_predictions():
    y = np.repeat(np.arange(43), 10)
    proba = onehot(y, 43)
    metric = Metric("balanced_accuracy")

    gap = paired_gap(metric.kind, metric, y, proba, proba)

    assert gap.high - gap.low < 0.03
