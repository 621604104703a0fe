"""Candidates and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from autotl.specs import AdaptationSpec, SavedState

INTERRUPTED = "interrupted"
LOST = "in flight when its process ended; run again"
REPEATED = "interrupted; run again"
GIVEN_UP = "its process ended twice while it ran"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backbone, how to adapt it, and with which parameters.

    Args:
        backbone: Name of the backbone.
        adaptation: Name of the method.
        params: A value for each name in the method's space.
    """

    backbone: str
    adaptation: str
    params: Mapping[str, Any]

    def freeze_fraction(self, spec: AdaptationSpec) -> float:
        """Return the share of the layer groups that stays frozen under the candidate's method."""
        if not spec.trains_backbone:
            return 1.0
        return spec.freeze_fraction(self.params)

    def key(self) -> tuple[Any, ...]:
        """Return what makes two candidates the same."""
        return self._key

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        return (self.backbone, self.adaptation, *sorted(self.params.items()))


@dataclass(kw_only=True)
class Outcome:
    """What one trial has shown.

    Args:
        trial: Number of the trial in the study.
        candidate: What was tried.
        state: "running", "paused", "complete", "pruned" or "failed".
        reason: Why it stopped, in words.
        why: Why it was tried, in words.
        value: Validation metric at the best step; None when nothing was measured.
        log_loss: Validation log-loss at the best step, nats; breaks ties.
        steps: Resource spent up to the best step.
        planned_steps: Resource that its schedule was laid out for.
        tuned: Whether the backbone was trained.
        freeze_depth: Leading layer groups that stayed frozen.
        freeze_fraction: The same as a share.
        seconds: Wall-clock time.
        embed_seconds: The part of it spent on embedding samples for the first time.
        proba: Validation probabilities at the best step, rows in the order of the folds'
            validation rows.
        saved: The first fold's predictor at the best step.
        finished_at: Seconds since the start of the search.
        history: Validation metric after each step.
        costs: Cost up to the end of each step: seconds without embedding, or steps where trials
            replace the clock.
        gap: Value less the floor's on validation; None where either is missing.
        log_e: Log of the guard's evidence that it is worse than the floor; None without a guard.
        discordance: Share of the guard's samples on which it or the floor is right, but not both.
        doubted: Whether the guard found that it could not reach the floor.
        traceback: Of a failure.
        audited: Whether it went on all the same.
        unselected: Whether the guard could not have stopped it.
        predictor_kept: Whether its predictor is on the disk.
        guesses: What validators say at the best step, by name; of an unsupervised task alone,
            whose `value` comes from them.
    """

    trial: int
    candidate: Candidate
    state: str
    reason: str = ""
    why: str = ""
    value: float | None = None
    log_loss: float = float("inf")
    steps: int = 0
    planned_steps: int = 0
    tuned: bool = False
    freeze_depth: int = 0
    freeze_fraction: float = 1.0
    seconds: float = 0.0
    embed_seconds: float = 0.0
    proba: np.ndarray | None = None
    saved: SavedState | None = None
    finished_at: float = 0.0
    history: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    gap: float | None = None
    log_e: float | None = None
    traceback: str = ""
    discordance: float = 0.0
    doubted: bool = False
    audited: bool = False
    unselected: bool = True
    predictor_kept: bool = False
    guesses: dict[str, float] = field(default_factory=dict)

    @property
    def lost(self) -> bool:
        """Whether it ended with its process or at an interrupt, and is run again."""
        return self.reason in (LOST, REPEATED)

    @property
    def open(self) -> bool:
        """Whether it may still go on."""
        return self.state in ("running", "paused")

    @property
    def ran(self) -> bool:
        """Whether any work was done, as opposed to a repeat or a plan that did not fit."""
        return self.state == "failed" or bool(self.history)

    def beats(self, other: "Outcome | None") -> bool:
        """Say whether this one is better on validation, log-loss breaking ties."""
        if self.value is None or self.state == "failed":
            return False
        if other is None or other.value is None:
            return True
        return (self.value, -self.log_loss) > (other.value, -other.log_loss)


def best_alike(pair: tuple[str, str], outcomes: Sequence[Outcome]) -> Mapping[str, Any] | None:
    """Return the parameters that did best so far with a backbone and method, else the method.

    Args:
        pair: Backbone and method.
        outcomes: What trials have shown.
    """
    known = [o for o in outcomes if o.value is not None and o.state != "failed"]
    alike = [o for o in known if o.candidate.adaptation == pair[1]]
    own = [o for o in alike if o.candidate.backbone == pair[0]]
    best = max(own or alike, key=lambda o: o.value or 0.0, default=None)
    return None if best is None else best.candidate.params
