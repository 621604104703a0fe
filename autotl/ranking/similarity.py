"""Domain samples of source and target, and the measures between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autotl.features import BackboneSession
from autotl.ranking.evidence import Evidence, SourceTraces, attempt
from autotl.specs import DomainSample, LayerStatistics, SimilaritySpec

__all__ = ["Source", "compute_similarity", "domain_sample"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled samples that the user gave as the source domain.

    Args:
        samples: Usable samples of the task's modality.
        y: Class codes, or None.
    """

    samples: Sequence[Any]
    y: np.ndarray | None


def domain_sample(
    features: np.ndarray,
    *,
    y: np.ndarray | None = None,
    layers: Mapping[str, LayerStatistics] | None = None,
    samples: Sequence[Any] | None = None,
    seed: int = 0,
) -> DomainSample:
    """Return features of shape (n, embed_dim) with their moments as one side of a measure."""
    X = np.asarray(features, np.float64)
    return DomainSample(
        mean=X.mean(axis=0),
        covariance=np.atleast_2d(np.cov(X.T)),
        n=len(X),
        features=X,
        y=y,
        layers=layers or {},
        samples=samples,
        seed=seed,
    )


def compute_similarity(
    evidence: Evidence,
    session: BackboneSession,
    rows: np.ndarray,
    specs: Sequence[SimilaritySpec],
    traces: SourceTraces,
    *,
    source: tuple[BackboneSession, Source] | None,
    seed: int,
) -> None:
    """Add the measures for which both domains bring what they need.

    The source is what the user gave; else what the backbone remembers of its own: the statistics
    of its batch norms, and its fingerprint.
    """
    own = _own_source(session, traces.remembered)
    given = None if source is None else _given_source(*source, seed)
    texts = session.modality.name == "text"
    target = domain_sample(
        session.embed(rows),
        y=evidence.target.y[rows],
        layers=traces.met,
        samples=[session.samples[int(r)] for r in rows] if texts else None,
        seed=seed,
    )
    for spec in specs:
        sources = [s for s in (given, own) if s is not None and brings(s, spec)]
        if sources and brings(target, spec):
            compute = partial(spec.compute, sources[0], target)
            attempt(evidence, spec.name, compute, evidence.similarity)


def brings(domain: DomainSample, spec: SimilaritySpec) -> bool:
    """Say whether a domain has what a measure needs."""
    has: dict[str, Callable[[], bool]] = {
        "samples": lambda: domain.features is not None,
        "moments": lambda: domain.n > 1 and len(domain.mean) > 0,
        "labels": lambda: domain.features is not None and domain.y is not None,
        "layers": lambda: bool(domain.layers),
        "texts": lambda: domain.samples is not None,
    }
    return has[spec.needs]()


def _own_source(
    session: BackboneSession, remembered: Mapping[str, LayerStatistics]
) -> DomainSample | None:
    if session.spec.source_fingerprint is not None:
        found = session.spec.source_fingerprint()
        return DomainSample(
            mean=found.mean, covariance=found.covariance(), n=found.n, layers=remembered
        )
    if not remembered:
        return None
    nothing = np.zeros(0)
    return DomainSample(mean=nothing, covariance=nothing[:, None], n=0, layers=remembered)


def _given_source(session: BackboneSession, source: Source, seed: int) -> DomainSample:
    texts = session.modality.name == "text"
    return domain_sample(
        session.embed(np.arange(len(source.samples))),
        y=source.y,
        samples=list(source.samples) if texts else None,
        seed=seed,
    )
