"""Limits on what may win: size, speed and licence."""

import fnmatch
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotl.errors import InvalidDataError
from autotl.features import BackboneSession
from autotl.shelf import Shelf
from autotl.specs import BackboneSpec

_WARM_UPS, _LEAST_RUNS, _MOST_RUNS = 2, 5, 15
_SECONDS = 1.0  # for the runs of one backbone, once there are enough


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a shipped model may be; None allows anything.

    Args:
        max_params: Parameters of the backbone at most.
        max_latency_ms: Milliseconds of the backbone for one sample on this machine at most.
        license: Names or shell patterns of allowed licences, such as "mit" or "apache*", in
            upper or lower case; an unknown licence matches none.
        permissive_only: Whether weights and data must be known to allow commercial use.

    Raises:
        InvalidDataError: A limit makes no sense.
    """

    max_params: int | None = None
    max_latency_ms: float | None = None
    license: Sequence[str] | str | None = None
    permissive_only: bool = False

    def __post_init__(self) -> None:
        _check_positive("max_params", self.max_params, "a whole number such as 30_000_000", int)
        _check_positive("max_latency_ms", self.max_latency_ms, "milliseconds such as 50")
        if self.license is None:
            return
        given: list[Any] = list(self.licenses)
        wrong = [p for p in given if not isinstance(p, str) or not p.strip()]
        if wrong or not self.licenses:
            raise InvalidDataError(
                f"license is {self.license!r}; expected names or patterns of licences such as "
                "'mit' or 'apache*', or None for any."
            )

    @property
    def licenses(self) -> list[str]:
        """The allowed patterns as a list."""
        given = self.license
        return [given] if isinstance(given, str) else list(given or ())

    def obstacle(self, spec: BackboneSpec) -> str | None:
        """Return why a backbone may not win by what is known before loading it, or None."""
        if self.license is not None and not self._allowed(spec.license):
            return (
                f"its licence is {spec.license or 'unknown'!r}, allowed are "
                f"{', '.join(map(repr, self.licenses))}"
            )
        if self.permissive_only and not spec.permissive:
            return "it is not known to allow commercial use"
        return self._too_large(spec.n_params)

    def obstacle_loaded(
        self, session: BackboneSession, latency_ms: dict[str, float] | None = None
    ) -> str | None:
        """Return why a backbone may not win by what loading and running it tells, or None.

        Args:
            session: The backbone.
            latency_ms: Takes the latency by the backbone's name, where it was measured.
        """
        limit = self.max_latency_ms
        if self.max_params is not None:
            # Its own count: what a catalogue says may be that of the network with its head.
            n_params = sum(p.numel() for p in session.loaded.module.parameters())
            reason = self._too_large(n_params)
            if reason is not None:
                return reason
        if limit is None:
            return None
        latency = measure_latency_ms(session)
        if latency_ms is not None:
            latency_ms[session.spec.name] = latency
        if latency <= limit:
            return None
        return f"it takes {latency:.1f} ms for one sample here, allowed are {limit:g} ms"

    def apply(self, shelf: Shelf) -> None:
        """Move what exceeds a limit to the skipped backbones, with the reason."""
        for spec in list(shelf.usable):
            reason = self.obstacle(spec)
            if reason is not None:
                shelf.skip(spec.name, reason)

    def _allowed(self, license: str) -> bool:
        name = license.strip().lower()
        patterns = [p.strip().lower() for p in self.licenses]
        return bool(name) and any(fnmatch.fnmatchcase(name, p) for p in patterns)

    def _too_large(self, n_params: int | None) -> str | None:
        if self.max_params is None or n_params is None or n_params <= self.max_params:
            return None
        return f"it has {n_params:,} parameters, allowed are {self.max_params:,}"


def _check_positive(
    name: str, value: Any, expected: str, kind: type | tuple[type, ...] = (int, float)
) -> None:
    if value is None:
        return
    number = isinstance(value, kind) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise InvalidDataError(
            f"{name} is {value!r}; expected {expected}, greater than zero, or None for no limit."
        )


def measure_latency_ms(session: BackboneSession) -> float:
    """Return the median milliseconds of a backbone's forward pass on one sample, after warm-up.

    Preprocessing and head are left out: the one depends on how samples are stored, the other
    takes next to nothing.
    """
    from autotl.features.arrays import to_arrays

    batch = session.ready(session.prepare(session.example_rows()[:1]))
    module = session.loaded.module.eval()
    times: list[float] = []
    for index in range(_WARM_UPS + _MOST_RUNS):
        if index >= _WARM_UPS + _LEAST_RUNS and sum(times) > _SECONDS:
            break
        started = time.perf_counter()
        to_arrays(session.infer(module, batch))  # to the host: a GPU answers before it is done
        if index >= _WARM_UPS:
            times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)
