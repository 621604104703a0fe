"""Earth mover's distance between the class means of two domains."""

import numpy as np

from autotl.specs import DomainSample
from autotl_similarity.domains import both_labelled
from autotl_similarity.gaussians import squared_distances
from autotl_similarity.transport import transport_cost

_MOST_SAMPLES = 10_000
_GAMMA = 0.01
_LENGTH = 32.0
"""Of a feature vector with 1,024 independent dimensions of unit variance."""


def class_emd(source: DomainSample, target: DomainSample) -> float:
    """Return exp(-0.01 d) for the earth mover's distance d of class means, in (0, 1].

    A class weighs as much as it has samples; moving a unit costs the Euclidean distance of the
    means. Features are scaled to a root mean square distance of 32 from their common centre, as
    1,024 dimensions of unit variance have, so that gamma resolves the same whatever embed_dim is.
    At most 10,000 samples a domain, drawn by its seed.

    Raises:
        InvalidDataError: Features or labels are missing or do not fit each other.
    """
    features, labels = both_labelled(source, target, _MOST_SAMPLES)
    (one, n_one), (other, n_other) = map(_class_means, features, labels)
    distances = _LENGTH * np.sqrt(squared_distances(one, other))
    return float(np.exp(-_GAMMA * transport_cost(distances, n_one, n_other)))


def _class_means(features: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return class means of shape (n_classes, embed_dim) and class sizes."""
    counts = np.bincount(y)
    return np.eye(len(counts))[:, y] @ features / counts[:, None], counts
