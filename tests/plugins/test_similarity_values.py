"""Values of the similarity measures, against closed forms and plain loops."""

from itertools import permutations

import numpy as np
import pytest

from autotl.specs import DomainSample, LayerStatistics
from autotl_similarity.batch_norm_kl import batch_norm_kl
from autotl_similarity.class_emd import class_emd
from autotl_similarity.coral import coral
from autotl_similarity.frechet import frechet
from autotl_similarity.gaussian_kl import gaussian_kl
from autotl_similarity.gaussians import bures, shrinkage
from autotl_similarity.mmd import mmd, mmd_p_value
from autotl_similarity.otdd import otdd
from autotl_similarity.proxy_a_distance import proxy_a_distance
from autotl_similarity.transport import transport_cost

MANY = 10**9
"""So many samples behind moments that nothing is taken off or shrunk for their number."""


def moments(mean, covariance, n=MANY):
    return DomainSample(
        mean=np.atleast_1d(np.asarray(mean, dtype=float)),
        covariance=np.atleast_2d(np.asarray(covariance, dtype=float)),
        n=n,
    )


def samples(features, y=None, seed=0):
    features = np.asarray(features, dtype=float)
    return DomainSample(
        mean=features.mean(axis=0),
        covariance=np.atleast_2d(np.cov(features.T)),
        n=len(features),
        features=features,
        y=None if y is None else np.asarray(y),
        seed=seed,
    )


def normal(seed, n, dim, shift=0.0):
    return samples(np.random.default_rng(seed).normal(shift, 1, (n, dim)))


def variance_of(source, target):
    """Return the total variance of the two domains together, each counting half."""
    centre = (source.features.mean(axis=0) + target.features.mean(axis=0)) / 2
    spread = [((d.features - centre) ** 2).sum(axis=1).mean() for d in (source, target)]
    return sum(spread) / 2


def test_frechet_of_one_dimension():
    value = frechet(moments(1, 4), moments(3, 9))

    assert value == pytest.approx(((3 - 1) ** 2 + (3 - 2) ** 2) / ((4 + 9) / 2 + 2**2 / 4))


def test_frechet_of_diagonal_covariances():
    source, target = moments([0, 0, 0], np.diag([1, 4, 9])), moments([1, 0, 2], np.diag([4, 4, 1]))

    value = frechet(source, target)

    assert value == pytest.approx((5 + 1 + 0 + 4) / ((14 + 9) / 2 + 5 / 4))


def test_frechet_of_points_is_its_greatest_value():
    assert frechet(moments([0, 0], np.zeros((2, 2))), moments([3, 4], np.zeros((2, 2)))) == 4


def test_frechet_of_few_samples_is_hardly_biased():
    rng = np.random.default_rng(0)
    scales = np.arange(1, 129) ** -0.5
    few, many = (samples(rng.normal(size=(n, 128)) * scales) for n in (50, 1000))
    plain = ((few.mean - many.mean) ** 2).sum() + bures(few.covariance, many.covariance)

    value = frechet(few, many)

    assert plain / np.trace(many.covariance) > 0.4
    assert value < 0.05


def test_frechet_takes_off_what_equal_means_would_give():
    source, target = moments([0, 0], np.eye(2), n=8), moments([1, 0], np.eye(2), n=8)

    assert frechet(source, target) == pytest.approx((1 - 2 / 8 - 2 / 8) / (2 + 1 / 4))


def test_bures_against_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, 4, 4))
    one, *others = factors @ factors.transpose(0, 2, 1)

    values = bures(one, np.stack(others))

    root = sqrtm(one)
    expected = [np.trace(one + c - 2 * sqrtm(root @ c @ root).real) for c in others]
    np.testing.assert_allclose(values, expected, rtol=1e-9)


def test_bures_of_rank_deficient_covariances():
    one, other = np.diag([4.0, 0, 0]), np.diag([1.0, 9, 0])

    assert bures(one, other) == pytest.approx((2 - 1) ** 2 + 9)
    assert bures(one, one) == pytest.approx(0, abs=1e-12)


def test_shrinkage_falls_with_the_number_of_samples():
    covariance = np.diag([1.0, 2.0, 5.0])

    values = [shrinkage(covariance, n) for n in (2, 10, 100, MANY)]

    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-8)
    assert shrinkage(np.eye(3), 100) == 1


def test_kl_of_one_dimension_both_ways():
    source, target = moments(1, 4), moments(3, 9)

    there, back = gaussian_kl(source, target), gaussian_kl(target, source)

    assert there == pytest.approx((9 / 4 + 4 / 4 - 1 - np.log(9 / 4)) / 2, rel=1e-4)
    assert back == pytest.approx((4 / 9 + 4 / 9 - 1 - np.log(4 / 9)) / 2, rel=1e-4)


