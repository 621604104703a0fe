"""How well a linear classifier tells two domains apart."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import both_samples
from autotl_similarity.gaussians import principal_scores

_MOST_SAMPLES = 2_000
_STRENGTHS = np.logspace(-6, 0, 7)
"""Ridge penalties; the features have a total variance of 1."""


def proxy_a_distance(source: DomainSample, target: DomainSample) -> float:
    """Return 2 (1 - 2 error) of a ridge classifier of domains, in [0, 2].

    Each sample is judged by the classifier fitted without it, exactly and in closed form, so that
    all serve for training, none for judging its own fit, and no split is drawn. The penalty is
    the one with the least squared error of those judgements. The domains count half each,
    whatever their sizes. At most 2,000 samples a domain, drawn by its seed.

    Raises:
        InvalidDataError: Features are missing, not finite or of different embed_dim.
    """
    one, other = both_samples(source, target, _MOST_SAMPLES)
    sizes = [len(one), len(other)]
    domain = np.repeat([1.0, -1.0], sizes)
    weight = np.repeat([0.5 / n for n in sizes], sizes)
    judged = _judgements(np.concatenate([one, other]), domain, weight)
    error = float(weight @ (judged * domain <= 0))
    return 2 * (1 - 2 * min(error, 0.5))


def _judgements(features: np.ndarray, domain: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the prediction for each sample of weighted ridge regression without that sample.

    With hat matrix H, the prediction without sample i is t_i - (t_i - p_i) / (1 - H_ii). The
    features are centred under the weights already and so is the domain, hence the intercept is 0
    and adds only the weight of sample i to H_ii.
    """
    root = np.sqrt(weight)[:, None]
    spectrum, scores = principal_scores(features * root)
    damped = 1 / (spectrum[:, None] + _STRENGTHS)
    fitted = scores @ (damped * (scores.T @ (root[:, 0] * domain))[:, None]) / root
    hat = (scores**2 @ damped + weight[:, None]).clip(max=1 - 1e-10)
    residuals = (domain[:, None] - fitted) / (1 - hat)
    best = int(np.argmin(weight @ residuals**2))
    judged: np.ndarray = domain - residuals[:, best]
    return judged
