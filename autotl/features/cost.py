"""What a trial will cost on this machine, from a short profile and from what was observed."""

import copy
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.arrays import to_arrays, to_batch

if TYPE_CHECKING:
    import torch

    from autotl.features.session import BackboneSession

_BACKWARD_FACTOR = 2.0  # a backward pass costs about two forward passes
_GUESS_MARGIN = 1.3  # before anything but the forward pass has been timed
_GUESSED_FORWARD = 0.05  # seconds a sample, before even that
_PROBE_SECONDS = 1.0
_PROFILED_CUTS = 4
_TINY_SHARE = 0.1
_PASSES = 20  # forward passes that a profile is worth


@dataclass(frozen=True, kw_only=True)
class CostProfile:
    """Measured seconds a sample of one backbone's layers.

    Args:
        depths: Cuts that were measured at, ascending, from 0 to the number of layer groups.
        forward: Of one forward pass up to each of them.
        backward: Of one backward pass through all that follows each of them.
        batch_size: Samples a batch that it was measured with.
    """

    depths: tuple[int, ...]
    forward: tuple[float, ...]
    backward: tuple[float, ...]
    batch_size: int

    def prefix(self, depth: int) -> float:
        """Return the seconds of a forward pass up to a depth, interpolated between cuts."""
        return float(np.interp(depth, self.depths, self.forward))

    def epoch(self, *, start: int, freeze_depth: int, n_train: int, n_validation: int) -> float:
        """Return the seconds to train one epoch from the cut `start` on, and to validate."""
        forward = self.forward[-1] - self.prefix(start)
        backward = float(np.interp(freeze_depth, self.depths, self.backward))
        return n_train * (forward + backward) + n_validation * forward


def measure(
    session: "BackboneSession",
    *,
    batch_size: int,
    seconds: float,
    depths: Sequence[int] | None = None,
) -> CostProfile:
    """Profile a backbone at some of its cuts.

    Args:
        session: The backbone and its samples.
        batch_size: Samples a batch; fewer where so many would take longer than `seconds`.
        seconds: About how long the profile may take.
        depths: Cuts to measure at, ascending, the first and the last included; None takes a few,
            spread over depth.
    """
    affordable = int(seconds / (_PASSES * (session.seconds_per_sample or _GUESSED_FORWARD)))
    n_samples = max(2, min(batch_size, affordable, len(session.samples)))
    measured = tuple(depths) if depths is not None else _spread(session.cuts.depths)
    rows = np.arange(n_samples)
    batch = session.ready(session.prepare(rows))
    device = session.device
    forward, backward = [0.0], []
    for start, stop in itertools.pairwise(measured):
        part = session.part(start, stop)
        tail = copy.deepcopy(session.part(start, session.n_groups)).requires_grad_(True)
        plain = _seconds(functools.partial(session.infer, part, batch), device)
        whole = _seconds(functools.partial(session.infer, tail, batch), device)
        both = _seconds(functools.partial(_train_once, tail, batch), device)
        forward.append(forward[-1] + plain / n_samples)
        backward.append(max(0.0, both - whole) / n_samples)
        # Through the host: what was computed for inference cannot be trained on.
        batch = to_batch(to_arrays(session.infer(part, batch)), session.device)
    return CostProfile(
        depths=measured,
        forward=tuple(forward),
        backward=(*backward, 0.0),
        batch_size=n_samples,
    )


def _spread(depths: tuple[int, ...]) -> tuple[int, ...]:
    """Return the first, the last and a few depths between them."""
    picked = np.linspace(0, len(depths) - 1, min(len(depths), _PROFILED_CUTS + 1))
    return tuple(depths[i] for i in np.unique(picked.round().astype(int)))


def _train_once(tail: "torch.nn.Module", batch: Any) -> None:
    tail.zero_grad(set_to_none=True)
    tail(batch).sum().backward()


