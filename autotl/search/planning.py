"""What a trial will cost, from speeds measured in this run, and how long a schedule fits."""

from dataclasses import dataclass, field

from autotl.search.candidate import Candidate

_BACKWARD_FACTOR = 2.0  # a backward pass costs about two forward passes
_FIRST_GUESS_MARGIN = 1.3  # before a backbone's training has been timed
_PROBE_SECONDS = 1.0


@dataclass(kw_only=True)
class CostModel:
    """Seconds for each backbone, learnt as the search goes.

    Args:
        forward: Seconds to embed one sample, by backbone.
        correction: Measured over expected training time, by backbone.
        probe_seconds: Solving time of the last probe, by backbone.
    """

    forward: dict[str, float] = field(default_factory=dict)
    correction: dict[str, float] = field(default_factory=dict)
    probe_seconds: dict[str, float] = field(default_factory=dict)

    def epoch(self, candidate: Candidate, n_train: int, n_validation: int) -> float:
        """Return the seconds that one epoch of a tuned method and its validation take."""
        forward = self.forward.get(candidate.backbone, 0.05)
        tuned = 1.0 - float(candidate.params.get("freeze_fraction", 0.0))
        raw = forward * (n_train * (1 + _BACKWARD_FACTOR * tuned) + n_validation)
        return raw * self.correction.get(candidate.backbone, _FIRST_GUESS_MARGIN)

    def observe(
        self, candidate: Candidate, seconds: float, n_train: int, n_validation: int
    ) -> None:
        """Learn from a measured epoch."""
        known = self.correction.pop(candidate.backbone, None)
        expected = self.epoch(candidate, n_train, n_validation) / _FIRST_GUESS_MARGIN
        measured = seconds / max(expected, 1e-9)
        # The slower of the two: a plan that is too short costs less than one cut off.
        self.correction[candidate.backbone] = max(measured, known or 0.0)

    def probe(self, backbone: str, n_missing: int) -> float:
        """Return the seconds of a probe when `n_missing` samples have yet to be embedded."""
        solving = self.probe_seconds.get(backbone, _PROBE_SECONDS)
        return self.forward.get(backbone, 0.05) * n_missing + solving

    def planned_steps(self, wanted: int, step_seconds: float, seconds: float) -> int:
        """Return how many steps fit into `seconds`, at most `wanted`."""
        if seconds == float("inf"):
            return wanted
        return max(0, min(wanted, int(seconds / max(step_seconds, 1e-6))))
