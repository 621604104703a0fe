"""How much each of several sources counts: by how close it is to the user's data."""

from dataclasses import replace

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession
from autotl.ranking import domain_sample
from autotl.registry import get_registry

_MEASURE = "mmd"
_MOST_SAMPLES = 300  # of a domain, to compare by
_LEAST_SHARE = 0.1  # of the closest source's weight; what is farther is left out


def weigh_sources(task: Task, session: BackboneSession, seed: int) -> tuple[Task, str]:
    """Return the task with a weight for each source, and what was found, in words.

    A source counts by the inverse square of its distance to the samples that models are chosen
    on, in the embedding of one backbone.

    Args:
        task: The task, with two sources or more; with fewer there is nothing to weigh.
        session: The backbone that is expected to do best.
        seed: Of the samples that are compared.
    """
    if len(task.sources) < 2:
        return task, ""
    measure = get_registry().similarities.get(_MEASURE)
    rng = np.random.default_rng(seed)

    def sample(rows: np.ndarray) -> np.ndarray:
        return session.embed(np.sort(rng.permutation(rows)[:_MOST_SAMPLES]))

    target = domain_sample(sample(task.split.selection), seed=seed)
    found = [
        measure.compute(domain_sample(sample(source.rows), seed=seed), target)
        for source in task.sources
    ]
    distances = np.array([-d if measure.greater_is_closer else d for d in found])
    weights = (distances.min().clip(1e-6) / distances.clip(1e-6)) ** 2
    # Methods were admitted because some source shares classes: the closest such one stays.
    sharing = [i for i, source in enumerate(task.sources) if len(source.shared)]
    kept = max(sharing, key=lambda i: weights[i], default=0)
    weights[kept] = max(weights[kept], _LEAST_SHARE)
    weights[weights < _LEAST_SHARE] = 0.0
    weights *= len(weights) / weights.sum()
    sources = tuple(
        replace(source, weight=float(weight))
        for source, weight in zip(task.sources, weights, strict=True)
    )
    words = ", ".join(
        f"{source.name} at {distance:.3g} "
        + (f"counts {source.weight:.2f}" if source.weight > 0 else "is left out")
        for source, distance in zip(sources, found, strict=True)
    )
    return replace(task, sources=sources), f"Sources by closeness ({_MEASURE}): {words}."
