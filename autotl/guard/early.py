"""When a trial may end early: a conformal bound on the gain that is still to come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autotl.errors import InvalidDataError
from autotl.guard.certificate import ALPHA, check_level

LOOKS = tuple(k / 8 for k in range(1, 8))
"""Fractions of the schedule from which gains are measured."""

# Gains still to come fall over the schedule about like this. The guarantee holds for any shape;
# a better one makes the bound tighter.
_SHAPE = 1 / np.sqrt(LOOKS) - 1


@dataclass(frozen=True, kw_only=True)
class GainBound:
    """An upper bound on what a trial still gains, from the curves of trials that ran to their end.

    Args:
        scale: The bound at each of `LOOKS` over the typical shape of gains; infinite where too few
            curves are known.
        n_curves: How many curves it rests on.
        source: "study", "shipped" or "none".
        alpha: Bound on the chance that a trial gains more after any of its looks.
    """

    scale: float
    n_curves: int
    source: Literal["study", "shipped", "none"]
    alpha: float

    def at(self, fraction: float) -> float:
        """Return the bound for a trial that has run this fraction of its schedule.

        Raises:
            InvalidDataError: `fraction` is not in [0, 1].
        """
        if not 0 <= fraction <= 1:
            raise InvalidDataError(
                f"fraction is {fraction!r}. Expected steps done over steps planned."
            )
        passed = sum(look <= fraction for look in LOOKS)
        if fraction == 1:
            return 0.0
        return math.inf if passed == 0 else self.scale * float(_SHAPE[passed - 1])

    def stops(self, value: float, fraction: float, floor: float, *, delta: float = 0.0) -> bool:
        """Say whether a trial should end: not even the bound takes it to the floor less `delta`.

        Args:
            value: The trial's best validation value so far.
            fraction: Steps done over steps planned.
            floor: The floor's value on the same samples.
            delta: How far below the floor a trial may end and still count.
        """
        return fraction < 1 and value + self.at(fraction) < floor - delta


def residual_gains(history: Sequence[float], n_planned: int) -> np.ndarray:
    """Measure how much a trial's best value rose after each of `LOOKS`, shape (n_looks,).

    Args:
        history: Validation values of all steps of a trial that ran to its own end, not stopped by
            this rule or for being worse than others; greater is better.
        n_planned: Steps of its schedule, at least as many as it ran. Plans of one step have
            nothing to gain: leave them out, or the bound is too low for longer ones.

    Raises:
        InvalidDataError: `history` is empty, longer than planned, or not finite.
    """
    best = np.maximum.accumulate(np.asarray(history, dtype=np.float64))
    if best.ndim != 1 or not 1 <= len(best) <= n_planned or not np.isfinite(best).all():
        raise InvalidDataError(
            f"history has shape {best.shape} for {n_planned} planned steps. Expected one finite "
            "value for each step that was done."
        )
    # The first step at which the fraction is reached: running trials are compared from there on.
    at = [min(math.ceil(look * n_planned), len(best)) - 1 for look in LOOKS]
    gains: np.ndarray = best[-1] - best[at]
    return gains


def gain_bound(
    gains: np.ndarray, *, shipped: np.ndarray | None = None, alpha: float = ALPHA
) -> GainBound:
    """Bound the gain still to come by split conformal prediction.

    Each curve's score is its greatest gain over the typical shape, at any look; the bound is the
    ceil((n + 1)(1 - alpha))-th smallest score. So a trial that is exchangeable with the curves is
    ended although it would have reached the floor with a chance of at most `alpha`, over all its
    looks together.

    Args:
        gains: `residual_gains` of trials of this study that the rule did not select: those before
            it was in force and the audited ones; shape (n_curves, n_looks).
        shipped: Gains of other data sets' trials, used while `gains` are fewer than
            (1 - alpha) / alpha; without them nothing is stopped until then.
        alpha: Bound on the chance of a false stop, for one trial.

    Raises:
        InvalidDataError: A shape does not fit, gains are negative or not finite, or `alpha` is not
            in (0, 1).

    References:
        Lei, G'Sell, Rinaldo, Tibshirani, Wasserman: Distribution-free predictive inference for
        regression. Journal of the American Statistical Association 113, 2018.
    """
    check_level(alpha)
    scores = _scores("gains", gains)
    source: Literal["study", "shipped"] = "study"
    if _rank(len(scores), alpha) > len(scores) and shipped is not None:
        scores, source = _scores("shipped", shipped), "shipped"
    n, rank = len(scores), _rank(len(scores), alpha)
    if rank > n:
        return GainBound(scale=math.inf, n_curves=n, source="none", alpha=alpha)
    scale = float(np.sort(scores)[rank - 1])
    return GainBound(scale=scale, n_curves=n, source=source, alpha=alpha)


def _rank(n: int, alpha: float) -> int:
    """Return ceil((n + 1)(1 - alpha)) without the rounding of 1 - alpha."""
    return n + 1 - math.floor((n + 1) * alpha + 1e-9)


def _scores(name: str, gains: np.ndarray) -> np.ndarray:
    gains = np.asarray(gains, dtype=np.float64)
    if gains.size == 0:
        return np.zeros(0)
    if gains.ndim != 2 or gains.shape[1] != len(LOOKS):
        raise InvalidDataError(
            f"{name} has shape {gains.shape}. Expected (n_curves, {len(LOOKS)}), one row of "
            "`residual_gains` for each curve."
        )
    if not (np.isfinite(gains) & (gains >= 0)).all():
        raise InvalidDataError(
            f"{name} holds {gains.min()}. Expected finite gains of best values, none negative."
        )
    scores: np.ndarray = (gains / _SHAPE).max(axis=1)
    return scores
