"""Maximum mean discrepancy of two domains, and how unlikely it is between equal ones."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import both_samples
from autotl_similarity.gaussians import squared_distances

_MOST_SAMPLES = 1_000
_WIDEST, _N_BANDWIDTHS = 4.0, 5
_N_PERMUTATIONS = 499


def mmd(source: DomainSample, target: DomainSample) -> float:
    """Return the unbiased estimate of the squared discrepancy; below 0 for equal domains at times.

    The kernel is the mean of exp(-d^2 / (f m)) for f in 1/4, 1/2, 1, 2, 4, where m is the median
    squared distance in the pooled sample. At most 1,000 samples a domain, drawn by its seed.

    Raises:
        InvalidDataError: Features are missing, not finite or of different embed_dim.
    """
    one, other = both_samples(source, target, _MOST_SAMPLES)
    kernel = _kernel(np.concatenate([one, other]))
    in_one = np.arange(len(kernel)) < len(one)
    return float(_discrepancies(kernel, in_one[:, None].astype(np.float64))[0])


def mmd_p_value(source: DomainSample, target: DomainSample) -> float:
    """Return the share of 499 random assignments to domains with at least the observed `mmd`.

    The observed one counts as one of 500, so that the value is in [0.002, 1] and a test at any
    level keeps it. The permutations are drawn by the seed of the source.

    Raises:
        InvalidDataError: Features are missing, not finite or of different embed_dim.
    """
    # Which domain comes first decides the permutations; fixed, swapping them changes nothing.
    one, other = sorted(
        both_samples(source, target, _MOST_SAMPLES), key=lambda X: (len(X), float(X.sum()))
    )
    kernel = _kernel(np.concatenate([one, other]))
    in_one = np.arange(len(kernel)) < len(one)
    rng = np.random.default_rng(source.seed)
    columns = [in_one, *(rng.permutation(in_one) for _ in range(_N_PERMUTATIONS))]
    values = _discrepancies(kernel, np.stack(columns, axis=1).astype(np.float64))
    # Sums in another order differ by rounding.
    return float(np.mean(values >= values[0] - 1e-12))


def _kernel(features: np.ndarray) -> np.ndarray:
    """Return the kernel matrix of shape (n_samples, n_samples) with zeros on its diagonal."""
    distances = squared_distances(features, features)
    np.fill_diagonal(distances, 0.0)
    off_diagonal = distances[np.triu_indices(len(features), 1)]
    # Of many equal samples the median is 0 though some differ.
    scale = float(np.median(off_diagonal)) or float(off_diagonal.mean()) or 1.0
    # Each bandwidth is half the one before: its kernel is the square of the one before.
    narrower = np.exp(distances / (-_WIDEST * scale))
    kernel = narrower.copy()
    for _ in range(_N_BANDWIDTHS - 1):
        narrower **= 2
        kernel += narrower
    np.fill_diagonal(kernel, 0.0)
    kernel /= _N_BANDWIDTHS
    return kernel


def _discrepancies(kernel: np.ndarray, in_one: np.ndarray) -> np.ndarray:
    """Return the unbiased estimate for each assignment of samples to domains.

    Args:
        kernel: Shape (n_samples, n_samples), zeros on the diagonal.
        in_one: Shape (n_samples, n_assignments), 1 for the first domain, otherwise 0.
    """
    n_one = float(in_one[:, 0].sum())
    n_other = len(kernel) - n_one
    row_sums = kernel.sum(axis=1)
    within_one = (in_one * (kernel @ in_one)).sum(axis=0)
    across = row_sums @ in_one - within_one
    within_other = row_sums.sum() - 2 * across - within_one
    values: np.ndarray = (
        within_one / (n_one * (n_one - 1))
        + within_other / (n_other * (n_other - 1))
        - 2 * across / (n_one * n_other)
    )
    return values
