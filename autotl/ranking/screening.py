"""Successive halving over samples: all backbones on a few, the better ones on more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession, Caching, Stopped
from autotl.ranking.evidence import (
    Evidence,
    SourceTraces,
    Target,
    compute_layer_scores,
    compute_scores,
    find_traces,
)
from autotl.ranking.prior import Expectation, Prior
from autotl.ranking.similarity import Source, compute_similarity
from autotl.registry import get_registry
from autotl.specs import BackboneSpec, ScoreSpec, SimilaritySpec

__all__ = ["FIRST_RUNG", "RUNGS", "Screened", "Screening", "nested_order"]

RUNGS = (128, 512, 1000)  # samples
FIRST_RUNG = RUNGS[0]
_FIRST_OF_CLASS = 3  # samples of each class that the first rung has at least
_KEPT = 0.5  # of the backbones, from rung to rung at least
_LEAST_KEPT = 4


@dataclass(kw_only=True)
class Screened:
    """A backbone that loaded, with what the samples showed.

    Args:
        session: The backbone over the task's samples.
        evidence: What the last rung showed; None when time ended before the first.
        expectation: What that lets expect.
        traces: What passes of their own showed on the first rung.
    """

    session: BackboneSession
    evidence: Evidence | None = None
    expectation: Expectation | None = None
    traces: SourceTraces | None = None

    @property
    def name(self) -> str:
        """Return the backbone's name."""
        return self.session.spec.name

    @property
    def expected(self) -> float:
        """Return the expected accuracy, or minus infinity where nothing was seen."""
        return self.expectation.expected if self.expectation else float("-inf")


def nested_order(task: Task, seed: int) -> np.ndarray:
    """Order the rows of train and validation so that every leading part is stratified.

    Every class has its first two samples before any has more, as leaving one out needs.
    """
    rows: np.ndarray = task.split.train_validation
    rng = np.random.default_rng(seed)
    place = np.zeros(len(rows))
    for code in np.unique(task.y[rows]):
        own = np.flatnonzero(task.y[rows] == code)
        spread = (np.arange(len(own)) + rng.uniform()) / len(own)
        spread[:2] -= 1.0
        place[rng.permutation(own)] = spread
    ordered: np.ndarray = rows[np.argsort(place, kind="stable")]
    return ordered


