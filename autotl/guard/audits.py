"""Audits of the early stop: a random few trials run on, and show how often it is wrong."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autotl.errors import InvalidDataError

AUDIT_SHARE = 0.1
_STREAM = 23  # keeps the draw apart from others made by seed and trial


@functools.lru_cache(maxsize=4096)  # asked after every step of a trial
def is_audited(trial: int, seed: int, *, share: float = AUDIT_SHARE) -> bool:
    """Say whether a trial is one of the few that no early stop ends.

    Drawn by the trial's number, before anything is known of it: so all workers agree, and the
    audited trials are a fair sample of all trials, to calibrate on as well as to count.

    Args:
        trial: The trial's number.
        seed: Of the study.
        share: Chance of being audited.

    Raises:
        InvalidDataError: `share` is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise InvalidDataError(f"share is {share!r}. Expected a chance in [0, 1], as 0.1.")
    return bool(np.random.default_rng([seed, trial, _STREAM]).random() < share)


@dataclass(frozen=True, kw_only=True)
class FalseStops:
    """How often audited trials that would have been stopped reached the floor after all.

    Args:
        n_audited: Audited trials, all of which ran to their end.
        n_stoppable: Those that the rule would have stopped.
        n_false: Those of them that ended at the floor or above.
        high: Upper 95 % Clopper-Pearson limit of `rate`; 1 without audits.
    """

    n_audited: int
    n_stoppable: int
    n_false: int
    high: float

    @property
    def rate(self) -> float:
        """The share of false stops among audited trials; this is what alpha bounds."""
        return self.n_false / self.n_audited if self.n_audited else 0.0


def count_false_stops(audited: Iterable[tuple[bool, float]], floor: float) -> FalseStops:
    """Count what the early stop would have got wrong.

    Args:
        audited: For each audited trial, whether the rule would have stopped it at any step, and
            its final value.
        floor: The floor's value, less the margin that the rule allows.

    Raises:
        InvalidDataError: A final value is NaN.
    """
    rows = list(audited)
    finals = np.array([final for _, final in rows], dtype=np.float64)
    if np.isnan(finals).any():
        raise InvalidDataError(
            "A final value is NaN. Leave out trials that failed before they had a value."
        )
    stoppable = np.array([stopped for stopped, _ in rows], dtype=bool)
    n_false = int((stoppable & (finals >= floor)).sum())
    return FalseStops(
        n_audited=len(rows),
        n_stoppable=int(stoppable.sum()),
        n_false=n_false,
        high=upper_limit(n_false, len(rows)),
    )


def upper_limit(successes: int, n: int, *, confidence: float = 0.95) -> float:
    """Return the one-sided Clopper-Pearson limit of a share; 1 where nothing was counted."""
    from scipy.stats import beta

    if successes >= n:
        return 1.0
    return float(beta.ppf(confidence, successes + 1, n - successes))
