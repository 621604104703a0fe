"""Score candidates of an unsupervised task, of whose own samples none has a label."""

from collections.abc import Sequence

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession
from autotl.search.floor.measurement import validation_labels, validation_rows
from autotl.search.validators import Validators
from autotl.specs import Predictor

_MOST_SAMPLES = 500  # of the target, predicted after each step


def _accuracy(y: np.ndarray, proba: np.ndarray) -> float:
    """Return what stands for a metric that is no share: validators are averaged."""
    return float((proba.argmax(axis=1) == y).mean())


class Guesses:
    """Scores by validators that see no label of the target, for each backbone's candidates.

    Args:
        task: An unsupervised task.
        seed: Of the target's samples that are looked at.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        drawn = np.random.default_rng([seed, 5]).permutation(task.split.unlabeled)
        self._rows = np.sort(drawn[:_MOST_SAMPLES])
        self._validators: dict[str, Validators] = {}

    def scores(
        self, session: BackboneSession, predictors: Sequence[Predictor], proba: np.ndarray
    ) -> dict[str, float]:
        """Return each validator's score.

        Args:
            session: The backbone.
            predictors: One a fold.
            proba: Their probabilities on the validation rows.
        """
        target = session.inputs(self._rows)
        predicted = np.mean([p.predict_proba(target) for p in predictors], axis=0)
        return self._of(session).scores(proba, predicted)

    def _of(self, session: BackboneSession) -> Validators:
        """Return the validators in a backbone's embedding; made once, dropped with the next's."""
        name, task = session.spec.name, self._task
        if name not in self._validators:
            self._validators = {
                name: Validators(
                    task.metric if task.metric.kind != "other" else _accuracy,
                    validation_labels(task),
                    session.embed(task.split.selection),
                    session.embed(validation_rows(task)),
                    session.embed(self._rows),
                    len(task.classes),
                )
            }
        return self._validators[name]