@dataclass(kw_only=True)
class Screening:
    """Screen backbones on a task.

    Args:
        task: The task.
        scores: Transferability scores to compute; None takes those that expectations rest on.
        similarities: Measures to compute, likewise.
        device: Where to compute.
        seed: Of the order of samples, and of scores.
        caching: How activations are kept; None keeps none.
        source: The source domain, where the user gave one.
        rungs: Samples of each rung, ascending.
        timed: Whether speeds may decide anything.
        check: Called between batches; raises `Stopped` when time is up.
        may_begin: Returns whether a backbone may still be begun.
        on_backbone: Called before each backbone: its name, how many are done, of how many.
        on_rung: Called after each rung with all that is known, best first.
    """

    task: Task
    scores: Sequence[ScoreSpec] | None = None
    similarities: Sequence[SimilaritySpec] | None = None
    device: str = "cpu"
    seed: int = 0
    caching: Caching | None = None
    source: Source | None = None
    rungs: Sequence[int] = RUNGS
    timed: bool = True
    check: Callable[[], None] = lambda: None
    may_begin: Callable[[], bool] = lambda: True
    on_backbone: Callable[[str, int, int], None] = lambda name, done, total: None
    on_rung: Callable[[list[Screened]], None] = lambda screened: None
    failed: list[tuple[str, str]] = field(default_factory=list, init=False)
    interrupted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._order = nested_order(self.task, self.seed)
        split = self.task.split.train_validation
        n_classes = len(self.task.classes)
        counts = np.bincount(self.task.y[split], minlength=n_classes)
        self._target = Target(
            y=self.task.y, n_train=len(split), n_classes=n_classes, prior=counts / len(split)
        )
        self._prior = Prior.load(self.task.modality.name)
        registry, wanted = get_registry(), self._prior.needs
        self._layers = self.scores is not None or self._prior.reads_layers
        if self.scores is None:
            self.scores = [spec for spec in registry.scores if spec.name in wanted]
        if self.similarities is None:
            self.similarities = [spec for spec in registry.similarities if spec.name in wanted]
        self._source_sessions: dict[str, BackboneSession] = {}

    def run(self, specs: Sequence[BackboneSpec]) -> list[Screened]:
        """Return the backbones that loaded, most promising first."""
        begun = [Screened(session=self._open(spec)) for spec in sorted(specs, key=_cost_order)]
        contenders: Sequence[Screened] = begun
        try:
            for n_samples in sorted({len(self.rows(n)) for n in self.rungs}):
                self._rung(contenders, self.rows(n_samples))
                found = self._ordered(begun)
                self.on_rung(found)
                contenders = _promoted(found)
        except KeyboardInterrupt:
            self.interrupted = True
        found = self._ordered(begun)
        known = {s.name for s in found} | {name for name, _ in self.failed}
        missed = [s.name for s in begun if s.name not in known]
        self.failed += [(name, "no time left to screen it") for name in missed]
        return found

    def rows(self, n_samples: int) -> np.ndarray:
        """Return the rows of a rung: stratified, a few of each class at least."""
        least = _FIRST_OF_CLASS * self._target.n_classes
        return self._order[: max(n_samples, least)]

    def _open(self, spec: BackboneSpec) -> BackboneSession:
        return BackboneSession(
            spec,
            self.task.samples,
            self.task.modality,
            device=self.device,
            check=self.check,
            caching=self.caching,
            timed=self.timed,
        )

    def _rung(self, contenders: Sequence[Screened], rows: np.ndarray) -> None:
        for done, screened in enumerate(contenders):
            if not self.may_begin():
                return
            self.on_backbone(screened.name, done, len(contenders))
            try:
                self.look(screened, rows)
            except Stopped:
                return  # what earlier rungs showed stands
            except Exception as error:  # noqa: BLE001  # loading and running is plugin code
                self.failed.append((screened.name, f"{type(error).__name__}: {error}"))
            finally:
                screened.session.release()

    def look(self, screened: Screened, rows: np.ndarray) -> None:
        """Take a look at some samples through one backbone."""
        session = screened.session
        _ = session.n_groups  # plans ask for it when the network is no longer loaded
        features = session.embed(rows)
        session.measure_speed()
        if not np.isfinite(features).all():
            self.failed.append((screened.name, "its embeddings contain NaN or infinity"))
            return
        evidence = Evidence(
            spec=session.spec,
            target=self._target,
            n_samples=len(rows),
            seconds_per_sample=session.seconds_per_sample or 0.0,
        )
        scores, similarities = self.scores or (), self.similarities or ()
        if screened.traces is None:
            screened.traces = find_traces(session, rows, scores, similarities)
        compute_scores(evidence, session, rows, scores, screened.traces, self.seed)
        if self._layers:
            compute_layer_scores(evidence, session, rows, scores, self.seed)
        if similarities:
            source = self._source_session(session.spec)
            compute_similarity(
                evidence, session, rows, similarities, screened.traces,
                source=source, seed=self.seed,
            )  # fmt: skip
        screened.evidence = evidence

    def _source_session(self, spec: BackboneSpec) -> tuple[BackboneSession, Source] | None:
        if self.source is None:
            return None
        if spec.name not in self._source_sessions:
            self._source_sessions[spec.name] = BackboneSession(
                spec,
                self.source.samples,
                self.task.modality,
                device=self.device,
                check=self.check,
                timed=self.timed,
            )
        return self._source_sessions[spec.name], self.source

    def _ordered(self, begun: Sequence[Screened]) -> list[Screened]:
        """Return what is usable, most promising first, with fresh expectations."""
        failed = {name for name, _ in self.failed}
        usable = [s for s in begun if s.name not in failed and s.session.seconds_per_sample]
        seen = [s for s in usable if s.evidence is not None]
        expectations = self._prior.expect([s.evidence for s in seen if s.evidence])
        for screened, expectation in zip(seen, expectations, strict=True):
            screened.expectation = expectation
        return sorted(usable, key=lambda s: -s.expected)


def _promoted(ordered: Sequence[Screened]) -> list[Screened]:
    """Return who is looked at again: the better half, and who may yet belong to it.

    Nobody is left behind on one score: what counts is the expectation of all of them and its
    spread.
    """
    n_kept = max(_LEAST_KEPT, round(_KEPT * len(ordered)))
    best = ordered[0].expectation if ordered else None
    if best is None:
        return []
    bar = best.expected - best.spread
    return [
        s
        for place, s in enumerate(ordered)
        if s.expectation is not None
        and (place == 0 or (place < n_kept and s.expected + 2 * s.expectation.spread > bar))
    ]


def _cost_order(spec: BackboneSpec) -> tuple[float, str]:
    """Order backbones by rough cost: parameters times input pixels."""
    size = spec.input_size or (1, 32, 32)
    pixels = float(np.prod(size[-2:])) if len(size) >= 2 else 1024.0
    return (float(spec.n_params or 5e7) * pixels, spec.name)
