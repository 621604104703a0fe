"""What predicts samples: a backbone with what was made of it, or several of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from autotl.features import BackboneSession
from autotl.features.untrained import untrained
from autotl.registry import get_registry
from autotl.specs import BackboneSpec, LoadedBackbone, ModalitySpec, Predictor, SavedState

__all__ = ["EnsemblePredictor", "SamplePredictor", "TransferPredictor"]


class SamplePredictor(Protocol):
    """Maps samples to class probabilities."""

    def predict_proba(self, samples: Sequence[Any]) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes)."""
        ...

    def save(self) -> SavedState:
        """Return all that is needed to rebuild it."""
        ...


@dataclass(kw_only=True)
class TransferPredictor:
    """A pretrained backbone with what an adaptation made of it.

    Args:
        backbone: The backbone.
        adaptation: Name of the method.
        saved: What the method's predictor saved.
        modality: Kind of sample.
        device: Where to compute.
        untrained_seed: Of the weights that it was adapted from, where these were not the
            pretrained ones: the floor may be a network from scratch.
    """

    backbone: BackboneSpec
    adaptation: str
    saved: SavedState
    modality: ModalitySpec
    device: str = "cpu"
    untrained_seed: int | None = None
    _kept: tuple[LoadedBackbone, Predictor] | None = field(default=None, init=False, repr=False)

    def predict_proba(self, samples: Sequence[Any]) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes)."""
        seed = self.untrained_seed
        backbone = self.backbone if seed is None else untrained(self.backbone, seed)
        session = BackboneSession(backbone, samples, self.modality, device=self.device)
        if self._kept is None:
            spec = get_registry().adaptations.get(self.adaptation)
            self._kept = (session.loaded, spec.restore(self.saved))
        session.loaded, predictor = self._kept
        return predictor.predict_proba(session.inputs(np.arange(len(samples))))

    def save(self) -> SavedState:
        """Return the method's tensors, and the backbone by name and digest."""
        digest = self.backbone.weights_digest() if self.backbone.weights_digest else None
        config: dict[str, Any] = {
            "backbone": self.backbone.name,
            "backbone_digest": digest,
            "adaptation": self.adaptation,
            "method": dict(self.saved.config),
        }
        if self.untrained_seed is not None:
            config["untrained_seed"] = self.untrained_seed
        return SavedState(tensors=self.saved.tensors, config=config)


@dataclass(frozen=True, kw_only=True)
class EnsemblePredictor:
    """Several transfer models whose probabilities are averaged.

    Args:
        members: The models.
        weights: One each, positive, summing to 1.
    """

    members: Sequence[TransferPredictor]
    weights: Sequence[float]

    def predict_proba(self, samples: Sequence[Any]) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes)."""
        return self.mix([member.predict_proba(samples) for member in self.members])

    def mix(self, probas: Sequence[np.ndarray]) -> np.ndarray:
        """Return the weighted mean of the members' probabilities."""
        mixed: np.ndarray = np.tensordot(np.asarray(self.weights), np.stack(probas), axes=1)
        return mixed

    def save(self) -> SavedState:
        """Return the weights; the members are saved beside, each in a folder of its own."""
        return SavedState(tensors={}, config={"weights": [float(w) for w in self.weights]})
