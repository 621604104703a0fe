"""Which candidates are flagged negative, at a stated false discovery rate."""

import math
from dataclasses import dataclass

import numpy as np

from autotl.errors import InvalidDataError
from autotl.guard.certificate import ALPHA, check_level


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Which candidates are flagged.

    Args:
        flagged: Shape (n_candidates,).
        threshold: The e-value that was asked for: n_candidates / (alpha x n_flagged), or
            n_candidates / alpha where none is flagged.
        alpha: Bound on the expected share of false flags among all flags.
    """

    flagged: np.ndarray
    threshold: float
    alpha: float


def flag_negative(log_e: np.ndarray, *, alpha: float = ALPHA) -> Flags:
    """Flag candidates by e-BH: the k largest e-values, k the most with all >= n / (alpha k).

    The bound holds whatever ties the e-values together: here all candidates share the floor and
    the guard examples.

    Args:
        log_e: Logs of e-values of all candidates that were judged, shape (n_candidates,); those
            of `Certificate.log_e_negative`.
        alpha: Bound on the false discovery rate.

    Raises:
        InvalidDataError: `log_e` is not one-dimensional or holds NaN, or `alpha` is not in (0, 1).

    References:
        Wang, Ramdas: False discovery rate control with e-values. Journal of the Royal Statistical
        Society B 84, 2022.
    """
    check_level(alpha)
    log_e = np.asarray(log_e, dtype=np.float64)
    if log_e.ndim != 1 or np.isnan(log_e).any():
        found = f"has shape {log_e.shape}" if log_e.ndim != 1 else "holds NaN"
        raise InvalidDataError(
            f"log_e {found}. Expected one number per candidate; leave out candidates that were "
            "never judged."
        )
    n = len(log_e)
    levels = math.log(max(n, 1) / alpha) - np.log(np.arange(1, n + 1))
    reached = np.flatnonzero(np.sort(log_e)[::-1] >= levels - 1e-12)
    k = int(reached[-1]) + 1 if len(reached) else 0
    flagged = log_e >= levels[k - 1] - 1e-12 if k else np.zeros(n, dtype=bool)
    return Flags(flagged=flagged, threshold=max(n, 1) / (alpha * max(k, 1)), alpha=alpha)
