"""Ways of fitting backbone and head, and what they see."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
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

    def layer_features(self) -> "list[np.ndarray]":
        """Return what the frozen pretrained backbone gives at each of its cuts, input side first.

        Each is pooled over positions to (n_samples, n_channels), float32; the last one is the
        embedding.
        """
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
        self,
        size: int,
        *,
        seed: int | None = None,
        augment: float = 0.0,
        start: int = 0,
        order: "np.ndarray | None" = None,
    ) -> "Iterator[tuple[np.ndarray, Any]]":
        """Yield (sample indices, batch on the device), by default once over all samples.

        Args:
            size: Samples a batch; the last one may be smaller.
            seed: Shuffles and augments; None keeps the order.
            augment: Strength in [0, 1] of the modality's augmentation. From a `start` above 0,
                seeds that leave the same remainder by the number of views share one view.
            start: Depth of the cut whose activations are asked for; 0 is the preprocessed input.
            order: Sample indices to yield, in this order, some perhaps more than once.
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
class SourceData:
    """Labelled samples of another domain, as adaptation methods see them.

    Args:
        name: What the user calls them.
        inputs: All samples.
        y: Codes among the source's own classes, shape (n_samples,).
        n_classes: Number of its own classes.
        shared: Samples whose class the task has too; None where there are none.
        shared_y: Their codes among the task's classes, shape (n_shared,).
        weight: How much they count beside other sources, by how close they are to the task; the
            mean over all sources is 1.
    """

    name: str
    inputs: Inputs
    y: "np.ndarray"
    n_classes: int
    shared: Inputs | None
    shared_y: "np.ndarray"
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class AdaptationTask:
    """One fit of backbone and head.

    Args:
        train: Training samples.
        y: Class codes of shape (n_samples,), integers in [0, n_classes); -1 for all samples where
            the target has no labels at all.
        n_classes: Number of classes; some may be absent from `y`.
        freeze_depth: How many leading layer groups stay frozen and in eval mode.
        n_steps: How many steps the engine plans to ask for; schedules are laid out over it.
        params: Values for the method's own space.
        class_weights: Shape (n_classes,), mean 1 over the samples; None when all count alike.
        device: Where to train.
        seed: Of everything random.
        unlabeled: Samples of the target domain without labels, where there are some.
        sources: Labelled samples of other domains.
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
    unlabeled: Inputs | None = None
    sources: tuple[SourceData, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the training samples have labels."""
        return bool((self.y >= 0).all())

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
            mean the same in every method. A dimension that matters only under some values of
            others says so by `when`.
        defaults: A value for each name in `space`, good enough to be tried first.
        max_steps: Steps after which it has nothing more to offer, given its params.
        needs: What must be there: "unlabeled" for samples without labels, "source" for labelled
            samples of another domain whose classes the task has, "any_source" for such of any
            classes.
        needs_labels: Whether it needs labels of the target; those that learn from the source's
            may do without.
        label_params: Names in `space` that matter only where the target has labels; elsewhere
            they are no part of it.
        epoch_samples: Samples that one step passes through the network, given the numbers of
            labelled ones, of those without labels, and of those of other domains.
        trains_backbone: False when only `Inputs.features` is read, so that a trial is cheap.
        reads_layers: Whether `Inputs.layer_features` is read, which takes a pass of its own.
        freeze_fraction: Share of the layer groups, leading ones, that stay frozen, given its
            params; asked only where the backbone is trained.
        from_scratch: Params to change so that it trains a whole network from random weights; None
            where it cannot.
        modalities: Names of the modalities that it works on; None stands for all.
        resource: What one step is called ("epoch", "strength").
        tasks: Problem kinds it can solve.
    """

    steps: Callable[[AdaptationTask, SavedState | None], Generator[Step, None, None]]
    restore: Callable[[SavedState], Predictor]
    space: Space = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    max_steps: Callable[[Mapping[str, Any]], int] = lambda params: int(params.get("epochs", 1))
    needs: frozenset[str] = frozenset()
    needs_labels: bool = True
    label_params: frozenset[str] = frozenset()
    epoch_samples: Callable[[int, int, int], int] = lambda labelled, _unlabeled, _source: labelled
    trains_backbone: bool = False
    reads_layers: bool = False
    freeze_fraction: Callable[[Mapping[str, Any]], float] = lambda params: float(
        params.get("freeze_fraction", 0.0)
    )
    from_scratch: Mapping[str, Any] | None = None
    modalities: tuple[str, ...] | None = None
    resource: str = "epoch"
    tasks: tuple[str, ...] = ("classification",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.defaults) != set(self.space):
            raise PluginError(
                f"Adaptation {self.name!r} has defaults for {sorted(self.defaults)} but its space "
                f"names {sorted(self.space)}; give exactly one default for each."
            )
        if foreign := self.label_params - set(self.space):
            raise PluginError(
                f"Adaptation {self.name!r} has label_params {sorted(foreign)}, which its space "
                "lacks; name parameters of it."
            )
        before: set[str] = set()
        for name, dimension in self.space.items():
            if unknown := set(dimension.when) - before:
                raise PluginError(
                    f"Parameter {name!r} of adaptation {self.name!r} matters only under "
                    f"{sorted(unknown)}, which must stand before it in the space."
                )
            before.add(name)

    def without_labels(self) -> "AdaptationSpec":
        """Return the method as it is searched over where the target has no labels."""
        if not self.label_params:
            return self
        kept = {name: d for name, d in self.space.items() if name not in self.label_params}
        defaults = {name: self.defaults[name] for name in kept}
        return replace(self, space=kept, defaults=defaults, label_params=frozenset())
