"""Backbones in the order of what is expected of them, with reasons."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.data import Task
from autotl.ranking.evidence import Evidence
from autotl.ranking.prior import Expectation
from autotl.ranking.reasons import reason
from autotl.ranking.screening import Screened, Screening
from autotl.specs import BackboneSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RankedBackbone", "Ranking", "rank_backbones"]


@dataclass(frozen=True, kw_only=True)
class RankedBackbone:
    """One line of a ranking.

    Args:
        name: Of the backbone.
        rank: From 1, the most promising.
        expected: Accuracy to expect after transfer, in [0, 1].
        spread: One standard deviation of the error of `expected`.
        static: What facts alone would say of the order, at the level that the samples show.
        scores: Transferability scores by name, greater is better.
        similarity: Similarity measures between source and target by name.
        seconds_per_1000: To preprocess and embed 1,000 samples on this machine.
        n_samples: Samples that were looked at.
        why: One line of plain words.
        license: SPDX identifier of the weights' licence, "" when unknown.
        permissive: Whether weights and the data behind them are known to allow commercial use.
        source_domain: What the backbone learnt from.
        failed: Reason by name of a score or measure that could not be computed.
    """

    name: str
    rank: int
    expected: float
    spread: float
    static: float
    scores: dict[str, float]
    similarity: dict[str, float]
    seconds_per_1000: float
    n_samples: int
    why: str
    license: str = ""
    permissive: bool = False
    source_domain: str = ""
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Backbones, most promising first.

    Args:
        backbones: One line each.
        skipped: Name and reason of each that could not be looked at.
        task: Facts of the data: modality, samples, classes.
        seconds: Wall-clock time of looking.
        seed: Of the order of samples, and of scores.
        warnings: What the user should know.
        interrupted: Whether looking ended early.
    """

    backbones: tuple[RankedBackbone, ...]
    skipped: tuple[tuple[str, str], ...]
    task: dict[str, Any]
    seconds: float
    seed: int
    warnings: tuple[str, ...] = ()
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.backbones)

    def __iter__(self) -> Iterator[RankedBackbone]:
        return iter(self.backbones)

    def __getitem__(self, place: int) -> RankedBackbone:
        return self.backbones[place]

    def to_dict(self) -> dict[str, Any]:
        """Return the ranking as JSON values."""
        return {
            "task": self.task,
            "seconds": self.seconds,
            "seed": self.seed,
            "backbones": [dict(vars(line)) for line in self.backbones],
            "skipped": [{"name": name, "reason": why} for name, why in self.skipped],
            "warnings": list(self.warnings),
            "interrupted": self.interrupted,
        }

    def to_frame(self) -> "pd.DataFrame":
        """Return one row a backbone; scores and measures are columns of their own."""
        import pandas as pd

        rows = []
        for line in self.backbones:
            row = dict(vars(line))
            values = {**row.pop("scores"), **row.pop("similarity")}
            row.pop("failed")
            rows.append({**row, **values})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        lines = [f"{b.rank:>3}  {b.expected:.3f} ± {b.spread:.3f}  {b.name}" for b in self]
        return "\n".join(lines) or "no backbone"


def rank_backbones(
    screening: Screening,
    specs: Sequence[BackboneSpec],
    *,
    skipped: Sequence[tuple[str, str]] = (),
    on_ranking: Callable[[Ranking], None] = lambda ranking: None,
) -> tuple[Ranking, list[Screened]]:
    """Look at backbones in rungs; returns their order, and what a search goes on with.

    Args:
        screening: Looks at the samples.
        specs: The backbones.
        skipped: Name and reason of those that cannot be used.
        on_ranking: Called after each rung with what is known until then.
    """
    started = time.perf_counter()

    def ranking(found: Sequence[Screened]) -> Ranking:
        seconds = time.perf_counter() - started
        return _ranking(screening, found, (*skipped, *screening.failed), seconds)

    screening.on_rung = lambda found: on_ranking(ranking(found))
    found = screening.run(specs)
    return ranking(found), found


def _ranking(
    screening: Screening,
    found: Sequence[Screened],
    skipped: Sequence[tuple[str, str]],
    seconds: float,
) -> Ranking:
    pairs = [(s.evidence, s.expectation) for s in found if s.evidence and s.expectation]
    task = screening.task
    unseen = [(s.name, "not looked at to the end") for s in found if s.evidence is None]
    return Ranking(
        backbones=tuple(
            _line(place, evidence, expectation, pairs, screening)
            for place, (evidence, expectation) in enumerate(pairs, start=1)
        ),
        skipped=(*skipped, *unseen),
        task={
            "modality": task.modality.name,
            "n_samples": len(task.split.train_validation),
            "n_classes": len(task.classes),
        },
        seconds=seconds,
        seed=screening.seed,
        warnings=(*task.warnings, *_warnings(task)),
        interrupted=screening.interrupted,
    )


def _warnings(task: Task) -> Iterator[str]:
    """Say where an accuracy tells little."""
    shares = np.bincount(task.y[task.split.train_validation]) / len(task.split.train_validation)
    if task.metric.name != "accuracy":
        yield (
            f"Expectations are accuracies, of which the largest class alone gives "
            f"{100 * shares.max():.0f} %; a search on this data goes by "
            f"{task.metric.name.replace('_', ' ')}."
        )


def _line(
    rank: int,
    evidence: Evidence,
    expectation: Expectation,
    pairs: Sequence[tuple[Evidence, Expectation]],
    screening: Screening,
) -> RankedBackbone:
    spec = evidence.spec
    gain = screening.advice.gain(spec.name) if screening.advice is not None else None
    return RankedBackbone(
        name=spec.name,
        rank=rank,
        expected=expectation.expected,
        spread=expectation.spread,
        static=expectation.static,
        scores={k: v for k, v in evidence.scores.items() if screening.shows(k)},
        similarity={k: v for k, v in evidence.similarity.items() if screening.shows(k)},
        seconds_per_1000=1000 * evidence.seconds_per_sample,
        n_samples=evidence.n_samples,
        why=reason(evidence, expectation, pairs, gain),
        license=spec.license,
        permissive=spec.permissive,
        source_domain=spec.source_domain,
        failed=dict(evidence.failed),
    )
