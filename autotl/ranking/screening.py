"""Successive halving over samples: all backbones on a few, the better ones on more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from autotl.data import Task
from autotl.experience import Advice, DataFingerprint, recall
from autotl.features import BackboneSession, Caching, Stopped
from autotl.ranking.evidence import LAYERS, Evidence, Target
from autotl.ranking.look import Looker, Memory
from autotl.ranking.prior import Expectation, Prior
from autotl.ranking.recalling import adjusted, describe_data
from autotl.ranking.similarity import Source
from autotl.ranking.subsample import FIRST_OF_CLASS, nested_order
from autotl.registry import get_registry
from autotl.specs import BackboneSpec, ScoreSpec, SimilaritySpec, Spec

__all__ = ["RUNGS", "Screened", "Screening", "rungs_before_trials"]

RUNGS = (128, 512, 1000)  # samples
_KEPT = 0.5  # of the backbones, from rung to rung at most
_LEAST_KEPT = 4
_LOOK_SHARE = 0.25  # of the samples, at most, where trials follow
_NO_TIME, _INTERRUPTED = "no time left to screen it", "interrupted before it was looked at"


def rungs_before_trials(n_samples: int) -> tuple[int, ...]:
    """Return the samples of each rung where trials follow.

    To look at more than a quarter of the samples costs nearly as much as a probe, and tells less.

    Args:
        n_samples: That trials will be fitted on.
    """
    return tuple(n for n in RUNGS if n == RUNGS[0] or n <= _LOOK_SHARE * n_samples)


@dataclass(kw_only=True)
class Screened:
    """A backbone that loaded, with what the samples showed.

    Args:
        session: The backbone over the task's samples.
        evidence: What its last rung showed; None when time ended before the first.
        expectation: What that lets expect, beside those that saw as much.
        memory: What extra passes have shown.
    """

    session: BackboneSession
    evidence: Evidence | None = None
    expectation: Expectation | None = None
    memory: Memory = field(default_factory=Memory)

    @property
    def name(self) -> str:
        """Return the backbone's name."""
        return self.session.spec.name

    @property
    def standing(self) -> tuple[int, float]:
        """Samples seen, and the accuracy to expect: what backbones are ordered by."""
        if self.evidence is None or self.expectation is None:
            return (0, 0.0)
        return (self.evidence.n_samples, self.expectation.expected)


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
        experience: Whether earlier runs on similar data may say what to expect.
        on_problem: Takes a sentence that says why they cannot.
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
    experience: bool = False
    on_problem: Callable[[str], None] = lambda text: None
    check: Callable[[], None] = lambda: None
    may_begin: Callable[[], bool] = lambda: True
    on_backbone: Callable[[str, int, int], None] = lambda name, done, total: None
    on_rung: Callable[[list[Screened]], None] = lambda screened: None
    failed: list[tuple[str, str]] = field(default_factory=list, init=False)
    interrupted: bool = field(default=False, init=False)
    fingerprint: DataFingerprint | None = field(default=None, init=False)
    advice: Advice | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._order = nested_order(self.task, self.seed)
        self._prior = Prior.load(self.task.modality.name)
        registry, needs = get_registry(), self._prior.needs
        scores = _also(self.scores, [s for s in registry.scores if s.name in needs])
        measures = _also(self.similarities, [s for s in registry.similarities if s.name in needs])
        asked = [*(self.scores or ()), *(self.similarities or ())]
        self._shown = {spec.name for spec in (asked or (*scores, *measures))}
        rows, n_classes = self.task.split.selection, len(self.task.classes)
        counts = np.bincount(self.task.y[rows], minlength=n_classes)
        self._looker = Looker(
            target=Target(
                y=self.task.y,
                n_train=len(rows),
                n_classes=n_classes,
                prior=counts / len(rows),
            ),
            scores=scores,
            similarities=measures,
            layers=self.scores is not None or self._prior.reads_layers,
            own=frozenset(needs),
            source=self.source,
            seed=self.seed,
        )

    def run(self, specs: Sequence[BackboneSpec]) -> list[Screened]:
        """Return the backbones that loaded, most promising first."""
        begun = [Screened(session=self._open(spec)) for spec in sorted(specs, key=_cost_order)]
        contenders = begun
        try:
            for n_samples in sorted({len(self.rows(n)) for n in self.rungs}):
                contenders = self._rung(contenders, self.rows(n_samples))
                self.on_rung(self._ordered(begun))
                contenders = _promoted(contenders)
        except KeyboardInterrupt:
            self.interrupted = True
        found = self._ordered(begun)
        known = {s.name for s in found} | {name for name, _ in self.failed}
        reason = _INTERRUPTED if self.interrupted else _NO_TIME
        self.failed += [(s.name, reason) for s in begun if s.name not in known]
        return found

    def rows(self, n_samples: int) -> np.ndarray:
        """Return the rows of a rung: about stratified, a few of each class at least."""
        least = FIRST_OF_CLASS * len(self.task.classes)
        return self._order[: max(n_samples, least)]

    def look(self, screened: Screened, rows: np.ndarray) -> None:
        """Look at some samples through one backbone."""
        session = screened.session
        _ = session.n_groups  # plans ask for it when the network is no longer loaded
        screened.evidence = self._looker.look(session, rows, screened.memory)

    def shows(self, name: str) -> bool:
        """Say whether a score or measure was asked for; the prior may need more."""
        return name.removesuffix(LAYERS) in self._shown

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

    def _rung(self, contenders: Sequence[Screened], rows: np.ndarray) -> list[Screened]:
        """Return those that were looked at, most promising first."""
        seen: list[Screened] = []
        try:
            for done, screened in enumerate(contenders):
                if not self.may_begin():
                    break
                self.on_backbone(screened.name, done, len(contenders))
                if self._seen(screened, rows):
                    seen.append(screened)
        except Stopped:
            pass  # what earlier rungs showed stands
        finally:
            self._recall(seen, rows)
            self._expect(seen)
        return sorted(seen, key=lambda s: s.standing, reverse=True)

    def _recall(self, seen: Sequence[Screened], rows: np.ndarray) -> None:
        """Look for earlier runs on data like these, once the first rung has shown them."""
        if not self.experience or self.fingerprint is not None or not seen:
            return
        try:
            self.fingerprint = describe_data(self.task, seen, rows)
            self.advice = recall(self.fingerprint, self.device, self.on_problem)
        except Stopped:
            pass

    def _seen(self, screened: Screened, rows: np.ndarray) -> bool:
        try:
            self.look(screened, rows)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  # loading and running is plugin code
            words = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            self.failed.append((screened.name, words))
            return False
        finally:
            screened.session.release()
        return True

    def _expect(self, seen: Sequence[Screened]) -> None:
        """Compare those that saw the same samples: most scores grow with their number."""
        expectations = self._prior.expect([s.evidence for s in seen if s.evidence is not None])
        if self.advice is not None:
            expectations = adjusted(expectations, [s.name for s in seen], self.advice)
        for screened, expectation in zip(seen, expectations, strict=True):
            screened.expectation = expectation

    def _ordered(self, begun: Sequence[Screened]) -> list[Screened]:
        """Return what is usable: who saw most first, of these the most promising."""
        failed = {name for name, _ in self.failed}
        usable = [s for s in begun if s.name not in failed and s.session.seconds_per_sample]
        return sorted(usable, key=lambda s: s.standing, reverse=True)


S = TypeVar("S", bound=Spec)


def _also(chosen: Sequence[S] | None, needed: Sequence[S]) -> list[S]:
    """Return what was asked for, and what expectations rest on."""
    specs = {spec.name: spec for spec in (*(chosen or ()), *needed)}
    return list(specs.values())


def _promoted(contenders: Sequence[Screened]) -> list[Screened]:
    """Return who is looked at again: the better half, less who is clearly behind the best.

    Nobody is left behind on one score: what counts is the expectation of all of them and its
    spread.
    """
    n_kept = max(_LEAST_KEPT, round(_KEPT * len(contenders)))
    kept = [(s, s.expectation) for s in contenders[:n_kept] if s.expectation is not None]
    if not kept:
        return []
    best = kept[0][1]
    bar = best.expected - best.spread
    return [s for s, x in kept if x is best or x.expected + 2 * x.spread > bar]


def _cost_order(spec: BackboneSpec) -> tuple[float, str]:
    """Order backbones by rough cost: parameters times input pixels."""
    size = spec.input_size or (1, 32, 32)
    pixels = float(np.prod(size[-2:])) if len(size) >= 2 else 1024.0
    return (float(spec.n_params or 5e7) * pixels, spec.name)
