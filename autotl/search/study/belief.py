"""What is believed of a value that is not known yet."""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

EDGE = 1e-3
_FAR, _N_POINTS = 8.0, 129  # standard deviations, and points of integration on them


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
        if self.log_odds is None:
            return expected_improvement(self.mean, self.sd, best)
        if best >= 1:
            return 0.0
        mean, sd = self.log_odds
        low = (log_odds(best) - mean) / sd
        z = np.linspace(max(low, -_FAR), max(low, 0.0) + _FAR, _N_POINTS)
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        beyond = 1 / (1 + np.exp(-(mean + sd * z))) - best
        return float((beyond.clip(0) * density).sum() * (z[1] - z[0]))

    def chance(self, bar: float) -> float:
        """Return the probability of a value above `bar`."""
        if self.log_odds is None:
            return _normal_cdf((self.mean - bar) / max(self.sd, 1e-9))
        mean, sd = self.log_odds
        return _normal_cdf((mean - log_odds(bar)) / sd)


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
