"""One backbone over the samples of one task: loaded when needed, every sample embedded once."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.decomposition import decompose
from autotl.specs import BackboneSpec, LoadedBackbone, ModalitySpec, SpectralDecomposition

if TYPE_CHECKING:
    import torch

_BATCH_PIXELS = 8 * 224 * 224  # more pixels a batch fall out of a CPU's caches
_LEAST_BATCH, _MOST_BATCH = 8, 64
_KEPT_INPUT_BYTES = 512 * 2**20


class BackboneSession:
    """A backbone and what it has computed so far.

    Args:
        spec: The backbone.
        samples: All samples of the task; index arrays below point into them.
        modality: Brings the augmentation.
        device: Where to compute.
        check: Called between batches; may raise to stop the work (budget, interrupt).
    """

    def __init__(
        self,
        spec: BackboneSpec,
        samples: Sequence[Any],
        modality: ModalitySpec,
        *,
        device: str = "cpu",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec, self.samples, self.modality = spec, samples, modality
        self.device, self.check = device, check
        self.batch_size = _batch_size(spec)
        self._loaded: LoadedBackbone | None = None
        self._features: np.ndarray | None = None
        self._done = np.zeros(len(samples), dtype=bool)
        self._inputs: dict[int, torch.Tensor] = {}
        self._keep_inputs = True
        self._forward = self._warm_up = (0.0, 0)
        self.embed_seconds = 0.0
        self._n_groups: int | None = None
        self._decompositions: dict[bytes, SpectralDecomposition] = {}

    @property
    def loaded(self) -> LoadedBackbone:
        """The backbone in eval mode, loaded on first use."""
        if self._loaded is None:
            import torch

            self._loaded = self.spec.load(self.device)
            # The layout of the batches: convolutions then need no reordering of their weights.
            self._loaded.module.eval().to(memory_format=torch.channels_last)
        return self._loaded

    @loaded.setter
    def loaded(self, backbone: LoadedBackbone) -> None:
        self._loaded = backbone

    @property
    def n_groups(self) -> int:
        """Number of layer groups."""
        from autotl.features.freezing import FreezePlan

        if self._n_groups is None:
            self._n_groups = FreezePlan(self.loaded).n_groups
        return self._n_groups

    @property
    def seconds_per_sample(self) -> float | None:
        """Measured seconds to preprocess and embed one sample; None before anything ran."""
        seconds, n = self._forward if self._forward[1] else self._warm_up
        return seconds / n if n else None

    def release(self) -> None:
        """Drop the network and the prepared inputs; the embeddings stay."""
        self._loaded = None
        self._inputs.clear()

    def missing(self, rows: np.ndarray) -> int:
        """Count the rows that have not been embedded yet."""
        return int((~self._done[rows]).sum())

    def embed(self, rows: np.ndarray, on_batch: Callable[[int], None] | None = None) -> np.ndarray:
        """Return embeddings of shape (len(rows), embed_dim), computing only what is missing."""
        todo = np.unique(rows[~self._done[rows]])
        at = 0
        while at < len(todo):
            self.check()
            chunk = todo[at : at + self.batch_size]
            started = time.perf_counter()
            embedded = self._forward_or_halve(chunk)
            if embedded is None:
                continue
            self._time(time.perf_counter() - started, len(chunk), first=at == 0)
            if self._features is None:
                self._features = np.zeros((len(self.samples), embedded.shape[1]), np.float32)
            self._features[chunk] = embedded
            self._done[chunk] = True
            at += len(chunk)
            if on_batch:
                on_batch(len(chunk))
        if self._features is None:  # no rows asked for, nothing known
            return np.zeros((0, self.spec.embed_dim or 0), np.float32)
        picked: np.ndarray = self._features[rows]
        return picked

    def _time(self, seconds: float, n: int, *, first: bool) -> None:
        """Learn the speed; the first batch warms caches up and counts only while it is alone."""
        self.embed_seconds += seconds
        if first:
            self._warm_up = (seconds, n)
        else:
            self._forward = (self._forward[0] + seconds, self._forward[1] + n)

    def _forward_or_halve(self, chunk: np.ndarray) -> np.ndarray | None:
        """Embed one batch; out of memory halves the batch size and returns None."""
        try:
            return embed_batch(self.loaded, self.prepare(chunk), self.device)
        except RuntimeError as error:
            if "memory" not in str(error).lower() or self.batch_size == 1:
                raise
            self.batch_size = max(1, self.batch_size // 2)
            return None

    def prepare(self, rows: np.ndarray) -> Any:
        """Preprocess samples into one batch on the CPU, keeping image tensors while they fit."""
        import torch

        known = [self._inputs.get(int(r)) for r in rows]
        if all(k is not None for k in known):
            return torch.stack(known)  # type: ignore[arg-type]  # none is None here
        batch = self.loaded.preprocess([self.samples[int(r)] for r in rows])
        if self._keep_inputs and isinstance(batch, torch.Tensor) and batch.ndim == 4:
            per_sample = batch[0].numel() * batch.element_size()
            if per_sample * len(self.samples) > _KEPT_INPUT_BYTES:
                self._keep_inputs = False
            else:
                self._inputs.update({int(r): t for r, t in zip(rows, batch, strict=True)})
        return batch

    def decomposition(self, rows: np.ndarray) -> SpectralDecomposition:
        """Return the decomposition of these rows' embeddings, kept for the next trial."""
        key = rows.tobytes()
        if key not in self._decompositions:
            self._decompositions[key] = decompose(self.embed(rows))
        return self._decompositions[key]

    def inputs(self, rows: np.ndarray) -> "SessionInputs":
        """Return the samples at `rows` as adaptation methods see them."""
        return SessionInputs(self, np.asarray(rows))


