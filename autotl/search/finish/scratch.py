"""A candidate's own method on its own network, without the pretraining and with nothing frozen."""

from dataclasses import replace

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession
from autotl.features.untrained import untrained
from autotl.result.predictors import TransferPredictor
from autotl.search.finish.again import Contender, fit_again
from autotl.search.study.candidate import Candidate
from autotl.search.study.space import settled
from autotl.specs import Predictor


class Scratch:
    """Train a finalist's network from random weights.

    Args:
        contender: The finalist; its method can train from random weights.
        task: The task.
        seed: Of the weights and the fits.
    """

    def __init__(self, contender: Contender, task: Task, *, seed: int) -> None:
        self.task, self.seed, self.pretrained = task, seed, contender
        session, outcome = contender.session, contender.outcome
        candidate = outcome.candidate
        changes = contender.spec.from_scratch or {}
        params = settled(contender.spec, {**candidate.params, **changes})
        self._fresh = replace(
            contender,
            outcome=replace(
                outcome,
                candidate=Candidate(
                    backbone=candidate.backbone, adaptation=candidate.adaptation, params=params
                ),
                freeze_depth=0,
                freeze_fraction=0.0,
            ),
            session=BackboneSession(
                untrained(session.spec, seed),
                session.samples,
                session.modality,
                device=session.device,
                check=session.check,
            ),
        )

    @property
    def name(self) -> str:
        """Return "untrained:backbone + method"."""
        return f"{self._fresh.session.spec.name} + {self._fresh.spec.name}"

    def fit(self, rows: np.ndarray) -> Predictor:
        """Train on some rows."""
        return fit_again(self._fresh, self.task, rows, seed=self.seed)

    def predict(self, predictor: Predictor, rows: np.ndarray) -> np.ndarray:
        """Return probabilities of shape (len(rows), n_classes)."""
        return predictor.predict_proba(self._fresh.session.inputs(rows))

    def final(self) -> TransferPredictor:
        """Train on train and validation."""
        return TransferPredictor(
            backbone=self.pretrained.session.spec,
            adaptation=self._fresh.spec.name,
            saved=self.fit(self.task.split.train_validation).save(),
            modality=self.task.modality,
            device=self._fresh.session.device,
            untrained_seed=self.seed,
        )

    def release(self) -> None:
        """Drop the network."""
        self._fresh.session.release()
