"""Solve a probe on both domains as they are, or on the source's samples alone.

What every method that aligns the domains must beat.
"""

from collections.abc import Generator

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.domains import Aligned, Domains, aligned_steps, unmoved


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength on the samples of both domains."""
    yield from aligned_steps(task, state, unmoved)


def source_only(
    task: AdaptationTask, state: SavedState | None = None
) -> Generator[Step, None, None]:
    """Yield a probe for each strength on the source's samples; no label of the target is used."""
    yield from aligned_steps(task, state, _without_target)


def _without_target(both: Domains) -> Aligned:
    return unmoved(both, with_target=False)
