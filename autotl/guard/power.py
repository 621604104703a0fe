"""How large a gap a number of guard examples can detect."""

import math
from functools import lru_cache

import numpy as np

from autotl.errors import InvalidDataError
from autotl.guard.betting import log_e_of_counts
from autotl.guard.certificate import ALPHA, check_level

POWER = 0.8
_PRECISION = 5e-4  # shares of accuracy


def detectable_gap(
    n_examples: int, discordance: float, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """Return the smallest gap that `certify` finds with this power; None where there is none.

    Exact for accuracy with examples as units, to a twentieth of a point.

    Args:
        n_examples: Guard examples.
        discordance: Share of examples on which one of candidate and floor is right and the other
            wrong; with larger gaps it is the gap.
        alpha: Bound on the chance of a false finding.
        power: Chance to find the gap.

    Returns:
        The gap in shares of accuracy: 0.1 is ten points.

    Raises:
        InvalidDataError: An argument is out of range.
    """
    if n_examples < 0 or not 0 <= discordance <= 1 or not 0 < power < 1:
        raise InvalidDataError(
            f"n_examples is {n_examples!r}, discordance {discordance!r} and power {power!r}. "
            "Expected a count, a share in [0, 1] and a chance between 0 and 1."
        )
    check_level(alpha)
    low, high = 0.0, 1.0
    if detection_power(n_examples, discordance, high, alpha=alpha) < power:
        return None
    while high - low > _PRECISION:
        middle = (low + high) / 2
        enough = detection_power(n_examples, discordance, middle, alpha=alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def detection_power(
    n_examples: int, discordance: float, gap: float, *, alpha: float = ALPHA
) -> float:
    """Return the chance that `certify` finds this gap at any of `n_examples` examples.

    Args:
        n_examples: Guard examples.
        discordance: As for `detectable_gap`.
        gap: In shares of accuracy, at least zero.
        alpha: Bound on the chance of a false finding.
    """
    discordance = max(discordance, gap)
    if discordance == 0 or n_examples == 0:
        return 0.0
    weights = _binomial(n_examples, discordance)
    # No more discordant examples than will ever be seen.
    last = int(np.flatnonzero(np.cumsum(weights) <= 1 - 1e-10).max(initial=-1)) + 1
    last = min(last, n_examples)
    found = _found_by(last, (1 + gap / discordance) / 2, alpha)
    return float(weights[: last + 1] @ found)


def _found_by(n_discordant: int, theta: float, alpha: float) -> np.ndarray:
    """Return the chance that the e-value has reached 1 / alpha by each discordant example.

    Args:
        n_discordant: How many to follow.
        theta: Chance that a discordant example speaks for the gap.
        alpha: Of the certificate.
    """
    least = _least_wins(n_discordant, alpha)
    found = np.zeros(n_discordant + 1)
    open_ = np.ones(1)  # chance of each number of wins with nothing found yet
    for n in range(1, n_discordant + 1):
        grown = np.zeros(n + 1)
        grown[1:] += theta * open_
        grown[:-1] += (1 - theta) * open_
        found[n] = found[n - 1] + grown[least[n] :].sum()
        grown[least[n] :] = 0
        open_ = grown
    return found


@lru_cache(maxsize=16)
def _least_wins(n_discordant: int, alpha: float) -> tuple[int, ...]:
    """Return how many wins reach 1 / alpha among each number of discordant examples."""
    least = [0]
    for n in range(n_discordant + 1):
        wins = least[-1]
        # One more example needs at most one more win; more wins than examples: never.
        near = np.arange(wins, min(wins + 1, n) + 1)
        reached = log_e_of_counts(near, n - near) >= -math.log(alpha) - 1e-12
        least.append(int(near[reached.argmax()]) if reached.any() else n + 1)
    return tuple(least[1:])


def _binomial(n: int, share: float) -> np.ndarray:
    """Return the chances of 0 to n successes."""
    from scipy.stats import binom

    chances: np.ndarray = binom.pmf(np.arange(n + 1), n, share)
    return chances