def _seconds(work: Callable[[], Any], device: str) -> float:
    """Return the shorter of two runs; the first one also warms up."""
    import torch

    found = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        if device != "cpu":  # other devices answer before they are done
            getattr(torch, device.partition(":")[0]).synchronize()
        found.append(time.perf_counter() - started)
    return min(found)


class CostModel:
    """Seconds that trials on one backbone take, learnt as the search goes.

    Args:
        session: The backbone and its samples.
    """

    def __init__(self, session: "BackboneSession") -> None:
        self.session = session
        self.profile: CostProfile | None = None
        self._correction: float | None = None
        self._sample_overhead = 0.0

    @property
    def forward(self) -> float:
        """Seconds to embed one sample."""
        return self.session.seconds_per_sample or _GUESSED_FORWARD

    def measure(self, *, batch_size: int, seconds: float) -> None:
        """Profile the backbone, once."""
        if self.profile is None:
            self.profile = measure(self.session, batch_size=batch_size, seconds=seconds)

    def epoch(self, freeze_depth: int, n_train: int, n_validation: int) -> float:
        """Return the seconds that one epoch of a tuned method and its validation take."""
        expected = self._expected(freeze_depth, n_train, n_validation)
        default = _GUESS_MARGIN if self.profile is None else 1.0
        overhead = self._sample_overhead * (n_train + n_validation)
        return expected * (self._correction or default) + overhead

    def _expected(self, freeze_depth: int, n_train: int, n_validation: int) -> float:
        if self.profile is not None:
            return self.profile.epoch(
                start=self.session.start_for(freeze_depth),
                freeze_depth=freeze_depth,
                n_train=n_train,
                n_validation=n_validation,
            )
        # As if all layer groups cost the same.
        tuned = 1.0 - freeze_depth / max(1, self.session.n_groups)
        run = 1.0 - self._kept(freeze_depth)
        return self.forward * (n_train * (run + _BACKWARD_FACTOR * tuned) + n_validation * run)

    def _kept(self, freeze_depth: int) -> float:
        """Return the share of the layer groups whose outputs are read from the cache."""
        return self.session.start_for(freeze_depth) / max(1, self.session.n_groups)

    def extraction(self, freeze_depth: int, rows: np.ndarray, strength: float) -> float:
        """Return the seconds to compute the activations that a trial will read.

        Args:
            freeze_depth: Of the trial; activations are read at the deepest kept cut within it.
            rows: Samples of the trial.
            strength: Of its augmentation.
        """
        missing = self.session.n_to_compute(rows, freeze_depth, strength)
        if self.profile is None:
            return self.forward * self._kept(freeze_depth) * missing
        return self.profile.prefix(self.session.start_for(freeze_depth)) * missing

    def observe(self, freeze_depth: int, seconds: float, n_train: int, n_validation: int) -> None:
        """Learn from a measured epoch."""
        expected = self._expected(freeze_depth, n_train, n_validation)
        if expected < _TINY_SHARE * seconds:  # next to no layers: what is left is overhead
            per_sample = seconds / (n_train + n_validation)
            self._sample_overhead = max(per_sample, self._sample_overhead)
            return
        # The slower of the two: a plan that is too short costs less than one cut off.
        self._correction = max(seconds / expected, self._correction or 0.0)

    def probe(self, n_missing: int, solving: float | None = None) -> float:
        """Return the seconds of a probe when `n_missing` samples have yet to be embedded.

        Args:
            n_missing: Samples.
            solving: Seconds to solve it, where they are known.
        """
        return self.forward * n_missing + (_PROBE_SECONDS if solving is None else solving)


def planned_steps(wanted: int, step_seconds: float, seconds: float) -> int:
    """Return how many steps fit into `seconds`, at most `wanted`."""
    if seconds == float("inf"):
        return wanted
    return max(0, min(wanted, int(seconds / max(step_seconds, 1e-6))))
