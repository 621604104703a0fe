"""Domain samples of source and target, and the measures between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autotl.features import BackboneSession
from autotl.ranking.evidence import Evidence, attempt, guarded
from autotl.specs import DomainSample, LayerStatistics, SimilaritySpec

__all__ = ["Source", "brings", "compute_similarity", "domain_sample", "source_features"]


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


def source_features(session: BackboneSession, source: Source) -> np.ndarray:
    """Return what a backbone makes of the source domain."""
    other = BackboneSession(
        session.spec, source.samples, session.modality, device=session.device, check=session.check
    )
    other.loaded = session.loaded
    return other.embed(np.arange(len(source.samples)))


def compute_similarity(  # noqa: PLR0913  # both domains, and what is asked
    evidence: Evidence,
    session: BackboneSession,
    rows: np.ndarray,
    specs: Sequence[SimilaritySpec],
    *,
    norms: tuple[Mapping[str, LayerStatistics], Mapping[str, LayerStatistics]],
    given: tuple[np.ndarray, Source] | None,
    own: frozenset[str],
    seed: int,
) -> None:
    """Add the measures for which both domains bring what they need.

    The source is what the user gave, cut to as many samples as were looked at; else what the
    backbone remembers of its own: the statistics of its batch norms, and its fingerprint. The
    prior reads the latter in any case.

    Args:
        evidence: Takes the values.
        session: The backbone.
        rows: Samples looked at.
        specs: The measures.
        norms: Moments that batch norms remember, and those that the samples bring.
        given: Features of the given source, and the source.
        own: Names of the measures that the prior reads.
        seed: Of the measures.
    """
    if not specs:
        return
    texts = session.modality.name == "text"
    target = domain_sample(
        session.embed(rows),
        y=evidence.target.y[rows],
        layers=norms[1],
        samples=[session.samples[int(r)] for r in rows] if texts else None,
        seed=seed,
    )
    remembered = guarded(evidence.failed, "fingerprint", lambda: _own_source(session, norms[0]))
    there = None if given is None else _given_source(*given, n=len(rows), texts=texts, seed=seed)
    for spec in (s for s in specs if brings(target, s)):
        has_given = there is not None and brings(there, spec)
        wanted = spec.name in own or not has_given
        if wanted and remembered is not None and brings(remembered, spec):
            compute = partial(spec.compute, remembered, target)
            attempt(evidence, spec.name, compute, evidence.own_similarity)
        if there is not None and has_given:
            attempt(evidence, spec.name, partial(spec.compute, there, target), evidence.similarity)
        elif spec.name in evidence.own_similarity:
            evidence.similarity[spec.name] = evidence.own_similarity[spec.name]


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


def _given_source(
    features: np.ndarray, source: Source, *, n: int, texts: bool, seed: int
) -> DomainSample:
    """Return the source as one side: several measures depend on the number of samples."""
    return domain_sample(
        features[:n],
        y=None if source.y is None else source.y[:n],
        samples=list(source.samples[:n]) if texts else None,
        seed=seed,
    )
