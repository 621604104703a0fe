"""Certificates that a checkpoint is worse, or better, than the floor; valid at any time."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autotl.errors import InvalidDataError
from autotl.guard.betting import log_e_values
from autotl.guard.walk import Walk

ALPHA = 0.05
Finding = Literal["negative", "positive", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What the guard examples say about one checkpoint.

    Args:
        finding: "negative" or "positive", whichever e-value first reached 1 / alpha, else
            "inconclusive".
        n_examples: Examples read until then; all of them where inconclusive.
        log_e_negative: Log e-value after all examples that the checkpoint is worse than the
            floor. An e-value, as `flag_negative` takes it; the largest on the way is none, and
            where one of R judged checkpoints is picked, it is one only after taking off log R.
        log_e_positive: The same that it is better.
        alpha: Bound on the chance of a false "negative", and on that of a false "positive".
    """

    finding: Finding
    n_examples: int
    log_e_negative: float
    log_e_positive: float
    alpha: float


def certify(
    walk: Walk,
    candidate: np.ndarray,
    floor: np.ndarray,
    *,
    alpha: float = ALPHA,
    margin: float = 0.0,
) -> Certificate:
    """Walk the guard examples and say whether and when a checkpoint was certain to be worse.

    The null of "negative" is that the checkpoint is worse than the floor by no more than `margin`
    on examples like these. When it holds, the chance of ever finding "negative" is at most
    `alpha`, however long the walk is and wherever it is stopped (Ville's inequality). This needs
    a checkpoint that was neither fitted nor chosen on the guard examples: folds whose examples
    other folds were fitted on only advise. Where several checkpoints of a trial are judged, even
    on the same examples, share `alpha` out among them.

    Args:
        walk: The guard examples.
        candidate: Whether the candidate is right, in walking order, shape (n_examples,). Fewer
            than the walk has are its beginning.
        floor: The same of the floor.
        alpha: Bound on the chance of a false finding, for either sign.
        margin: In shares of the metric; 0.01 is one point.

    Raises:
        InvalidDataError: A shape does not fit, values are not right or wrong, `alpha` is not in
            (0, 1), or `margin` is negative.
    """
    check_level(alpha, margin)
    part, candidate, floor = _read(walk, candidate, floor)
    return judge(part, part.outcomes(candidate, floor, margin), alpha)


def judge(walk: Walk, outcomes: np.ndarray, alpha: float) -> Certificate:
    """Return the certificate from what each unit of the walk says, shape (2, n_units)."""
    negative, positive = (log_e_values(x) for x in outcomes)
    fired = [_first(path, -math.log(alpha)) for path in (negative, positive)]
    at = min(fired)
    finding: Finding = "inconclusive"
    if at < len(negative):
        finding = "negative" if at == fired[0] else "positive"
    return Certificate(
        finding=finding,
        n_examples=walk.n_examples(at + 1),
        log_e_negative=float(negative[-1]) if len(negative) else 0.0,
        log_e_positive=float(positive[-1]) if len(positive) else 0.0,
        alpha=alpha,
    )


def check_level(alpha: float, margin: float = 0.0) -> None:
    """Raise InvalidDataError unless `alpha` is in (0, 1) and `margin` in [0, 1)."""
    if not 0 < alpha < 1:
        raise InvalidDataError(f"alpha is {alpha!r}. Expected a value between 0 and 1, as 0.05.")
    if not 0 <= margin < 1:
        raise InvalidDataError(f"margin is {margin!r}. Expected a share in [0, 1), as 0.01.")


def _first(path: np.ndarray, threshold: float) -> int:
    """Return the first place at or above the threshold, or the length."""
    above = path >= threshold - 1e-12
    return int(above.argmax()) if above.any() else len(path)


def _read(
    walk: Walk, candidate: np.ndarray, floor: np.ndarray
) -> tuple[Walk, np.ndarray, np.ndarray]:
    """Check who was right on which example and cut the walk to what was read."""
    candidate, floor = _right("candidate", candidate), _right("floor", floor)
    if len(candidate) != len(floor):
        raise InvalidDataError(
            f"candidate has {len(candidate)} examples but floor has {len(floor)}. Both must be "
            "read on the same guard examples."
        )
    return walk.beginning(len(candidate)), candidate, floor


def _right(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise InvalidDataError(
            f"{name} has shape {values.shape}. Expected one value per example, True where right."
        )
    if values.dtype != np.bool_ and not np.isin(values, (0, 1)).all():
        raise InvalidDataError(
            f"{name} holds {values[~np.isin(values, (0, 1))][0]}. Expected True where the "
            "prediction is right and False where it is wrong; compare predictions with labels."
        )
    return values.astype(bool)
