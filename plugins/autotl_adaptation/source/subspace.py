"""Align the source's principal directions with the target's, then solve a probe in these.

References:
    Fernando, Habrard, Sebban, Tuytelaars: Unsupervised Visual Domain Adaptation Using Subspace
    Alignment. ICCV 2013. The alignment is skada's.
"""

from collections.abc import Generator

import numpy as np

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.domains import Aligned, Domains, aligned_steps
from autotl_adaptation.source.library import adapter


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield a probe for each strength on both domains' samples in the target's directions."""

    def align(both: Domains) -> Aligned:
        most = min(both.source.shape[0], both.target.shape[0], both.source.shape[1]) - 1
        n_directions = max(2, min(task.params["n_directions"], most))
        fitted, (source, target) = adapter(
            "SubspaceAlignmentAdapter", both.source, both.target, both.source_y,
            n_components=n_directions, random_state=task.seed,
        )  # fmt: skip
        components = np.asarray(fitted.pca_target_.components_, np.float32)
        return Aligned(
            source=source,
            target=target[: len(both.target_y)],
            weights=None,
            into=components.T,
            shift=np.asarray(fitted.pca_target_.mean_, np.float32),
        )

    yield from aligned_steps(task, state, align)
