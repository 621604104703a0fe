"""What is believed of a value that is not known yet."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

EDGE = 1e-3
_FAR = 8.0  # standard deviations, beyond which there is nothing to integrate
_POINTS = np.linspace(0.0, 1.0, 129)  # of integration


@dataclass(frozen=True, kw_only=True)
class Belief:
    """What to expect of a value, such as that of the next trial of a pair.

    Args:
        mean: Of its value.
        sd: Standard deviation, parameters not yet chosen.
        log_odds: The same in log-odds, in which shares are Gaussian; None where values are none.
    """

    mean: float
    sd: float
    log_odds: tuple[float, float] | None = None

    @classmethod
    def of(cls, mean: float, sd: float, *, share: bool) -> "Belief":
        """Return a belief from its mean and spread in log-odds where values are shares."""
        if not share:
            return cls(mean=mean, sd=sd)
        p = 1 / (1 + np.exp(-mean))
        spread = float(sd * max(p * (1 - p), EDGE))
        return cls(mean=float(p), sd=spread, log_odds=(mean, sd))

    def improvement(self, best: float) -> float:
        """Return the expected improvement on `best`."""
        return float(improvements([self], best)[0])

    def chance(self, bar: float) -> float:
        """Return the probability of a value above `bar`."""
        if self.log_odds is None:
            return _normal_cdf((self.mean - bar) / max(self.sd, 1e-9))
        mean, sd = self.log_odds
        return _normal_cdf((mean - log_odds(bar)) / sd)


def improvements(beliefs: Sequence[Belief], best: float) -> np.ndarray:
    """Return the expected improvement of each belief on `best`; all are of one kind."""
    if not beliefs or beliefs[0].log_odds is None:
        return np.array([expected_improvement(b.mean, b.sd, best) for b in beliefs])
    if best >= 1:
        return np.zeros(len(beliefs))
    mean, sd = np.array([b.log_odds for b in beliefs]).T[:, :, None]
    low = (log_odds(best) - mean) / sd
    z = np.clip(low, -_FAR, None) + _POINTS * (_FAR + np.clip(-low, 0.0, _FAR))
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    beyond = (1 / (1 + np.exp(-(mean + sd * z))) - best).clip(0)
    return np.asarray((beyond * density).sum(axis=1) * (z[:, 1] - z[:, 0]))


@functools.lru_cache(maxsize=4096)
def log_odds(share: float) -> float:
    """Return the log-odds of a share; nearer to 0 or 1 than `EDGE` it counts as that near."""
    p = min(max(share, EDGE), 1 - EDGE)
    return float(np.log(p / (1 - p)))


def expected_improvement(mean: float, sd: float, best: float) -> float:
    """Return the expectation of how far a Gaussian value exceeds `best`."""
    sd = max(sd, 1e-9)
    z = (mean - best) / sd
    density = float(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return sd * (z * _normal_cdf(z) + density)


def _normal_cdf(z: float) -> float:
    return 0.5 * (1 + erf(z / sqrt(2)))
