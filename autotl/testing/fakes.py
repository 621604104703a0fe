"""Small deterministic specs and inputs, for tests without real weights."""

import copy
import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from autotl.features import BackboneSession, cut_features, decompose
from autotl.specs import (
    AdaptationSpec,
    AdaptationTask,
    BackboneSpec,
    DomainSample,
    Inputs,
    LoadedBackbone,
    ModalitySpec,
    Range,
    RawFeatureSpec,
    SavedState,
    ScoreInput,
    ScoreSpec,
    SimilaritySpec,
    SpectralDecomposition,
    Step,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "ArrayInputs",
    "fake_adaptation",
    "fake_backbone",
    "fake_modality",
    "fake_score",
    "fake_similarity",
    "jitter",
    "toy_images",
]

_SIDE = 16
_EMBED_DIM = 12
_N_SOURCE_CLASSES = 5


def toy_images(n_samples: int, n_classes: int = 3, seed: int = 0) -> tuple[list[Any], np.ndarray]:
    """Draw noisy stripes whose colour and width tell the class.

    Returns PIL images in mode "RGB", 20 pixels high and 24 wide, and codes of shape (n_samples,).
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % n_classes
    images = []
    for code in y:
        pixels = rng.uniform(0, 120, (20, 24, 3))
        bright = np.arange(24) // (code + 1) % 2 == 0
        pixels[:, bright, code % 3] += 120
        images.append(Image.fromarray(pixels.astype(np.uint8), "RGB"))
    return images, y


class ArrayInputs:
    """`Inputs` over samples in memory.

    Args:
        samples: Samples of the backbone's modality.
        backbone: A loaded backbone; it is never trained, `load_backbone` copies it.
        augment: The modality's augmentation, if it has one.
        device: Where batches go.
    """

    def __init__(
        self,
        samples: Sequence[Any],
        backbone: LoadedBackbone,
        augment: "Callable[[Any, torch.Generator, float], Any] | None" = None,
        device: str = "cpu",
    ) -> None:
        self.samples = samples
        self.backbone = backbone
        self.device = device
        self._augment = augment
        self._features: np.ndarray | None = None
        self._layers: list[np.ndarray] | None = None
        self._decomposition: SpectralDecomposition | None = None

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.samples)

    def features(self) -> np.ndarray:
        """Return embeddings of shape (n_samples, embed_dim), computed once."""
        if self._features is None:
            import torch

            self.backbone.module.eval()
            with torch.inference_mode():
                rows = [self.backbone.module(batch).cpu() for _, batch in self.batches(32)]
            self._features = torch.cat(rows).numpy().astype(np.float32)
        return self._features

    def decomposition(self) -> SpectralDecomposition:
        """Return the decomposition of `features()`, computed once."""
        if self._decomposition is None:
            self._decomposition = decompose(self.features())
        return self._decomposition

    def layer_features(self) -> list[np.ndarray]:
        """Return pooled activations at every cut, each of shape (n_samples, n_channels)."""
        if self._layers is None:
            session = BackboneSession(
                dataclasses.replace(fake_backbone(), load=lambda _device: self.backbone),
                self.samples,
                fake_modality(),
                device=self.device,
            )
            self._layers = cut_features(session, np.arange(len(self)))
        return self._layers

    def load_backbone(self, freeze_depth: int = 0) -> LoadedBackbone:
        """Return a deep copy in eval mode, all of it trainable, whatever stays frozen."""
        module = copy.deepcopy(self.backbone.module).eval().requires_grad_(True)
        return dataclasses.replace(self.backbone, module=module.to(self.device))

    def batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        augment: float = 0.0,
        start: int = 0,
        order: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (sample indices, preprocessed batch), shuffled and augmented when seeded.

        Raises:
            ValueError: `start` is not 0; `load_backbone` here always gives the whole backbone.
        """
        import torch

        if start:
            raise ValueError(f"start is {start}; expected 0, as load_backbone here says.")

        generator = torch.Generator()
        if seed is not None:
            generator.manual_seed(seed)
        if order is None:
            order = np.arange(len(self))
            if seed is not None:
                order = np.random.default_rng(seed).permutation(order)
        for at in range(0, len(order), size):
            indices = order[at : at + size]
            batch = self.backbone.preprocess([self.samples[i] for i in indices])
            if seed is not None and augment > 0 and self._augment is not None:
                batch = self._augment(batch, generator, augment)
            yield indices, _to_device(batch, self.device)


def _to_device(batch: Any, device: str) -> Any:
    if isinstance(batch, dict):
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return batch.to(device)


def _preprocess(samples: Sequence[Any]) -> "torch.Tensor":
    import torch

    resized = [
        np.array(s.convert("RGB").resize((_SIDE, _SIDE)), dtype=np.float32) for s in samples
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous() / 255.0 - 0.5


def _load_tiny(device: str, *, seed: int) -> LoadedBackbone:
    import torch
    from torch import nn

    # Drop-out and batch norm catch methods that forget random state or buffers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        block = nn.Sequential(
            nn.Conv2d(8, _EMBED_DIM, 3, 2, 1), nn.BatchNorm2d(_EMBED_DIM), nn.ReLU()
        )
        last = nn.Sequential(nn.Conv2d(_EMBED_DIM, _EMBED_DIM, 1), nn.ReLU(), nn.Dropout(0.1))
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        source_head = nn.Linear(_EMBED_DIM, _N_SOURCE_CLASSES).to(device)
    module = nn.Sequential(OrderedDict(stem=stem, block=block, last=last, pool=pool))
    module = module.to(device).eval()

    def source_probs(batch: Any) -> torch.Tensor:
        probs: torch.Tensor = source_head(module(batch)).softmax(dim=1)
        return probs

    return LoadedBackbone(
        module=module,
        preprocess=_preprocess,
        layer_groups=(("stem",), ("block",), ("last",)),
        source_probs=source_probs,
        source_head=source_head,
    )


