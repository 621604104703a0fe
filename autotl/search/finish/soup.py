"""Average the weights of the study's own networks: no prediction costs more for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotl.adapt import LinearHead, TunedNetwork, blend
from autotl.data import Task
from autotl.result.intervals import Gap
from autotl.search.finish.again import Contender
from autotl.search.finish.ensemble import ONE_STANDARD_ERROR
from autotl.search.finish.finalists import compare
from autotl.search.study.candidate import Outcome
from autotl.specs import SavedState

_MOST_NETWORKS = 4
_KEPT = (0.75, 0.5, 0.25)  # of the tuned weights, where the rest is pretrained
PredictorOf = Callable[[Outcome], SavedState | None]


@dataclass(frozen=True, kw_only=True)
class Soup:
    """Networks whose weights are averaged.

    Args:
        parts: Weights that sum to 1, with trials of one backbone, the finalist first; a probe
            stands for the pretrained weights.
        lead: Over the finalist on validation samples, with its interval of one standard error.
        used: Whether it is what was refitted.
    """

    parts: tuple[tuple[float, Contender], ...]
    lead: Gap
    used: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as `result.json` lists it."""
        members = [
            {"trial": c.outcome.trial, "adaptation": c.spec.name, "weight": weight}
            for weight, c in self.parts
        ]
        return {"members": members, "lead": vars(self.lead), "used": self.used}


def find_soup(
    finalist: Contender,
    contenders: Sequence[Contender],
    task: Task,
    predictor_of: PredictorOf,
) -> Soup | None:
    """Return the average that leads the finalist by more than a standard error, if there is one.

    Networks join greedily, best first, while validation gets no worse; then the pretrained
    weights take a share if that helps. Judged on the first fold, where checkpoints were fitted.

    Args:
        finalist: Tuned, or nothing is averaged.
        contenders: All trials that may join; those of the finalist's backbone do.
        task: The task.
        predictor_of: Returns the checkpoint that was kept of a trial.

    References:
        Wortsman et al.: Model Soups. ICML 2022; Robust Fine-Tuning of Zero-Shot Models. CVPR 2022.
    """
    own = [c for c in contenders if c.family[0] == finalist.family[0]]
    own.sort(key=lambda c: (c.outcome.trial != finalist.outcome.trial, -(c.outcome.value or 0.0)))
    networks = _restored(own, predictor_of, TunedNetwork, _MOST_NETWORKS)
    if not networks or networks[0][0].outcome.trial != finalist.outcome.trial:
        return None
    probes = _restored(own, predictor_of, LinearHead, 1)
    inputs = finalist.session.inputs(task.split.folds[0].validation)
    rows = task.split.folds[0].validation

    def quality(proba: np.ndarray) -> tuple[float, float]:
        truth = proba[np.arange(len(rows)), task.y[rows]]
        return float(task.metric(task.y[rows], proba)), float(np.log(truth.clip(1e-12)).mean())

    def predicted(parts: _Parts) -> np.ndarray:
        mixed = [(w, predictor) for w, _, predictor in parts]
        return blend(mixed, inputs).predict_proba(inputs)

    chosen: _Parts = [(1.0, *networks[0])]
    alone = best = predicted(chosen)
    for one in networks[1:]:
        share = 1 / (len(chosen) + 1)
        tried = [(share, c, p) for _, c, p in chosen] + [(share, *one)]
        proba = predicted(tried)
        if quality(proba) > quality(best):
            chosen, best = tried, proba
    tuned = chosen
    for kept in _KEPT if probes else ():
        tried = [(kept * w, c, p) for w, c, p in tuned] + [(1 - kept, *probes[0])]
        proba = predicted(tried)
        if quality(proba) > quality(best):
            chosen, best = tried, proba
    if len(chosen) == 1:
        return None
    lead = compare(task, best, alone, rows, ONE_STANDARD_ERROR)
    if lead.low <= 0:
        return None
    return Soup(parts=tuple((w, c) for w, c, _ in chosen), lead=lead)


_Parts = list[tuple[float, Contender, Any]]


def _restored(
    contenders: Sequence[Contender], predictor_of: PredictorOf, kind: type, most: int
) -> list[tuple[Contender, Any]]:
    """Return the first contenders whose checkpoint is of some kind, with it."""
    found: list[tuple[Contender, Any]] = []
    for contender in contenders:
        if len(found) == most:
            break
        saved = predictor_of(contender.outcome)
        predictor = contender.spec.restore(saved) if saved is not None else None
        if isinstance(predictor, kind):
            found.append((contender, predictor))
    return found


def stir(soup: Soup, saved: Sequence[SavedState], task: Task) -> tuple[Soup, SavedState]:
    """Return the soup as used, and the average of its parts as they were fitted again.

    Args:
        soup: What to average.
        saved: The predictors of its parts, in their order.
        task: The task.
    """
    session = soup.parts[0][1].session
    parts = [
        (weight, contender.spec.restore(state))
        for (weight, contender), state in zip(soup.parts, saved, strict=True)
    ]
    rows = task.split.folds[0].validation
    mixed = blend(parts, session.inputs(rows))  # type: ignore[arg-type]  # checked when found
    return replace(soup, used=True), mixed.save()
