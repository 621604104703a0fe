"""Ways of fitting backbone and head, and what they see."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from autotl.errors import PluginError
from autotl.specs.algebra import SpectralDecomposition
from autotl.specs.backbones import LoadedBackbone
from autotl.specs.base import SavedState, Spec
from autotl.specs.spaces import Space

if TYPE_CHECKING:
    import numpy as np


class Inputs(Protocol):
    """Samples of one split, as adaptation methods and predictors see them.

    The engine decides what is computed, cached or recomputed behind these calls.
    """

    def __len__(self) -> int:
        """Count the samples."""
        ...

    def features(self) -> "np.ndarray":
        """Return embeddings by the frozen pretrained backbone, (n_samples, embed_dim) float32."""
        ...

    def decomposition(self) -> SpectralDecomposition:
        """Return the spectral decomposition of `features()`, computed once."""
        ...

    def load_backbone(self, freeze_depth: int = 0) -> LoadedBackbone:
        """Return a copy of the pretrained backbone that the caller may train, in eval mode.

        Args:
            freeze_depth: Leading layer groups that the caller keeps frozen. The engine may leave
                out some of them; `start` of the result then says from which cut the rest
                continues, and `batches` given that `start` yields what it reads.
        """
        ...

    def batches(
        self, size: int, *, seed: int | None = None, augment: float = 0.0, start: int = 0
    ) -> "Iterator[tuple[np.ndarray, Any]]":
        """Yield (sample indices, batch on the device) once over all samples.

        Args:
            size: Samples a batch; the last one may be smaller.
            seed: Shuffles and augments; None keeps the order.
            augment: Strength in [0, 1] of the modality's augmentation. From a `start` above 0,
                seeds that leave the same remainder by the number of views share one view.
            start: Depth of the cut whose activations are asked for; 0 is the preprocessed input.
        """
        ...


class Predictor(Protocol):
    """What an adaptation step yields: usable at once, and saved without pickle."""

    def predict_proba(self, inputs: Inputs) -> "np.ndarray":
        """Return class probabilities of shape (n_samples, n_classes)."""
        ...

    def save(self) -> SavedState:
        """Return a copy of all that `AdaptationSpec.restore` needs to rebuild it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One unit of resource spent by an adaptation.

    Args:
        predictor: Predicts as of now; may change when the generator is advanced.
        state: Returns all that is needed to continue from here in another process.
        loss: Mean training loss over this step, if there is one.
    """

    predictor: Predictor
    state: Callable[[], SavedState]
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class AdaptationTask:
    """One fit of backbone and head.

    Args:
        train: Training samples.
        y: Class codes of shape (n_samples,), integers in [0, n_classes).
        n_classes: Number of classes; some may be absent from `y`.
        freeze_depth: How many leading layer groups stay frozen and in eval mode.
        n_steps: How many steps the engine plans to ask for; schedules are laid out over it.
        params: Values for the method's own space.
        class_weights: Shape (n_classes,), mean 1 over the samples; None when all count alike.
        device: Where to train.
        seed: Of everything random.
    """

    train: Inputs
    y: "np.ndarray"
    n_classes: int
    freeze_depth: int
    n_steps: int
    params: Mapping[str, Any]
    class_weights: "np.ndarray | None" = None
    device: str = "cpu"
    seed: int = 0

    def decomposition(self) -> SpectralDecomposition:
        """Return the decomposition of the training features, computed once and shared."""
        return self.train.decomposition()


@dataclass(frozen=True, kw_only=True)
class AdaptationSpec(Spec):
    """A way of fitting backbone and head: a generator, one step per unit of resource.

    Args:
        steps: `steps(task, state=None)`; yields forever or until done; with a `state` from an
            earlier `Step` it continues exactly there. The engine validates after every step and
            closes the generator when it has seen enough.
        restore: Rebuilds a predictor from what its `save` returned.
        space: Search dimensions by name. `freeze_fraction`, `lr`, `weight_decay` and `epochs`
            mean the same in every method.
        defaults: A value for each name in `space`, good enough to be tried first.
        max_steps: Steps after which it has nothing more to offer, given its params.
        needs: What must be there: any of "source", "unlabeled".
        trains_backbone: False when only `Inputs.features` is read, so that a trial is cheap.
        resource: What one step is called ("epoch", "strength").
        tasks: Problem kinds it can solve.
    """

    steps: Callable[[AdaptationTask, SavedState | None], Generator[Step, None, None]]
    restore: Callable[[SavedState], Predictor]
    space: Space = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    max_steps: Callable[[Mapping[str, Any]], int] = lambda params: int(params.get("epochs", 1))
    needs: frozenset[str] = frozenset()
    trains_backbone: bool = False
    resource: str = "epoch"
    tasks: tuple[str, ...] = ("classification",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.defaults) != set(self.space):
            raise PluginError(
                f"Adaptation {self.name!r} has defaults for {sorted(self.defaults)} but its space "
                f"names {sorted(self.space)}; give exactly one default for each."
            )