def fake_backbone(name: str = "fake/tiny", *, seed: int = 0) -> BackboneSpec:
    """Describe a three-layer convolutional net whose weights the seed decides."""
    return BackboneSpec(
        name=name,
        summary="Three convolutions with random weights, for tests.",
        modality="image",
        embed_dim=_EMBED_DIM,
        load=functools.partial(_load_tiny, seed=seed),
        weights_digest=lambda: f"fake-{seed}",
        source_domain="none",
        license="Apache-2.0",
        permissive=True,
        input_size=(3, _SIDE, _SIDE),
        has_source_probs=True,
    )


def _between_within(score_input: ScoreInput) -> float:
    features, y = score_input.features.astype(np.float64), score_input.y
    codes, counts = np.unique(y, return_counts=True)
    means = np.stack([features[y == code].mean(axis=0) for code in codes])
    spread = means[np.searchsorted(codes, y)]
    within = ((features - spread) ** 2).sum()
    between = (counts[:, None] * (means - features.mean(axis=0)) ** 2).sum()
    return float(between / (between + within + 1e-12))


def fake_score() -> ScoreSpec:
    """Describe the share of variance between classes, in [0, 1]."""
    return ScoreSpec(name="between_share", compute=_between_within)


def _mean_distance(source: DomainSample, target: DomainSample) -> float:
    return float(np.linalg.norm(source.mean - target.mean))


def fake_similarity() -> SimilaritySpec:
    """Describe the distance between two domains' means."""
    return SimilaritySpec(
        name="mean_distance", compute=_mean_distance, greater_is_closer=False, needs="moments"
    )


class _NearestMean:
    """Softmax over negative squared distances to class means of shape (n_classes, embed_dim)."""

    def __init__(self, means: np.ndarray) -> None:
        self.means = means

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes)."""
        squared = ((inputs.features()[:, None] - self.means) ** 2).sum(axis=2)
        weights = np.exp(squared.min(axis=1, keepdims=True) - squared)
        probabilities: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
        return probabilities

    def save(self) -> SavedState:
        """Return a copy of the means."""
        return SavedState(tensors={"means": self.means.copy()}, config={})


def _restore(state: SavedState) -> _NearestMean:
    return _NearestMean(np.asarray(state.tensors["means"]))


def _identity(state: SavedState) -> SavedState:
    return state


def _steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    features = task.train.features()
    present = np.unique(task.y)
    target = np.stack([features[task.y == code].mean(axis=0) for code in present])
    means = np.zeros((task.n_classes, features.shape[1]), dtype=np.float32)
    done = 0
    if state is not None:
        means, done = np.asarray(state.tensors["means"]), int(state.config["done"])
    for index in range(done, int(task.params["epochs"])):
        means = means.copy()
        means[present] += np.float32(0.5) * (target - means[present])
        predictor = _NearestMean(means)
        saved = SavedState(tensors={"means": means}, config={"done": index + 1})
        loss = float(((target - means[present]) ** 2).mean())
        yield Step(predictor=predictor, state=functools.partial(_identity, saved), loss=loss)


def fake_adaptation() -> AdaptationSpec:
    """Describe a nearest-mean classifier whose means move half-way to the class means a step."""
    return AdaptationSpec(
        name="nearest_mean",
        steps=_steps,
        restore=_restore,
        space={"epochs": Range(low=1, high=8, integer=True)},
        defaults={"epochs": 4},
    )


def _fit_scale(samples: Sequence[Any]) -> SavedState:
    stacked = np.stack(samples)
    return SavedState(
        tensors={"mean": stacked.mean(axis=0), "scale": stacked.std(axis=0) + 1e-6}, config={}
    )


def _scale(samples: Sequence[Any], state: SavedState) -> np.ndarray:
    mean, scale = (np.asarray(state.tensors[name]) for name in ("mean", "scale"))
    scaled: np.ndarray = ((np.stack(samples) - mean) / scale).astype(np.float32)
    return scaled


def jitter(batch: Any, generator: "torch.Generator", strength: float) -> Any:
    """Add noise of standard deviation 0.1 at strength 1 to a tensor."""
    import torch

    noise = torch.randn(batch.shape, generator=generator, dtype=batch.dtype)
    return batch + 0.1 * strength * noise.to(batch.device)


def fake_modality() -> ModalitySpec:
    """Describe rows of a numeric matrix."""
    return ModalitySpec(
        name="vectors",
        accepts=lambda X: isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f",
        as_samples=lambda X: list(np.asarray(X, dtype=np.float32)),
        fingerprint=lambda sample: sample.tobytes(),
        raw_features=(RawFeatureSpec(name="scaled", fit=_fit_scale, transform=_scale),),
        augment=jitter,
    )