def _batch_size(spec: BackboneSpec) -> int:
    """Return samples a batch: fewer for larger images."""
    if spec.input_size is None or len(spec.input_size) < 2:
        return _MOST_BATCH // 2
    height, width = spec.input_size[-2:]
    return max(_LEAST_BATCH, min(_MOST_BATCH, _BATCH_PIXELS // (height * width)))


def embed_batch(backbone: LoadedBackbone, batch: Any, device: str) -> np.ndarray:
    """Embed one preprocessed batch; returns (n_samples, embed_dim) float32 on the CPU."""
    import torch

    with torch.inference_mode():
        embedded = backbone.module(to_device(batch, device))
    array: np.ndarray = embedded.float().cpu().numpy()
    return array


def to_device(batch: Any, device: str) -> Any:
    """Move a tensor or a dict of tensors to a device; images become channels-last."""
    import torch

    if isinstance(batch, dict):
        return {k: v.to(device) for k, v in batch.items()}
    if batch.ndim == 4:
        return batch.to(device, memory_format=torch.channels_last)
    return batch.to(device)


class SessionInputs:
    """`autotl.specs.Inputs` over some rows of a session.

    Args:
        session: The backbone and its samples.
        rows: Indices into the session's samples.
    """

    def __init__(self, session: BackboneSession, rows: np.ndarray) -> None:
        self.session, self.rows = session, rows

    def __len__(self) -> int:
        return len(self.rows)

    def features(self) -> np.ndarray:
        """Return embeddings of shape (n_samples, embed_dim), float32."""
        return self.session.embed(self.rows)

    def decomposition(self) -> SpectralDecomposition:
        """Return the spectral decomposition of the features, computed once."""
        return self.session.decomposition(self.rows)

    def load_backbone(self) -> LoadedBackbone:
        """Return a copy of the pretrained backbone that the caller may train."""
        loaded = self.session.loaded
        return LoadedBackbone(
            module=copy.deepcopy(loaded.module),
            preprocess=loaded.preprocess,
            layer_groups=loaded.layer_groups,
        )

    def batches(
        self, size: int, *, seed: int | None = None, augment: float = 0.0
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (positions, batch on the device) once over all samples."""
        import torch

        order = np.arange(len(self.rows))
        generator = torch.Generator().manual_seed(seed or 0)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        for at in range(0, len(order), size):
            self.session.check()
            chunk = order[at : at + size]
            batch = self.session.prepare(self.rows[chunk])
            if augment > 0 and self.session.modality.augment is not None:
                batch = self.session.modality.augment(batch, generator, augment)
            yield chunk, to_device(batch, self.session.device)
