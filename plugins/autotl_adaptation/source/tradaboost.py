"""Boost a probe on both domains: errors on the target count more, those on the source less.

References:
    Dai, Yang, Xue, Yu: Boosting for Transfer Learning. ICML 2007; for several classes with the
    target's error rate as in SAMME (Zhu, Zou, Rosset, Hastie 2009).
"""

from collections.abc import Generator

import numpy as np

from autotl.adapt import LinearHead, as_array, solve_logistic_panel
from autotl.specs import AdaptationTask, Inputs, SavedState, Step
from autotl_adaptation.source.domains import domains

_INVERSE_STRENGTH = 0.1
_LEAST_ERROR = 1e-3


class Vote:
    """Predict by the weighted mean of several heads' probabilities.

    Args:
        heads: All on the same scaling.
        weights: One each, positive.
    """

    def __init__(self, heads: list[LinearHead], weights: list[float]) -> None:
        self.heads, self.weights = heads, weights

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes)."""
        found = [
            w * h.predict_proba(inputs) for h, w in zip(self.heads, self.weights, strict=True)
        ]
        mean: np.ndarray = np.sum(found, axis=0) / sum(self.weights)
        return mean

    def save(self) -> SavedState:
        """Return the heads' arrays and the weights."""
        tensors = {"weights": np.array(self.weights, np.float64)}
        for index, head in enumerate(self.heads):
            tensors |= {f"{index}.{name}": value for name, value in head.tensors().items()}
        return SavedState(tensors=tensors, config={"n_heads": len(self.heads)})


def restore(saved: SavedState) -> Vote:
    """Rebuild a predictor from what `save` returned."""
    heads = []
    for index in range(int(saved.config["n_heads"])):
        names = ("weight", "bias", "mean", "scale")
        heads.append(LinearHead(**{k: as_array(saved.tensors[f"{index}.{k}"]) for k in names}))
    return Vote(heads, [float(w) for w in as_array(saved.tensors["weights"])])


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after each round with the vote of the later half of all rounds so far."""
    start = int(state.config["round"]) if state is not None else 0
    both, n_rounds = domains(task), task.n_steps
    source, target, n_source = both.source, both.labelled, len(both.source)
    X, y = np.concatenate([source, target]), np.concatenate([both.source_y, both.target_y])
    shrink = 1 / (1 + np.sqrt(2 * np.log(max(n_source, 2)) / n_rounds))
    weights = np.concatenate([both.source_weights, np.ones(len(target))])
    if task.class_weights is not None:
        weights *= task.class_weights[y]
    weights /= weights.sum()
    heads: list[LinearHead] = []
    votes: list[float] = []
    for index in range(n_rounds):
        panel = solve_logistic_panel(
            X, y, task.n_classes, [_INVERSE_STRENGTH], sample_weights=weights * len(y)
        )
        W, b = panel.weights[0], panel.biases[0]
        wrong = (X @ W.T + b).argmax(axis=1) != y
        own = weights[n_source:]
        # At the error rate of chance a round has no vote; one that is worse does not end it all.
        most = (1 - 1 / max(task.n_classes, 2)) - 0.01
        error = float(np.clip((own * wrong[n_source:]).sum() / own.sum(), _LEAST_ERROR, most))
        vote = np.log((1 - error) / error) + np.log(max(task.n_classes - 1, 1))
        heads.append(both.head(W, b, np.zeros(W.shape[1], np.float32)))
        votes.append(float(vote))
        weights[:n_source] *= np.where(wrong[:n_source], shrink, 1.0)
        weights[n_source:] *= np.where(wrong[n_source:], np.exp(vote), 1.0)
        weights /= weights.sum()
        if index < start:
            continue
        here = SavedState(tensors={}, config={"round": index + 1})
        half = len(heads) // 2
        yield Step(
            predictor=Vote(heads[half:], votes[half:]),
            state=lambda here=here: here,  # type: ignore[misc]  # default binds this step
        )
