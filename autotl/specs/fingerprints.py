"""What a backbone remembers of the data it learnt from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autotl.specs.scores import DomainSample

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class LayerStatistics:
    """Moments of the output of one layer group over samples and positions.

    Args:
        mean: Shape (n_channels,).
        variance: Shape (n_channels,).
    """

    mean: "np.ndarray"
    variance: "np.ndarray"


@dataclass(frozen=True, kw_only=True)
class SourceFingerprint:
    """Statistics of a backbone's features on data of its source domain that it was not fitted on.

    With them, a target can be compared with the source where the source data is not at hand.

    Args:
        n: Samples behind the statistics.
        mean: Shape (embed_dim,).
        factor: Shape (embed_dim, rank); the covariance is factor @ factor.T + diag(residual).
        residual: Shape (embed_dim,), variances that the factor leaves unexplained, >= 0.
        class_means: Shape (n_classes, embed_dim).
        class_counts: Shape (n_classes,), samples behind each mean.
        clustered: Whether the classes are clusters found in the features, because the source
            data has no labels.
        layers: By layer group, from the input to the output, named after its first prefix.
    """

    n: int
    mean: "np.ndarray"
    factor: "np.ndarray"
    residual: "np.ndarray"
    class_means: "np.ndarray"
    class_counts: "np.ndarray"
    clustered: bool = False
    layers: Mapping[str, LayerStatistics] = field(default_factory=dict)

    def covariance(self) -> "np.ndarray":
        """Return the covariance of shape (embed_dim, embed_dim)."""
        import numpy as np

        full: np.ndarray = self.factor @ self.factor.T + np.diag(self.residual)
        return full

    def as_domain_sample(self) -> DomainSample:
        """Return the moments as one side of a similarity measure."""
        return DomainSample(mean=self.mean, covariance=self.covariance(), n=self.n)
