"""How much of a source a tuned network has forgotten."""

from typing import Any

import numpy as np

from autotl.adapt import TunedNetwork, solve_logistic_panel
from autotl.data import Source, Task
from autotl.features import BackboneSession
from autotl.specs import Predictor

_MOST_SAMPLES = 1000
_INVERSE_STRENGTH = 1.0


def forgetting(
    task: Task, session: BackboneSession, predictor: Predictor
) -> dict[str, Any] | None:
    """Return the accuracy of a probe of the source's own classes before tuning and after.

    The probe is fitted on the source's samples, and tested on those that no method saw.

    Args:
        task: A task.
        session: The backbone.
        predictor: What is shipped.

    Returns:
        None where nothing was tuned, or no source has samples aside.
    """
    sources = [s for s in task.sources if len(s.held) and s.weight > 0]
    if not sources or not isinstance(predictor, TunedNetwork):
        return None
    source = max(sources, key=lambda s: s.weight)
    # A folder's samples come class by class.
    learnt = np.random.default_rng(0).permutation(source.learnt)[:_MOST_SAMPLES]
    both = [source.rows[positions] for positions in (learnt, source.held)]
    before = _accuracy(source, learnt, [session.embed(rows) for rows in both])
    after = _accuracy(source, learnt, [predictor.embed(session.inputs(rows)) for rows in both])
    return {
        "source": source.name, "before": before, "after": after, "n_samples": len(source.held),
    }  # fmt: skip


def _accuracy(source: Source, learnt: np.ndarray, features: list[np.ndarray]) -> float:
    train, test = features
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-6
    panel = solve_logistic_panel(
        ((train - mean) / scale).astype(np.float32), source.y[learnt], len(source.classes),
        [_INVERSE_STRENGTH],
    )  # fmt: skip
    logits = ((test - mean) / scale) @ panel.weights[0].T + panel.biases[0]
    return float((logits.argmax(axis=1) == source.y[source.held]).mean())
