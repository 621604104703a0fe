"""Evidence as wealth: what a gambler owns who bets against the null, outcome after outcome."""

from functools import cache

import numpy as np

from autotl.errors import InvalidDataError

_N_BETS = 64  # the integral is exact up to 125 outcomes, and nearly so up to thousands


def log_e_values(outcomes: np.ndarray) -> np.ndarray:
    """Return the log e-value after each outcome, shape (n_outcomes,).

    Wealth starts at one and is shared out over bets lambda between 0 and 1 with density
    6 lambda (1 - lambda), most of it in the middle: gaps of 10 to 20 points are where examples can
    be saved. Each share grows by 1 + lambda x with each outcome x. For w outcomes of 1 and l of -1
    that is a mixture of likelihood ratios over theta = (1 + lambda) / 2 in (1/2, 1].

    The integral over lambda is a sum with weights that are positive and add up to one. So what is
    returned is itself a mixture of bets: its validity does not rest on the sum's precision.

    Args:
        outcomes: Evidence of shape (n_outcomes,) in [-1, 1]. Under the null, none has a mean above
            zero given those before it; zeros change nothing.

    Raises:
        InvalidDataError: An outcome is outside [-1, 1] or NaN.

    References:
        Waudby-Smith, Ramdas: Estimating means of bounded random variables by betting. Journal of
        the Royal Statistical Society B 86, 2024 (mixtures of bets).
    """
    x = np.asarray(outcomes, dtype=np.float64)
    if x.ndim != 1 or not (np.abs(x) <= 1).all():
        found = f"shape {x.shape}" if x.ndim != 1 else f"{x[~(np.abs(x) <= 1)][0]}"
        raise InvalidDataError(
            f"outcomes hold {found}. Expected one dimension and values in [-1, 1]; divide "
            "differences by the largest that is possible."
        )
    moving = x != 0
    bets, log_shares = _bets()
    values, at = np.unique(x[moving], return_inverse=True)  # few: logarithms are dear
    wealth = np.cumsum(np.log1p(bets * values[:, None])[at], axis=0) + log_shares
    path = np.concatenate([[0.0], _log_sum(wealth)])
    after_each: np.ndarray = path[np.cumsum(moving)]
    return after_each


def log_e_of_counts(wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return the log e-value after so many outcomes of 1 and of -1, in any order; broadcasts."""
    bets, log_shares = _bets()
    for_and_against = np.multiply.outer(wins, np.log1p(bets)) + np.multiply.outer(
        losses, np.log1p(-bets)
    )
    return _log_sum(for_and_against + log_shares)


@cache
def _bets() -> tuple[np.ndarray, np.ndarray]:
    """Return bets in (0, 1) and the logs of the shares of wealth on them (Gauss-Legendre)."""
    nodes, weights = np.polynomial.legendre.leggauss(_N_BETS)
    bets = (1 + nodes) / 2
    shares = weights * bets * (1 - bets)
    return bets, np.log(shares / shares.sum())


def _log_sum(terms: np.ndarray) -> np.ndarray:
    largest = terms.max(axis=-1, initial=-np.inf)
    total: np.ndarray = np.log(np.exp(terms - largest[..., None]).sum(axis=-1)) + largest
    return total
