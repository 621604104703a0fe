"""What a finished run leaves behind."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from autotl.errors import InvalidDataError, ModelFormatError
from autotl.experience.checks import (
    assign,
    count,
    flat,
    floats,
    names_a_place,
    number,
    optional,
    word,
)
from autotl.experience.fingerprint import DataFingerprint

__all__ = ["COMPLETE", "MALFORMED", "CurvePoint", "RunRecord", "TrialRecord", "as_json"]

COMPLETE = "complete"
_MOST_POINTS = 32  # of a learning curve
_MOST_TRIALS = 500
_ID_LETTERS = 12
_YEAR_9999 = 253_370_764_800.0  # seconds since 1970; calendars end there
# What a text that is no record, or half of one, makes `from_json` run into.
MALFORMED = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def as_json(value: Any) -> str:
    """Return dataclasses and what they hold as JSON, always the same for the same content."""
    return json.dumps(
        value,
        default=lambda part: {f.name: getattr(part, f.name) for f in fields(part)},
        sort_keys=True,
        allow_nan=False,
        separators=(",", ":"),
    )


class CurvePoint(NamedTuple):
    """Where a trial stood after a step: the validation value, and the seconds until then."""

    step: int
    value: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What was tried, and what it gave.

    Args:
        backbone: Name of the backbone.
        adaptation: Name of the method.
        params: A value for each name in the method's space.
        state: "complete", "pruned" or "failed".
        value: Best validation value; None when nothing was measured.
        curve: Validation values by step; a long one keeps 32 points, the ends among them.
        steps: Resource spent.
        seconds: Wall-clock time of them, without that of embedding.
        n_samples: Samples that one step goes through, those of all folds together.
    """

    backbone: str
    adaptation: str
    params: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    state: str = COMPLETE
    value: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    n_samples: int = 0

    def __post_init__(self) -> None:
        for name in ("backbone", "adaptation", "state"):
            assign(self, **{name: word(getattr(self, name), f"The {name} of a trial")})
        for name in ("steps", "n_samples"):
            assign(self, **{name: count(getattr(self, name), f"{name} of a trial")})
        assign(
            self,
            params=flat(self.params, "the parameters of a trial"),
            value=optional(self.value, "The value of a trial"),
            seconds=number(self.seconds, "The seconds of a trial"),
            curve=_curve(self.curve),
        )

    @property
    def pair(self) -> tuple[str, str]:
        """Backbone and method."""
        return self.backbone, self.adaptation

    @property
    def seconds_per_step(self) -> float | None:
        """What one step takes; None where that does not show.

        The first step also loads and initialises, so it counts only where it is alone.
        """
        if len(self.curve) > 1:
            first, last = self.curve[0], self.curve[-1]
            seconds, steps = last.seconds - first.seconds, last.step - first.step
        else:
            seconds, steps = self.seconds, self.steps
        return seconds / steps if steps > 0 and seconds > 0 else None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run: the data in numbers, what was tried, and what came of it.

    Trials and landmarks of backbones whose name is a folder are left out, since a path is
    nobody's business. Of more than 500 trials the best are kept.

    Args:
        finished_at: Seconds since 1970.
        version: Of autotl.
        device: Where it ran, such as "cpu"; times compare on one kind only.
        fingerprint: The data.
        trials: What was tried.
        floor: Validation value of the best model without transfer.
        gap: On the holdout, the candidate that was judged less the floor.
        verdict: "positive", "negative", "inconclusive" or "" when there is none.
    """

    finished_at: float
    version: str
    device: str
    fingerprint: DataFingerprint
    trials: tuple[TrialRecord, ...] = ()
    floor: float | None = None
    gap: float | None = None
    verdict: str = ""

    def __post_init__(self) -> None:
        for name in ("version", "device", "verdict"):
            assign(self, **{name: word(getattr(self, name), f"The {name} of a run")})
        assign(
            self,
            finished_at=number(self.finished_at, "The end of a run"),
            floor=optional(self.floor, "The floor of a run"),
            gap=optional(self.gap, "The gap of a run"),
            trials=_kept(self.trials),
        )
        if not 0 <= self.finished_at <= _YEAR_9999:
            raise InvalidDataError(
                f"A run ended {self.finished_at:g} seconds after 1970; expected a date from then "
                "to the year 9999."
            )

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial with the best validation value, the cheapest of equals."""
        return max(
            (t for t in self.trials if t.state == COMPLETE and t.value is not None),
            key=lambda t: (t.value, -t.seconds),
            default=None,
        )

    @property
    def id(self) -> str:
        """A digest of the content, by which the command names a run."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:_ID_LETTERS]

    def to_json(self) -> str:
        """Return the record as JSON, always the same for the same content."""
        return as_json(self)

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Return the record that `to_json` wrote.

        Raises:
            ModelFormatError: It is damaged, or was never one.
        """
        try:
            content = json.loads(text)
            fingerprint = DataFingerprint.from_dict(content["fingerprint"])
            trials = tuple(TrialRecord(**trial) for trial in content["trials"])
            return cls(**{**content, "fingerprint": fingerprint, "trials": trials})
        except MALFORMED as error:
            raise ModelFormatError(
                f"A record of a run is damaged ({type(error).__name__}: {error}); expected what "
                "autotl writes."
            ) from error


def _curve(points: Any) -> tuple[CurvePoint, ...]:
    """Return the measured points of a curve, thinned where there are many."""
    rows = floats(points, "A learning curve", len(CurvePoint._fields))
    rows = rows[np.isfinite(rows[:, 1])]
    steps = rows[:, 0]
    if not (np.isfinite(rows).all() and (steps % 1 == 0).all() and (np.diff(steps) > 0).all()):
        raise InvalidDataError(
            f"A learning curve has the steps {steps[:8].tolist()}; expected whole numbers that "
            "ascend, each with a finite time."
        )
    if len(rows) > _MOST_POINTS:
        rows = rows[np.linspace(0, len(rows) - 1, _MOST_POINTS).round().astype(int)]
    return tuple(CurvePoint(int(step), value, seconds) for step, value, seconds in rows.tolist())


def _kept(trials: tuple[TrialRecord, ...]) -> tuple[TrialRecord, ...]:
    public = [t for t in trials if not names_a_place(t.backbone)]
    if len(public) <= _MOST_TRIALS:
        return tuple(public)
    worth = [-float("inf") if t.value is None else t.value for t in public]
    order = sorted(range(len(public)), key=lambda i: -worth[i])[:_MOST_TRIALS]
    return tuple(public[i] for i in sorted(order))
