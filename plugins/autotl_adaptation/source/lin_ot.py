"""Move the source's features by the optimal transport between Gaussians, then solve a probe.

References:
    Flamary, Lounici, Ferrari: Concentration bounds for linear Monge mapping estimation and optimal
    transport domain adaptation. 2019. The map is POT's.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.domains import Aligned, Domains, aligned_steps, unmoved

_RIDGE = 1e-2  # of the mean variance, on both covariances: few samples tell little of them


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength on the source's moved samples and the target's."""
    yield from aligned_steps(task, state, align)


def align(both: Domains) -> Aligned:
    """Map the source's Gaussian onto the target's."""
    from ot.da import LinearTransport

    ridge = _RIDGE * float(both.target.var(axis=0).mean())
    source, target = (x.astype(np.float64) for x in (both.source, both.target))
    transport = LinearTransport(reg=ridge).fit(Xs=source, Xt=target)
    moved = transport.transform(Xs=source)
    return replace(unmoved(both), source=np.asarray(moved, np.float32))
