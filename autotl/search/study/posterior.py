"""What to expect of every pair of backbone and method: the prior, and what trials have shown.

The value of a pair, in log-odds where the metric is a share, is a sum of a level of the task, the
backbone's part, the method's part and a part of the pair's own, each Gaussian; trials are noisy
readings of it. Conditioning on them is the algebra of a Gaussian process with few points, and of a
Student-t process where spreads are concerned: how far off expectations are shows how far to doubt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autotl.search.study.belief import EDGE, Belief, log_odds

Pair = tuple[str, str]
_LEVEL_SPREAD = 0.5  # log-odds; of a task around what is expected, where nothing says it
_ASSUMED = 3  # differences between trials that the assumed spread of parameters counts as
_FREEDOM = 5.0  # degrees of it that the spreads have, which few data sets have told
_LEAST_SLOPE = 1e-6  # of a share by its log-odds


@dataclass(frozen=True, kw_only=True)
class MethodPrior:
    """What is known of a method before a search.

    Args:
        gain: Log-odds that it adds to a probe's on average.
        spread: Standard deviation of that from task to task.
        pair_spread: Standard deviation from backbone to backbone on one task.
        params_spread: Standard deviation from parameters to parameters on one pair.
        over: A method that this one is a variant of: both share its spreads on a task and on a
            pair, and `spread` and `pair_spread` are what this one adds.
    """

    gain: float = 0.0
    spread: float = 0.3
    pair_spread: float = 0.2
    params_spread: float = 0.2
    over: str = ""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What values are.

    Args:
        share: Whether they lie in [0, 1]; beliefs are then held in log-odds.
        n_samples: Samples that they are measured on, all alike; None where they are exact.
        level_spread: Standard deviation of a task's level around what is expected, log-odds for
            shares; None where the ranking says it.
    """

    share: bool = True
    n_samples: int | None = None
    level_spread: float | None = None


