"""Transferability scores and similarity measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from autotl.specs.algebra import SpectralDecomposition
from autotl.specs.base import Spec

if TYPE_CHECKING:
    import numpy as np

    from autotl.specs.fingerprints import LayerStatistics


@dataclass(frozen=True, kw_only=True)
class ScoreInput:
    """What a transferability score sees.

    Args:
        features: Shape (n_samples, embed_dim).
        y: Class codes of shape (n_samples,).
        source_probs: Shape (n_samples, n_source_classes), where the score needs it.
        decomposition: Returns the shared decomposition of `features`.
        seed: Of everything random.
    """

    features: "np.ndarray"
    y: "np.ndarray"
    source_probs: "np.ndarray | None" = None
    decomposition: Callable[[], SpectralDecomposition] | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoreSpec(Spec):
    """A transferability score: a cheap prediction of accuracy after transfer, greater is better.

    Args:
        compute: The score of one backbone's features.
        needs: Subset of {"features", "source_probs"}.
        tasks: Problem kinds it is defined for.
    """

    compute: Callable[[ScoreInput], float]
    needs: frozenset[str] = frozenset({"features"})
    tasks: tuple[str, ...] = ("classification",)


@dataclass(frozen=True, kw_only=True)
class DomainSample:
    """A sample of one domain in the embedding space of one backbone.

    Args:
        mean: Shape (embed_dim,).
        covariance: Shape (embed_dim, embed_dim).
        n: Number of samples behind the moments.
        features: Shape (n, embed_dim), where samples rather than moments are at hand.
        y: Class codes of shape (n,), where the samples are labelled; codes of two domains have
            nothing to do with each other.
        layers: Moments of what reaches the batch norms of the backbone, by their names.
        samples: The n samples themselves, such as texts, where a measure reads them.
        seed: Of everything random.
    """

    mean: "np.ndarray"
    covariance: "np.ndarray"
    n: int
    features: "np.ndarray | None" = None
    y: "np.ndarray | None" = None
    layers: "Mapping[str, LayerStatistics]" = field(default_factory=dict)
    samples: Sequence[Any] | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SimilaritySpec(Spec):
    """A measure of how close two domains are.

    Args:
        compute: `compute(source, target)`.
        greater_is_closer: Orientation.
        symmetric: Whether swapping the domains changes nothing.
        needs: What both domains must bring: "samples" for `features`, "moments" where mean and
            covariance are enough, "labels" for `features` with `y`, "layers", or "texts" for
            `samples` that are texts.
    """

    compute: Callable[[DomainSample, DomainSample], float]
    greater_is_closer: bool
    symmetric: bool = True
    needs: Literal["samples", "moments", "labels", "layers", "texts"] = "samples"