def test_kl_of_diagonal_covariances_is_per_dimension():
    source, target = moments([0, 0], np.diag([1, 4])), moments([1, 2], np.diag([2, 4]))

    value = gaussian_kl(source, target)

    assert value == pytest.approx((2 - np.log(2) - 1 + 1 + 1) / 2 / 2, rel=1e-4)


def test_coral_by_hand():
    source = moments([0, 0], [[1, 2], [2, 5]])
    target = moments([9, 9], [[4, 1], [1, 5]])

    assert coral(source, target) == pytest.approx((3**2 + 1 + 1) / (4 * 2**2))


def layered(**layers):
    made = {
        k: LayerStatistics(mean=np.array(m), variance=np.array(v)) for k, (m, v) in layers.items()
    }
    return DomainSample(mean=np.zeros(1), covariance=np.eye(1), n=9, layers=made)


def test_batch_norm_kl_averages_channels_then_layers():
    source = layered(a=([0.0, 1.0], [1.0, 2.0]), b=([0.0], [1.0]))
    target = layered(b=([2.0], [1.0]), a=([0.0, 1.0], [1.0, 8.0]))

    value = batch_norm_kl(source, target)

    wider = (8 / 2 + 2 / 8) / 4 - 0.5
    moved = (1 + 4 + 1 + 4) / 4 - 0.5
    assert value == pytest.approx(((0 + wider) / 2 + moved) / 2)


def test_batch_norm_kl_floors_dead_channels():
    dead, alive = layered(a=([0.0, 0.0], [0.0, 1.0])), layered(a=([0.0, 0.0], [1.0, 1.0]))
    all_dead = layered(a=([0.0, 0.0], [0.0, 0.0]))

    assert batch_norm_kl(dead, alive) == pytest.approx(((1000 + 1 / 1000) / 4 - 0.5) / 2)
    assert batch_norm_kl(all_dead, all_dead) == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (layered(b=([0.0], [1.0])), r"\['a', 'b'\]"),
        (layered(a=([0.0, 0.0], [1.0, 1.0])), r"shapes \[\(1,\), \(1,\), \(2,\), \(2,\)\]"),
    ],
)
def test_batch_norm_kl_refuses_other_layers(target, message):
    with pytest.raises(ValueError, match=message):
        batch_norm_kl(layered(a=([0.0], [1.0])), target)


def leave_one_out_predictions(X, domain, weight, strength):
    """Refit weighted ridge regression with an intercept without each sample in turn."""
    from sklearn.linear_model import Ridge

    predictions = []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        ridge = Ridge(alpha=strength).fit(X[rest], domain[rest], sample_weight=weight[rest])
        predictions.append(ridge.predict(X[i : i + 1])[0])
    return np.array(predictions)


@pytest.mark.parametrize("dim", [3, 40])
def test_proxy_a_distance_against_refitting(dim):
    source, target = normal(0, 20, dim, 0.3), normal(1, 12, dim)
    unit = np.sqrt(variance_of(source, target))
    X = np.concatenate([source.features, target.features]) / unit
    domain, weight = np.repeat([1, -1], [20, 12]), np.repeat([1 / 40, 1 / 24], [20, 12])

    value = proxy_a_distance(source, target)

    tried = [leave_one_out_predictions(X, domain, weight, s) for s in np.logspace(-6, 0, 7)]
    best = min(tried, key=lambda p: weight @ (domain - p) ** 2)
    error = weight @ (best * domain < 0)
    assert value == pytest.approx(2 * (1 - 2 * min(error, 0.5)), abs=1e-9)


