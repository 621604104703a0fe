"""A look at some samples through one backbone: features, scores, similarity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from autotl.features import (
    BackboneSession,
    decompose,
    layer_average,
    layer_means,
    norm_moments,
    source_probs,
)
from autotl.ranking.evidence import LAYERS, Evidence, Target, attempt, guarded
from autotl.ranking.similarity import Source, compute_similarity, source_features
from autotl.specs import LayerStatistics, ScoreInput, ScoreSpec, SimilaritySpec

__all__ = ["Looker", "Memory"]

_NORM_ROWS = 32  # samples behind the moments at batch norms; each has many positions


@dataclass(kw_only=True)
class Memory:
    """What extra passes through one backbone have shown, kept from rung to rung.

    Args:
        first: Rows of the first look, which `probs` belong to.
        probs: Probabilities over the source classes of shape (len(first), n_source_classes).
        remembered: Running statistics of the batch norms, by name.
        met: Moments of what the samples bring to them.
        layers: Token means of shape (n_samples, n_layers, embed_dim) of the rows so far.
        source: Features of the source domain that the user gave.
        failed: Reason by name of a pass that failed.
    """

    first: np.ndarray | None = None
    probs: np.ndarray | None = None
    remembered: Mapping[str, LayerStatistics] = field(default_factory=dict)
    met: Mapping[str, LayerStatistics] = field(default_factory=dict)
    layers: np.ndarray | None = None
    source: np.ndarray | None = None
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Looker:
    """Looks at samples of one task.

    Args:
        target: The task.
        scores: Transferability scores to compute.
        similarities: Measures to compute.
        layers: Whether scores of the average over a text encoder's layers are wanted too.
        own: Names of the measures that the prior reads.
        source: The source domain, where the user gave one.
        seed: Of scores and measures.
    """

    target: Target
    scores: Sequence[ScoreSpec]
    similarities: Sequence[SimilaritySpec]
    layers: bool
    own: frozenset[str]
    source: Source | None
    seed: int

    def look(self, session: BackboneSession, rows: np.ndarray, memory: Memory) -> Evidence:
        """Return what rows show; they begin with those of the looks before.

        Raises:
            ValueError: Embeddings contain NaN or infinity.
        """
        features = session.embed(rows)
        session.measure_speed()
        if not np.isfinite(features).all():
            raise ValueError("its embeddings contain NaN or infinity")
        evidence = Evidence(
            spec=session.spec,
            target=self.target,
            n_samples=len(rows),
            seconds_per_sample=session.seconds_per_sample or 0.0,
        )
        self._remember(session, rows, memory)
        evidence.failed |= memory.failed
        self._score(evidence, session, rows, memory)
        if self.layers:
            self._score_layers(evidence, session, rows, memory)
        compute_similarity(
            evidence, session, rows, self.similarities,
            norms=(memory.remembered, memory.met), given=self._given(session, memory),
            own=self.own, seed=self.seed,
        )  # fmt: skip
        return evidence

    def _remember(self, session: BackboneSession, rows: np.ndarray, memory: Memory) -> None:
        """Run the passes that the first look alone needs."""
        if memory.first is not None:
            return
        memory.first, failed = rows, memory.failed
        if any("source_probs" in spec.needs for spec in self.scores):
            found = guarded(failed, "source_probs", lambda: source_probs(session, rows))
            memory.probs = found
        if any(spec.needs == "layers" for spec in self.similarities):
            moments = guarded(
                failed, "batch norms", lambda: norm_moments(session, rows[:_NORM_ROWS])
            )
            memory.remembered, memory.met = moments or ({}, {})

    def _score(
        self, evidence: Evidence, session: BackboneSession, rows: np.ndarray, memory: Memory
    ) -> None:
        whole = self._input(session, rows)
        first = memory.first
        for spec in self.scores:
            if "source_probs" not in spec.needs:
                attempt(evidence, spec.name, partial(spec.compute, whole), evidence.scores)
            elif memory.probs is not None and first is not None:
                given = self._input(session, first, memory.probs)
                attempt(evidence, spec.name, partial(spec.compute, given), evidence.scores)

    def _input(
        self, session: BackboneSession, rows: np.ndarray, probs: np.ndarray | None = None
    ) -> ScoreInput:
        return ScoreInput(
            features=session.embed(rows),
            y=self.target.y[rows],
            source_probs=probs,
            decomposition=lambda: session.decomposition(rows),
            seed=self.seed,
        )

    def _score_layers(
        self, evidence: Evidence, session: BackboneSession, rows: np.ndarray, memory: Memory
    ) -> None:
        """Add the scores of the average over a text encoder's layers, where it has layers."""
        n_known = 0 if memory.layers is None else len(memory.layers)
        if n_known < len(rows):
            new = guarded(evidence.failed, "layers", lambda: layer_means(session, rows[n_known:]))
            if new is None:
                return
            known = [] if memory.layers is None else [memory.layers]
            memory.layers = np.concatenate([*known, new])
        if memory.layers is None:
            return
        averaged = layer_average(memory.layers)
        shared = decompose(averaged)
        given = ScoreInput(
            features=averaged,
            y=self.target.y[rows],
            decomposition=lambda: shared,
            seed=self.seed,
        )
        for spec in self.scores:
            if "source_probs" not in spec.needs:
                name = spec.name + LAYERS
                attempt(evidence, name, partial(spec.compute, given), evidence.scores)

    def _given(self, session: BackboneSession, memory: Memory) -> tuple[np.ndarray, Source] | None:
        """Return the features of the given source, computed once."""
        source = self.source
        if source is None:
            return None
        if memory.source is None:
            memory.source = guarded(
                memory.failed, "source", lambda: source_features(session, source)
            )
        return None if memory.source is None else (memory.source, source)
