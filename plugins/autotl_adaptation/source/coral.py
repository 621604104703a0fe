"""Give the source's features the target's covariance, then solve a probe on both.

References:
    Sun, Feng, Saenko: Return of Frustratingly Easy Domain Adaptation. AAAI 2016. The transform is
    skada's.
"""

from collections.abc import Generator

import numpy as np

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.domains import Aligned, Domains, aligned_steps
from autotl_adaptation.source.library import adapted


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength on the source's moved samples and the target's."""
    yield from aligned_steps(task, state, align)


def align(both: Domains) -> Aligned:
    """Whiten the source's features and colour them as the target's, both centred."""
    source, target = adapted("CORALAdapter", both.source, both.target, both.source_y)
    width = source.shape[1]
    return Aligned(
        source=source,
        target=target[: len(both.target_y)],
        weights=None,
        into=np.eye(width, dtype=np.float32),
        shift=both.target.mean(axis=0),
    )