class Posterior:
    """Beliefs over pairs given the trials so far.

    Args:
        backbones: Expected share and its spread by backbone, None where nothing is known.
        methods: Prior of each method.
        scale: What values are.
        gains: Log-odds that a method adds to a probe of a backbone; the method's own elsewhere.
    """

    def __init__(
        self,
        backbones: Mapping[str, tuple[float, float] | None],
        methods: Mapping[str, MethodPrior],
        scale: Scale,
        gains: Mapping[Pair, float] | None = None,
    ) -> None:
        self._methods, self._gains = dict(methods), dict(gains or {})
        self._share, self._n_samples = scale.share, scale.n_samples
        spread = _LEVEL_SPREAD if scale.level_spread is None else scale.level_spread
        self._level_variance = spread**2
        self._edge = max(EDGE, 0.5 / self._n_samples) if self._n_samples else EDGE
        read = _log_odds if self._share else tuple
        known = [read(x) for x in backbones.values() if x is not None]
        # What is not known counts as a poor one of those that are, with much doubt.
        unknown = (min((m for m, _ in known), default=0.0), 1.0)
        self._parts = {b: read(x) if x is not None else unknown for b, x in backbones.items()}
        # Numbers compare faster than names.
        self._backbone_codes = {name: code for code, name in enumerate(self._parts)}
        self._method_codes = {name: code for code, name in enumerate(self._methods)}
        self._readings: dict[Pair, list[float]] = {}
        self._solvable: tuple[list[Pair], np.ndarray, np.ndarray] | None = None

    def tell(self, pair: Pair, value: float) -> None:
        """Take in the value of a trial."""
        self._readings.setdefault(pair, []).append(self._forward(value))
        self._solvable = None

    def tried(self, pair: Pair) -> int:
        """Return how many values of a pair are known."""
        return len(self._readings.get(pair, ()))

    def beliefs(self, pairs: Sequence[Pair]) -> list[Belief]:
        """Return what is expected to be known of each pair after its next trial.

        That is the knowledge gradient's view (Frazier et al. 2009): a trial is worth as much as
        it may change what is believed, not as much as its reading may be lucky.
        """
        if not pairs:
            return []
        mean, variance = self._latent(pairs)
        tried = np.array([self.tried(p) for p in pairs])
        # Another trial on the same samples tells nothing new but what other parameters do.
        noise = [
            self._method(p).params_spread ** 2 + self._sampling(m)
            for p, m in zip(pairs, mean, strict=True)
        ]
        learnt = np.where(tried > 0, 0.0, variance**2 / (variance + np.array(noise)))
        # Of n draws the next exceeds the best by about 1 / n of their spread.
        of_params = {method: self._params_variance(method) for method in {p[1] for p in pairs}}
        spread = np.array([of_params[p[1]] for p in pairs]) / (1 + tried) ** 2
        sd = np.sqrt(learnt + spread)
        return [self._backward(float(m), float(s)) for m, s in zip(mean, sd, strict=True)]

    def reached(self) -> float | None:
        """Return the highest value that is believed to have been reached, luck taken off."""
        if not self._readings:
            return None
        seen, K, residual = self._known()
        without_luck = K - np.diag([self._sampling(max(self._readings[p])) for p in seen])
        mean = np.array([self._mean(p) for p in seen]) + without_luck @ np.linalg.solve(
            K, residual
        )
        return self._backward(float(mean.max()), 0.0).mean

    def _latent(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
        """Return means and variances of how high pairs reach, given the readings."""
        mean = np.array([self._mean(p) for p in pairs])
        variance = np.array([self._variance(p) for p in pairs])
        if not self._readings:
            return mean, variance
        seen, K, residual = self._known()
        across = self._covariance(pairs, seen)
        solved = np.linalg.solve(K, np.column_stack([residual, across.T]))
        variance -= np.einsum("ij,ji->i", across, solved[:, 1:])
        # A Student-t process (Shah et al. 2014): surprises widen what is believed of all the rest.
        surprise = float(residual @ solved[:, 0])
        variance *= (_FREEDOM + surprise) / (_FREEDOM + len(seen))
        return mean + across @ solved[:, 0], np.clip(variance, 1e-9, None)

    def _known(self) -> tuple[list[Pair], np.ndarray, np.ndarray]:
        """Return the pairs that were tried, the covariance of their readings, and the surprise."""
        if self._solvable is None:
            seen = list(self._readings)
            best = np.array([max(self._readings[p]) for p in seen])
            # The best of several trials tells how high a pair reaches, the more the surer.
            noise = [self._method(p).params_spread ** 2 / self.tried(p) for p in seen]
            luck = [self._sampling(odds) for odds in best]
            K = self._covariance(seen, seen) + np.diag(noise) + np.diag(luck)
            residual = best - np.array([self._mean(p) for p in seen])
            self._solvable = seen, K + 1e-9 * np.eye(len(seen)), residual
        return self._solvable

    def _mean(self, pair: Pair) -> float:
        return self._parts[pair[0]][0] + self._gains.get(pair, self._method(pair).gain)

    def _variance(self, pair: Pair) -> float:
        own = self._parts[pair[0]][1]
        spreads = (*self._shared(pair), *self._own(pair))
        return self._level_variance + own**2 + float(np.square(spreads).sum())

    def _kin(self, method: str) -> str:
        """Return the method that one is a variant of, itself where it is none."""
        over = self._methods[method].over
        return over if over in self._methods else method

    def _shared(self, pair: Pair) -> tuple[float, float]:
        """Return the spreads on a task and on a pair that all variants of a method share."""
        kin = self._methods[self._kin(pair[1])]
        return kin.spread, kin.pair_spread

    def _own(self, pair: Pair) -> tuple[float, float]:
        """Return the spreads on a task and on a pair that are a variant's own."""
        method = self._method(pair)
        variant = self._kin(pair[1]) != pair[1]
        return (method.spread, method.pair_spread) if variant else (0.0, 0.0)

    def _params_variance(self, method: str) -> float:
        """Return the variance that parameters make: as assumed, and as pairs so far have shown."""
        own = [values for (_, m), values in self._readings.items() if m == method]
        squares = sum(float(np.var(values)) * len(values) for values in own if len(values) > 1)
        n_free = sum(len(values) - 1 for values in own)
        assumed = self._methods[method].params_spread ** 2
        return (_ASSUMED * assumed + squares) / (_ASSUMED + n_free)

    def _sampling(self, odds: float) -> float:
        """Return the variance that few samples leave, binomial."""
        if not self._share or not self._n_samples:
            return 0.0
        p = 1 / (1 + float(np.exp(-odds)))
        return 1 / (self._n_samples * p * (1 - p))

    def _covariance(self, rows: Sequence[Pair], columns: Sequence[Pair]) -> np.ndarray:
        codes = [
            np.array(
                [
                    (
                        self._backbone_codes[backbone],
                        self._method_codes[method],
                        self._method_codes[self._kin(method)],
                    )
                    for backbone, method in pairs
                ]
            ).reshape(-1, 3)
            for pairs in (rows, columns)
        ]
        one_backbone, one_method, kin = (
            np.equal.outer(codes[0][:, i], codes[1][:, i]) for i in range(3)
        )
        parts = np.array([self._parts[a[0]][1] ** 2 for a in rows])[:, None]
        shared, own = (
            np.square([spreads(a) for a in rows]).reshape(-1, 2)
            for spreads in (self._shared, self._own)
        )
        total: np.ndarray = (
            self._level_variance
            + one_backbone * parts
            + kin * (shared[:, :1] + one_backbone * shared[:, 1:])
            + one_method * (own[:, :1] + one_backbone * own[:, 1:])
        )
        return total

    def _method(self, pair: Pair) -> MethodPrior:
        return self._methods[pair[1]]

    def within(self, value: float) -> float:
        """Return a value as it is read: no share that few samples show is 0 or 1."""
        return min(max(value, self._edge), 1 - self._edge) if self._share else value

    def _forward(self, value: float) -> float:
        if not self._share:
            return value
        p = self.within(value)
        return float(np.log(p / (1 - p)))

    def _backward(self, mean: float, sd: float) -> Belief:
        return Belief.of(mean, sd, share=self._share)


def _log_odds(share_and_spread: tuple[float, float]) -> tuple[float, float]:
    share, spread = share_and_spread
    return log_odds(share), spread / max(share * (1 - share), _LEAST_SLOPE)
