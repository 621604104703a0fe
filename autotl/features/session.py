"""One backbone over the samples of one task: loaded when needed, its frozen part run once."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.activations import PLAIN, Activations, Caching
from autotl.features.arrays import to_arrays, to_device
from autotl.features.cuts import find_cuts
from autotl.features.decomposition import decompose
from autotl.features.extraction import choose_batch_size, infer, run_batches
from autotl.features.folding import fold_batch_norm
from autotl.features.freezing import FreezePlan, freeze_depth
from autotl.features.inputs import SessionInputs
from autotl.features.layers import LayerFeatures
from autotl.features.placement import CutCost, choose_cuts
from autotl.specs import BackboneSpec, Cuts, LoadedBackbone, ModalitySpec, SpectralDecomposition

if TYPE_CHECKING:
    import torch

_BATCH_PIXELS = 8 * 224 * 224  # more pixels a batch fall out of a CPU's caches
_LEAST_BATCH, _MOST_BATCH = 8, 64
_KEPT_INPUT_BYTES = 64 * 2**20
_KEPT_FEATURE_BYTES = 64 * 2**20
_EXAMPLES = 4
_LONG_PASS = 200  # batches; measuring the best size takes about ten
_LEAST_FOLDED = 64  # samples that pay for folding
_STORE_SHARE = 0.25  # of the cache's limit, for the activations of one backbone


class BackboneSession:
    """A backbone and what it has computed so far.

    Args:
        spec: The backbone.
        samples: All samples of the task; index arrays below point into them.
        modality: Brings the augmentation.
        device: Where to compute.
        check: Called between batches; may raise to stop the work (budget, interrupt).
        caching: How activations are kept on disk; None keeps embeddings in memory only, and runs
            the whole network for everything else.
        timed: Whether speeds may decide anything, here the batch size of long passes.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        samples: Sequence[Any],
        modality: ModalitySpec,
        *,
        device: str = "cpu",
        check: Callable[[], None] = lambda: None,
        caching: Caching | None = None,
        timed: bool = False,
    ) -> None:
        self.spec, self.samples, self.modality = spec, samples, modality
        self.device, self.check = device, check
        self.batch_size = _batch_size(spec)
        self._unsettled = timed
        self.activations = None if caching is None else Activations(self, caching)
        self._loaded: LoadedBackbone | None = None
        self._parts: dict[tuple[int, int], torch.nn.Module] = {}
        self._folded: torch.nn.Module | None = None
        self._features: np.ndarray | None = None
        self._done = np.zeros(len(samples), dtype=bool)
        self._layers = LayerFeatures(self)
        self._inputs: dict[int, torch.Tensor] = {}
        self._keep_inputs, self._input_bytes = True, 0
        self._forward = self._warm_up = (0.0, 0)
        self.embed_seconds = 0.0
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

    @cached_property
    def n_groups(self) -> int:
        """Number of layer groups."""
        return FreezePlan(self.loaded).n_groups

    @cached_property
    def cuts(self) -> Cuts:
        """Where the backbone can be divided, found once."""
        return find_cuts(self.loaded, self.example())

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Depths of the cuts whose activations are kept, ascending; the embedding is the last."""
        if self.activations is None:
            return ()
        caching = self.activations.caching
        demand: dict[int, float] = {}
        for fraction in caching.demand:
            depth = freeze_depth(fraction, self.n_groups)
            demand[depth] = demand.get(depth, 0.0) + 1.0
        limit = _STORE_SHARE * caching.store.limit_bytes
        costs = self._cut_costs(1 + caching.views)
        return (*choose_cuts(costs, demand, len(self.samples), limit), self.n_groups)

    def _cut_costs(self, n_views: int) -> list[CutCost]:
        """Count the operations before each cut and the bytes of half precision at it."""
        from torch.utils.flop_counter import FlopCounterMode

        batch, work, found = self.example(), 0.0, []
        for before, depth in zip(self.cuts.depths, self.cuts.depths[1:-1], strict=False):
            with FlopCounterMode(display=False) as counter:
                batch = self.infer(self.part(before, depth), batch)
            work += counter.get_total_flops()
            sizes = [a.nbytes / 2 / len(a) for a in to_arrays(batch).values()]
            found.append(CutCost(depth=depth, work=work, sample_bytes=n_views * sum(sizes)))
        return found

    def example(self) -> Any:
        """Return a small batch that is ready for the network."""
        return self.ready(self.prepare(self.example_rows()))

    def example_rows(self) -> np.ndarray:
        """Return a few rows: the longest text too, on which a limit of length shows."""
        rows = np.linspace(0, len(self.samples) - 1, _EXAMPLES).astype(int)
        if isinstance(self.samples[0], str):
            rows = np.append(rows, np.argmax([len(s) for s in self.samples]))
        return np.unique(rows)

    def embedder(self, n_samples: int) -> "torch.nn.Module":
        """Return the whole network for inference: batch norms folded away when it pays."""
        if n_samples < _LEAST_FOLDED:
            return self.loaded.module
        if self._folded is None:
            try:
                self._folded = fold_batch_norm(self.loaded.module, self.example())
            except Exception:  # noqa: BLE001  # a speed-up that fails must not cost the backbone
                self._folded = self.loaded.module
        return self._folded

    def part(self, start: int, stop: int) -> "torch.nn.Module":
        """Return the pretrained layers between two cuts, in eval mode."""
        import torch

        if start == 0 and stop == self.n_groups:
            return self.loaded.module
        if start == stop:
            return torch.nn.Identity()
        if (start, stop) not in self._parts:
            self._parts[start, stop] = self.cuts.part(self.loaded.module, start, stop)
        return self._parts[start, stop]

    def start_for(self, depth: int) -> int:
        """Return the deepest kept cut whose layers are all frozen at a freeze depth."""
        return max((d for d in self.kept if d <= depth), default=0)

    @property
    def seconds_per_sample(self) -> float | None:
        """Measured seconds to preprocess and embed one sample; None before anything ran."""
        seconds, n = self._forward if self._forward[1] else self._warm_up
        return seconds / n if n else None

    @seconds_per_sample.setter
    def seconds_per_sample(self, seconds: float) -> None:
        """Take over what another session of the same backbone has measured."""
        self._warm_up = (seconds, 1)

    @property
    def held_bytes(self) -> int:
        """Bytes of the network and the prepared inputs that are in memory."""
        parameters = self._loaded.module.parameters() if self._loaded else ()
        weights = sum(p.numel() * p.element_size() for p in parameters)
        copies = 2 if self._folded is not None else 1
        return copies * weights + len(self._inputs) * self._input_bytes

    def n_to_compute(self, rows: np.ndarray, depth: int, strength: float) -> int:
        """Count the samples and views whose activations a trial has yet to compute."""
        start = self.start_for(depth)
        if self.activations is None or start == 0:
            return 0
        return self.activations.n_missing(rows, start, strength if self.modality.augment else 0.0)

    def release(self) -> None:
        """Drop the network and the prepared inputs; what was embedded stays at hand."""
        self._loaded = self._folded = None
        self._parts.clear()
        self._inputs.clear()
        self._decompositions.clear()
        self._layers.release(_KEPT_FEATURE_BYTES)
        if self.activations is None:
            return
        self.activations.release()
        if self._features is not None and self._features.nbytes > _KEPT_FEATURE_BYTES:
            self._features, self._done[:] = None, False

    def missing(self, rows: np.ndarray) -> int:
        """Count the rows that have not been embedded yet, here or by an earlier run."""
        todo = rows[~self._done[rows]]
        if self.activations is None or not len(todo):
            return len(todo)
        return len(self.activations.missing(todo, self.n_groups, PLAIN))

    def embed(self, rows: np.ndarray, on_batch: Callable[[int], None] | None = None) -> np.ndarray:
        """Return embeddings of shape (len(rows), embed_dim), computing only what is missing."""
        todo = np.unique(rows[~self._done[rows]])
        if len(todo):
            self._fill_features(todo, on_batch)
        if self._features is None:  # no rows asked for, nothing known
            return np.zeros((0, self.spec.embed_dim or 0), np.float32)
        picked: np.ndarray = self._features[rows]
        return picked

    def _fill_features(self, todo: np.ndarray, on_batch: Callable[[int], None] | None) -> None:
        kept = self.activations
        if kept is None:
            self._settle_batch_size(todo)
            computing = self._embed_here(todo)
        else:
            missing = kept.missing(todo, self.n_groups, PLAIN)
            self._settle_batch_size(missing)
            known = np.setdiff1d(todo, missing)
            if len(known):
                self._put_arrays(known, kept.read(known, self.n_groups, PLAIN))
            computing = kept.fill(todo, self.n_groups, PLAIN, self._put_arrays)
        for chunk in self.timed(computing):
            if on_batch:
                on_batch(len(chunk))
        left = todo[~self._done[todo]]
        if kept is not None and len(left):  # another process was faster
            self._put_arrays(left, kept.read(left, self.n_groups, PLAIN))

    def _settle_batch_size(self, rows: np.ndarray) -> None:
        """Choose the batch size by measurement before the first pass that is long enough."""
        if not self._unsettled or len(rows) < _LONG_PASS * self.batch_size:
            return
        self._unsettled = False
        module, size = self.embedder(len(rows)), self.batch_size
        sizes = [size // 2, size, 2 * size] if self.device == "cpu" else [size, 4 * size, 8 * size]
        self.batch_size = choose_batch_size(
            # Through the host: a GPU answers before it is done.
            lambda batch: to_arrays(self.infer(module, self.ready(batch))),
            lambda n_samples: self.prepare(rows[:n_samples]),
            [max(1, n_samples) for n_samples in sizes],
        )

    def _embed_here(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Embed into memory only; yields the rows of each batch."""
        module = self.embedder(len(rows))

        def compute(batch: Any) -> Any:
            return self.infer(module, self.ready(batch))

        for chunk, embedded in self.passes(rows, self.prepare, compute):
            self._put_arrays(chunk, to_arrays(embedded))
            yield chunk

    def _put_arrays(self, rows: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        (values,) = arrays.values()
        if self._features is None:
            self._features = np.zeros((len(self.samples), values.shape[1]), np.float32)
        self._features[rows] = values
        self._done[rows] = True

    def passes(
        self, rows: np.ndarray, prepare: Callable[[np.ndarray], Any], compute: Callable[[Any], Any]
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (rows of a batch, `compute(prepare(those rows))`); out of memory is remembered."""
        largest = 0
        for chunk, result in run_batches(
            rows,
            prepare,
            compute,
            batch_size=self.batch_size,
            check=self.check,
            concurrent=self.device == "cpu",
        ):
            largest = max(largest, len(chunk))
            yield chunk, result
        if largest < min(self.batch_size, len(rows)):
            self.batch_size = largest

    def timed(
        self, computing: Iterator[np.ndarray], *, whole: bool = True
    ) -> Iterator[np.ndarray]:
        """Pass on the rows of batches and book the time of computing them.

        Where the whole network runs, the speed is learnt: the first batch warms caches up and
        counts only while it is alone.
        """
        started, first, waiting = time.perf_counter(), True, False
        try:
            for rows in computing:
                seconds, waiting = time.perf_counter() - started, True
                self.embed_seconds += seconds
                if whole and first:
                    self._warm_up, first = (seconds, len(rows)), False
                elif whole:
                    self._forward = (self._forward[0] + seconds, self._forward[1] + len(rows))
                yield rows
                started, waiting = time.perf_counter(), False
        finally:
            if not waiting:
                self.embed_seconds += time.perf_counter() - started

    def measure_speed(self) -> None:
        """Time one batch where nothing had to be computed yet, so that plans have a ground."""
        if self.seconds_per_sample is not None:
            return
        rows = np.linspace(0, len(self.samples) - 1, min(len(self.samples), self.batch_size))
        for warm in (False, True):
            started = time.perf_counter()
            batch = self.ready(self.prepare(np.unique(rows.astype(int))))
            to_arrays(self.infer(self.loaded.module, batch))
            if warm:
                self._warm_up = (time.perf_counter() - started, len(rows))

    def infer(self, module: Callable[[Any], Any], batch: Any) -> Any:
        """Run frozen layers on a batch that is ready."""
        return infer(module, batch, half=self.device.startswith("cuda"))

    def holds(self, rows: np.ndarray) -> bool:
        """Say whether the inputs of all rows are prepared and in memory."""
        return len(self._inputs) >= len(rows) and all(int(r) in self._inputs for r in rows)

    def prepare(self, rows: np.ndarray) -> Any:
        """Preprocess samples into one batch on the CPU, keeping image tensors while they fit.

        Images stay whole numbers where the backbone's preprocessing has two stages.
        """
        import torch

        known = [self._inputs.get(int(r)) for r in rows]
        if all(k is not None for k in known):
            return torch.stack(known)  # type: ignore[arg-type]  # none is None here
        preprocess = self.loaded.preprocess
        first_stage = getattr(preprocess, "pixels", preprocess)
        batch = first_stage([self.samples[int(r)] for r in rows])
        if self._keep_inputs and isinstance(batch, torch.Tensor) and batch.ndim == 4:
            per_sample = batch[0].numel() * batch.element_size()
            if per_sample * len(self.samples) > _KEPT_INPUT_BYTES:
                self._keep_inputs = False
            else:
                self._input_bytes = per_sample
                self._inputs.update({int(r): t for r, t in zip(rows, batch, strict=True)})
        return batch

    def standardise(self, batch: Any) -> Any:
        """Apply the second stage of preprocessing to what `prepare` returned, where it is."""
        second_stage = getattr(self.loaded.preprocess, "standardise", None)
        return batch if second_stage is None else second_stage(batch)

    def ready(self, batch: Any) -> Any:
        """Move what `prepare` returned to the device and finish its preprocessing."""
        return self.standardise(to_device(batch, self.device))

    def decomposition(self, rows: np.ndarray) -> SpectralDecomposition:
        """Return the decomposition of these rows' embeddings, kept for the next trial."""
        key = rows.tobytes()
        if key not in self._decompositions:
            self._decompositions[key] = decompose(self.embed(rows))
        return self._decompositions[key]

    def layers_missing(self, rows: np.ndarray) -> int:
        """Count the rows whose pooled activations at all cuts are not known."""
        return self._layers.n_missing(rows)

    def layer_features(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return pooled activations at every cut, each of shape (len(rows), n_channels)."""
        return self._layers.of(rows)

    def inputs(self, rows: np.ndarray) -> SessionInputs:
        """Return the samples at `rows` as adaptation methods see them."""
        return SessionInputs(self, np.asarray(rows))


def _batch_size(spec: BackboneSpec) -> int:
    """Return samples a batch: fewer for larger images."""
    if spec.input_size is None or len(spec.input_size) < 2:
        return _MOST_BATCH // 2
    height, width = spec.input_size[-2:]
    return max(_LEAST_BATCH, min(_MOST_BATCH, _BATCH_PIXELS // (height * width)))