@pytest.mark.parametrize(("n", "dim"), [(200, 10), (60, 300)])
def test_proxy_a_distance_of_equal_and_separable_domains(n, dim):
    source = normal(0, n, dim)

    assert proxy_a_distance(source, source) == 0
    assert proxy_a_distance(source, normal(1, n, dim)) < 0.3
    assert proxy_a_distance(source, normal(1, n // 3, dim, shift=4)) > 1.9


def naive_mmd(X, Z):
    pooled = np.concatenate([X, Z])
    n = len(pooled)
    pairs = [((pooled[i] - pooled[j]) ** 2).sum() for i in range(n) for j in range(i)]
    scale = np.median(pairs)

    def kernel(a, b):
        return np.mean([np.exp(-((a - b) ** 2).sum() / (f * scale)) for f in (0.25, 0.5, 1, 2, 4)])

    def within(A):
        total = sum(kernel(a, b) for i, a in enumerate(A) for j, b in enumerate(A) if i != j)
        return total / (len(A) * (len(A) - 1))

    return within(X) + within(Z) - 2 * np.mean([kernel(a, b) for a in X for b in Z])


def test_mmd_against_plain_loops():
    source, target = normal(0, 9, 4), normal(1, 13, 4, shift=0.5)

    assert mmd(source, target) == pytest.approx(naive_mmd(source.features, target.features))


def test_mmd_of_equal_domains_is_0_on_average():
    values = [mmd(normal(2 * i, 15, 2), normal(2 * i + 1, 20, 2)) for i in range(300)]

    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)


def test_mmd_p_value_is_uniform_between_equal_domains():
    from scipy.stats import kstest

    values = [mmd_p_value(normal(2 * i, 15, 3), normal(2 * i + 1, 20, 3)) for i in range(200)]

    assert kstest(values, "uniform").pvalue > 0.01


def test_mmd_p_value_is_small_under_a_shift():
    assert mmd_p_value(normal(0, 40, 5), normal(1, 30, 5, shift=1)) == 1 / 500
    assert mmd_p_value(normal(0, 5, 2), samples(normal(0, 5, 2).features)) == 1


def test_transport_against_every_assignment():
    cost = np.random.default_rng(0).uniform(size=(5, 5))

    value = transport_cost(cost, np.ones(5), np.ones(5))

    assert value == pytest.approx(
        min(np.mean(cost[range(5), list(p)]) for p in permutations(range(5)))
    )


def test_transport_splits_mass():
    value = transport_cost(np.array([[1.0, 5.0], [4.0, 2.0]]), np.array([3, 1]), np.array([2, 2]))

    assert value == pytest.approx((2 * 1 + 1 * 5 + 1 * 2) / 4)


def test_class_emd_by_hand():
    # Three quarters of the source at 0, one at 8; half of the target at 1, half at 7.
    source = samples([[-1], [0], [1], [8]], y=[5, 5, 5, 9])
    target = samples([[1], [7]], y=[1, 0])

    value = class_emd(source, target)

    moved = (0.5 * 1 + 0.25 * 7 + 0.25 * 1) * 32 / np.sqrt(variance_of(source, target))
    assert value == pytest.approx(np.exp(-0.01 * moved))


def naive_gaussian(rows, within):
    """Return mean and covariance, shrunk as if as many samples as dimensions were added."""
    dim = rows.shape[1]
    centred = rows - rows.mean(axis=0)
    return rows.mean(axis=0), (centred.T @ centred + dim * within) / (len(rows) - 1 + dim)


def naive_otdd(source, target):
    from scipy.linalg import sqrtm

    gaussians = []
    for d in (source, target):
        rows = {c: d.features[d.y == c] for c in set(d.y.tolist())}
        scatter = sum((r - r.mean(axis=0)).T @ (r - r.mean(axis=0)) for r in rows.values())
        within = scatter / (d.n - len(rows))
        gaussians.append({c: naive_gaussian(r, within) for c, r in rows.items()})
    cost = np.empty((source.n, target.n))
    for i, j in np.ndindex(cost.shape):
        (a, A), (b, B) = gaussians[0][source.y[i]], gaussians[1][target.y[j]]
        root = sqrtm(A)
        between = ((a - b) ** 2).sum() + np.trace(A + B - 2 * sqrtm(root @ B @ root).real)
        cost[i, j] = ((source.features[i] - target.features[j]) ** 2).sum() + between
    plans = permutations(range(target.n))
    return min(cost[range(source.n), list(p)].mean() for p in plans) / variance_of(source, target)


def test_otdd_against_every_assignment():
    rng = np.random.default_rng(0)
    source = samples(rng.normal(size=(6, 2)), y=[0, 0, 0, 1, 1, 1])
    target = samples(rng.normal(1, 2, size=(6, 2)), y=[3, 3, 4, 4, 4, 8])

    assert otdd(source, target) == pytest.approx(naive_otdd(source, target))


def test_otdd_of_classes_of_one_by_hand():
    source, target = samples([[0], [2]], y=[0, 1]), samples([[1], [3]], y=[1, 0])

    # Classes without spread: a distance counts twice, for the sample and for its class.
    assert otdd(source, target) == pytest.approx(2 * 1 / variance_of(source, target))


def test_otdd_sees_labels():
    features = np.random.default_rng(0).normal(size=(60, 3)) + 3 * np.eye(3)[np.arange(60) % 3]
    source = samples(features, y=np.arange(60) % 3)

    assert otdd(source, samples(features, y=(np.arange(60) + 1) % 3)) == pytest.approx(0, abs=1e-9)
    assert otdd(source, samples(features, y=np.arange(60) // 20)) > 0.1


@pytest.mark.parametrize("n_classes", [3, 60])
def test_otdd_reduces_many_dimensions(n_classes):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(200, 8)))[0].T
    pair = [
        samples(rng.normal(size=(120, 8)) + shift, y=np.arange(120) % n_classes)
        for shift in (0, 1)
    ]

    wide = [samples(d.features @ basis, d.y) for d in pair]

    # 60 classes a side leave fewer than 64 dimensions, but more than the 8 that matter; in more
    # dimensions the covariance of a class counts for less than that within all classes.
    assert otdd(*wide) == pytest.approx(otdd(*pair), rel=0.1)
