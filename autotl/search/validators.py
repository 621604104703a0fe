"""Judge a model of samples that have no labels, by a source's labels and its own predictions.

None of these sees the truth: they are guesses, and the best of them is only the least wrong.

References:
    Musgrave, Belongie, Lim: Benchmarking Validation Methods for Unsupervised Domain Adaptation.
    2022.
    Sugiyama, Krauledat, Müller: Covariate Shift Adaptation by Importance Weighted Cross
    Validation. JMLR 2007.
    Bruzzone, Marconcini: Domain Adaptation Problems: a DASVM Classification Technique and a
    Circular Validation Strategy. TPAMI 2010.
"""

from collections.abc import Callable, Mapping

import numpy as np

__all__ = [
    "VALIDATORS",
    "Validators",
    "choice_score",
    "density_ratio",
    "information",
    "ridge_predictions",
]

VALIDATORS = {
    "source_score": "score on the source's validation samples",
    "weighted_score": "accuracy there, samples that look like the target's counting more",
    "information": "mutual information of samples and predictions on the target",
    "circular": "accuracy on the source of a probe that learnt from predictions on the target",
}
_MOST_WEIGHT = 10.0  # of one sample; beyond it a few decide
_STRENGTH = 1e-2  # of the ridge, as a share of the features' mean variance


class Validators:
    """Score models on a source's validation samples and a target without labels.

    Args:
        metric: `metric(y, proba)`, greater is better.
        y: The source's class codes on its validation samples, shape (n_validation,).
        train: Pretrained features of the source's training samples, shape (n_train, embed_dim).
        validation: Those of its validation samples, shape (n_validation, embed_dim).
        target: Those of the target's samples, shape (n_target, embed_dim).
        n_classes: Number of classes.
    """

    def __init__(
        self,
        metric: Callable[[np.ndarray, np.ndarray], float],
        y: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        target: np.ndarray,
        n_classes: int,
    ) -> None:
        self._metric, self._y, self._n_classes = metric, y, n_classes
        mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-6
        train, validation, self._target = (
            ((x - mean) / scale).astype(np.float64) for x in (train, validation, target)
        )
        self._validation = validation
        self._weights = density_ratio(train, self._target, validation)

    def scores(self, validation: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """Return each validator's score; greater is better.

        Args:
            validation: Probabilities on the source's validation samples.
            target: Probabilities on the target's samples.
        """
        right = validation.argmax(axis=1) == self._y
        return {
            "source_score": float(self._metric(self._y, validation)),
            "weighted_score": float((self._weights * right).mean()),
            "information": information(target),
            "circular": self._circular(target),
        }

    def _circular(self, target: np.ndarray) -> float:
        predicted = ridge_predictions(
            self._target, target.argmax(axis=1), self._validation, self._n_classes
        )
        return float((predicted == self._y).mean())


def choice_score(scores: Mapping[str, float]) -> float:
    """Return what candidates are chosen by: the mean of all, as each fails somewhere."""
    return float(np.mean([scores[name] for name in VALIDATORS]))


def information(proba: np.ndarray) -> float:
    """Return the mutual information of samples and predicted classes, as a share of the most.

    1 where predictions are certain and all classes come up alike, 0 where all are the same.
    """
    n_classes = proba.shape[1]
    return float((_entropy(proba.mean(axis=0)) - _entropy(proba).mean()) / np.log(n_classes))


def _entropy(proba: np.ndarray) -> np.ndarray:
    found: np.ndarray = -(proba * np.log(np.clip(proba, 1e-12, None))).sum(axis=-1)
    return found


def density_ratio(source: np.ndarray, target: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return how much likelier samples are in the target than in the source, mean 1.

    Args:
        source: Features of shape (n_source, n_features), standardised.
        target: Shape (n_target, n_features).
        at: Where, shape (n_samples, n_features).
    """
    from sklearn.linear_model import LogisticRegression

    X = np.concatenate([source, target])
    y = np.repeat([0, 1], [len(source), len(target)])
    model = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=200).fit(X, y)
    ratio = np.exp(np.clip(model.decision_function(at), -10.0, np.log(_MOST_WEIGHT)))
    found: np.ndarray = ratio / ratio.mean()
    return found


def ridge_predictions(X: np.ndarray, y: np.ndarray, at: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the classes that a ridge probe of some samples predicts for others."""
    mean = X.mean(axis=0)
    centred, targets = X - mean, np.eye(n_classes)[y]
    strength = _STRENGTH * float(centred.var()) * len(X)
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += strength
    weights = np.linalg.solve(gram, centred.T @ (targets - targets.mean(axis=0)))
    scores = (at - mean) @ weights + targets.mean(axis=0)
    found: np.ndarray = scores.argmax(axis=1)
    return found
