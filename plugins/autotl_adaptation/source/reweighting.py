"""Let samples of the source count the more, the more they look like the target's.

References:
    Shimodaira: Improving predictive inference under covariate shift by weighting the
    log-likelihood function. Journal of Statistical Planning and Inference, 2000.
    Huang, Gretton, Borgwardt, Schoelkopf, Smola: Correcting sample selection bias by unlabeled
    data. NIPS 2007. The latter is skada's.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from autotl.adapt import softmax, solve_logistic_panel
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.domains import Aligned, Domains, aligned_steps, unmoved
from autotl_adaptation.source.library import source_weights

_MOST = 10.0  # times the mean; a few samples must not stand for all
_STRENGTH = 1e-2  # inverse, of the probe that tells the domains apart


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength on both domains' samples, the source's weighted."""

    def align(both: Domains) -> Aligned:
        matching = task.params["estimator"] == "mean_matching"
        weights = _by_means(both) if matching else _by_discriminator(both)
        if weights.sum() <= 0:  # no sample looks like the target's at all
            return unmoved(both)
        weights = np.minimum(weights / weights.mean(), _MOST)
        return replace(unmoved(both), weights=weights / weights.mean())

    yield from aligned_steps(task, state, align)


def _by_discriminator(both: Domains) -> np.ndarray:
    """Return the odds of the target, by a probe that tells the two domains apart."""
    X = np.concatenate([both.source, both.target])
    y = np.repeat([0, 1], [len(both.source), len(both.target)])
    balance = len(y) / (2 * np.bincount(y))
    panel = solve_logistic_panel(X, y, 2, [_STRENGTH], class_weights=balance)
    odds = softmax(both.source @ panel.weights[0].T + panel.biases[0])
    result: np.ndarray = odds[:, 1] / odds[:, 0].clip(1e-6)
    return result


def _by_means(both: Domains) -> np.ndarray:
    """Return weights under which the means of both domains agree, in a kernel's space.

    The kernel is as wide as the domains are apart: the median squared distance between them.
    """
    from scipy.spatial.distance import cdist

    width = float(np.median(cdist(both.source, both.target, "sqeuclidean")))
    return source_weights(
        "KMMReweightAdapter", both.source, both.target, B=_MOST, gamma=1 / max(width, 1e-12)
    )
