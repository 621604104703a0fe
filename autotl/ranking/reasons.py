"""One line of plain words on why a backbone stands where it stands."""

from collections.abc import Sequence

import numpy as np

from autotl.experience import Gain
from autotl.ranking.evidence import Evidence
from autotl.ranking.prior import Expectation

__all__ = ["reason"]

_LOO = "ridge_loo"
_TOLD_WEIGHT = 0.5  # of experience, from which on it is worth a word
_CHEAP, _DEAR = 0.5, 2.0  # times the median cost


def reason(
    evidence: Evidence,
    expectation: Expectation,
    pairs: Sequence[tuple[Evidence, Expectation]],
    gain: Gain | None = None,
) -> str:
    """Say what the features show, what the source is, and what it costs.

    Args:
        evidence: Of the backbone.
        expectation: Of the backbone.
        pairs: Those of the whole shelf.
        gain: What searches on similar data have found of it.
    """
    shelf = [e for e, _ in pairs]
    words = [_features(evidence, shelf), _source(evidence), _cost(evidence, shelf)]
    most = max(e.n_samples for e in shelf)
    if evidence.n_samples < most:
        words.append(f"looked at on {evidence.n_samples} samples only")
    if gain is not None and gain.weight >= _TOLD_WEIGHT:
        words.append(
            f"{'above' if gain.mean > 0 else 'below'} average in searches on similar data"
        )
    best = max(x.expected for _, x in pairs)
    if 0 < best - expectation.expected <= expectation.spread:
        words.append("within the spread of the best")
    return "; ".join(word for word in words if word)


def _features(evidence: Evidence, shelf: Sequence[Evidence]) -> str:
    value = evidence.scores.get(_LOO)
    if value is None:
        return ""
    # Accuracies grow with the samples seen.
    alike = [
        e.scores[_LOO] for e in shelf if _LOO in e.scores and e.n_samples == evidence.n_samples
    ]
    among = "here" if len(alike) == len(shelf) else "of those that saw as many"
    behind = 100 * (max(alike) - value)
    text = f"frozen features tell {100 * value:.0f} % of the samples apart"
    if behind < 0.05:
        return f"{text}, the most {among}"
    return f"{text}, {behind:.0f} points behind the most {among}" if behind >= 0.5 else text


def _source(evidence: Evidence) -> str:
    # Not how near it is: every backbone measures that on a scale of its own.
    learnt = evidence.spec.source_domain
    return f"learnt from {learnt}" if learnt else ""


def _cost(evidence: Evidence, shelf: Sequence[Evidence]) -> str:
    middle = float(np.median([e.seconds_per_sample for e in shelf]))
    if middle <= 0 or len(shelf) < 3:
        return ""
    times = evidence.seconds_per_sample / middle
    if times <= _CHEAP:
        return "cheap"
    return f"{times:.0f} times as slow as most" if times >= _DEAR else ""
