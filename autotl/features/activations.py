"""What the frozen layers of one backbone make of the samples, computed once and kept on disk."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.arrays import rounded, to_arrays, to_batch, to_device
from autotl.features.decomposition import decompose
from autotl.features.identity import identity
from autotl.features.store import ActivationStore, MissingActivations, StoredActivations

if TYPE_CHECKING:
    from autotl.features.session import BackboneSession

_SHARD_BYTES = 64 * 2**20
_FORMAT = 2  # of the key, and of how activations are computed
_CHECKED_ROWS = 256
_LENGTH_WINDOW = 1024  # texts sorted by length at a time, so that batches hold little padding
_PROBE_STRENGTH = 1e-2  # relative to the mean eigenvalue
OnShard = Callable[[np.ndarray, Mapping[str, np.ndarray]], None]
_Computed = tuple[np.ndarray, dict[str, np.ndarray]]  # rows, and activations by name


@dataclass(frozen=True, kw_only=True)
class Caching:
    """How a search keeps activations.

    Args:
        store: Where they are kept.
        digests: Content digest of each sample.
        y: Class codes of the first samples, shape (n_labelled,), for the check that rounding
            changes no prediction.
        views: Augmented views of each sample.
        dtype: "float16" where predictions of a probe stay the same, or always "float32".
        seed: Of the views.
        demand: Freeze fractions that trials are likely to ask for; decides which cuts are kept.
    """

    store: ActivationStore
    digests: Sequence[str]
    y: np.ndarray
    views: int = 4
    dtype: str = "float16"
    seed: int = 0
    demand: Sequence[float] = (0.25, 0.5, 0.75, 0.9)

    @cached_property
    def content(self) -> list[str]:
        """The digests in the store's own form, whatever the caller's is."""
        return [hashlib.sha256(d.encode()).hexdigest() for d in self.digests]


@dataclass(frozen=True)
class View:
    """One augmented look at every sample; strength 0 is the sample itself."""

    index: int = 0
    strength: float = 0.0


PLAIN = View()


class Activations:
    """Activations of one backbone at its cuts, over the samples of one task.

    Args:
        session: The backbone and its samples.
        caching: Where and how they are kept.
    """

    def __init__(self, session: "BackboneSession", caching: Caching) -> None:
        self.session, self.caching = session, caching
        self._opened: set[tuple[int, View]] = set()
        self._entries: dict[tuple[int, View, str], StoredActivations] = {}
        self._dtypes: dict[int, str] = {}
        self._refused: set[int] = set()
        self._facts: dict[str, Any] | None = None

    def fill(
        self, rows: np.ndarray, depth: int, view: View, on_shard: OnShard | None = None
    ) -> Iterator[np.ndarray]:
        """Compute and keep what is missing; yields the rows of each batch that was computed.

        Args:
            rows: Samples.
            depth: Of the cut.
            view: Of the samples.
            on_shard: Called with rows and arrays of what was computed, whether or not there was
                room to keep it; without it, nothing is computed that cannot be kept.
        """
        todo = self._order(self.missing(rows, depth, view))
        if not len(todo) or (on_shard is None and depth in self._refused):
            return
        pending: list[_Computed] = []
        n_bytes = 0
        try:
            for chunk, batch in self._pass(todo, depth, view):
                arrays = to_arrays(batch)
                pending.append((chunk, arrays))
                n_bytes += sum(a.nbytes for a in arrays.values())
                yield chunk
                if n_bytes >= _SHARD_BYTES:
                    full, pending, n_bytes = pending, [], 0
                    self._keep(full, depth, view, on_shard)
        except BaseException:
            # Time is up, or an interrupt: what can be kept at once is not lost.
            if depth in self._dtypes or depth == self.session.n_groups:
                self._keep(pending, depth, view, on_shard)
            raise
        self._keep(pending, depth, view, on_shard)

    def read(self, rows: np.ndarray, depth: int, view: View) -> dict[str, np.ndarray]:
        """Return activations of the rows, in order, computing those that are not kept."""
        digests = self._digests(rows)
        try:
            return self._entry(depth, view, self._dtype(depth, view, digests)).read(digests)
        except MissingActivations:
            return self._compute(rows, depth, view)

    def n_missing(self, rows: np.ndarray, depth: int, strength: float) -> int:
        """Count what a trial has yet to compute: the samples, and views of them if it augments."""
        views = [PLAIN] + [View(i, strength) for i in range(self.caching.views) if strength > 0]
        return sum(len(self.missing(rows, depth, view)) for view in views)

    def release(self) -> None:
        """Forget what is known of the store's content; it is read again when it is needed."""
        self._entries.clear()

    def batch(self, rows: np.ndarray, depth: int, view: View) -> Any:
        """Return what the layers after a cut read, on the session's device."""
        return to_batch(self.read(rows, depth, view), self.session.device)

    def _compute(self, rows: np.ndarray, depth: int, view: View) -> dict[str, np.ndarray]:
        """Compute without keeping: the limit is reached, or another process has made room."""
        done = [
            self._rounded(to_arrays(b), depth, self._dtypes.get(depth, "float32"))
            for _, b in self._pass(rows, depth, view)
        ]
        return {name: _stack([arrays[name] for arrays in done]) for name in done[0]}

    def _pass(self, rows: np.ndarray, depth: int, view: View) -> Iterator[tuple[np.ndarray, Any]]:
        """Run the frozen layers from the deepest kept cut on, or from the samples."""
        session = self.session
        source = self._source(rows, depth, view)
        whole = source == 0 and depth == session.n_groups
        part = session.embedder(len(rows)) if whole else session.part(source, depth)

        def prepare(chunk: np.ndarray) -> Any:
            if source:
                return self.read(chunk, source, view)
            batch = session.prepare(chunk)
            return batch if view == PLAIN else self._augmented(chunk, batch, view)

        def compute(batch: Any) -> Any:
            if source:
                ready = to_batch(batch, session.device)
            elif view == PLAIN:
                ready = session.ready(batch)
            else:  # augmentation is what comes after standardising
                ready = to_device(batch, session.device)
            return session.infer(part, ready)

        yield from session.passes(rows, prepare, compute)

    def _source(self, rows: np.ndarray, depth: int, view: View) -> int:
        """Return the deepest cut before `depth` where this view of all rows is kept."""
        opened = {d for d, seen in self._opened if d < depth and seen == view}
        for earlier in sorted(opened, reverse=True):
            if not len(self.missing(rows, earlier, view)):
                return earlier
        return 0

    def _augmented(self, rows: np.ndarray, batch: Any, view: View) -> Any:
        """Return a view of a batch; a sample's view depends on nothing but that sample."""
        import torch

        augment, ready = self.session.modality.augment, self.session.standardise(batch)
        if augment is None:
            return ready
        looks = []
        for i, row in enumerate(rows):
            facts = f"{self.caching.digests[row]} {self.caching.seed} {view.index}"
            seed = int.from_bytes(hashlib.sha256(facts.encode()).digest()[:7], "big")
            generator = torch.Generator().manual_seed(seed)
            looks.append(augment(ready[i : i + 1], generator, view.strength))
        return torch.cat(looks)

    def _keep(
        self, pending: list[_Computed], depth: int, view: View, on_shard: OnShard | None
    ) -> None:
        """Write one shard."""
        if not pending:
            return
        if depth not in self._dtypes:
            self._dtypes[depth] = self._safe_dtype(pending, depth)
        rows = np.concatenate([r for r, _ in pending])
        names = pending[0][1]
        tensors = {n: _stack([a[n] for _, a in pending]) for n in names}
        arrays = self._rounded(tensors, depth, self._dtypes[depth])
        if not self._entry(depth, view, self._dtypes[depth]).add(self._digests(rows), arrays):
            self._refused.add(depth)
        if on_shard is not None:
            on_shard(rows, arrays)

    def _rounded(
        self, tensors: dict[str, np.ndarray], depth: int, dtype: str
    ) -> dict[str, np.ndarray]:
        """Return what is kept of activations; what half precision cannot hold stays as it is."""
        arrays = rounded(tensors, dtype)
        if all(np.isfinite(a).all() for a in arrays.values() if a.dtype == np.float16):
            return arrays
        self._dtypes[depth] = "float32"
        return tensors

    def _safe_dtype(self, pending: list[_Computed], depth: int) -> str:
        """Return float16 when a probe on what follows predicts the same with rounded values."""
        if self.caching.dtype == "float32":
            return "float32"
        suffix = self.session.part(depth, self.session.n_groups)
        exact: list[np.ndarray] = []
        coarse: list[np.ndarray] = []
        rows, n_rows = [], 0
        for chunk, arrays in pending:
            for found, values in ((exact, arrays), (coarse, rounded(arrays, "float16"))):
                batch = to_batch(values, self.session.device)
                found.append(self.session.infer(suffix, batch).float().cpu().numpy())
            rows.append(chunk)
            n_rows += len(chunk)
            if n_rows >= _CHECKED_ROWS:
                break
        checked = np.concatenate(rows)
        known = checked < len(self.caching.y)  # samples without labels come last
        y = self.caching.y[checked[known]]
        same = same_predictions(np.concatenate(exact)[known], np.concatenate(coarse)[known], y)
        return "float16" if same else "float32"

    def missing(self, rows: np.ndarray, depth: int, view: View) -> np.ndarray:
        """Return the rows, each once, whose activations are not kept."""
        unique = np.unique(rows)
        digests = self._digests(unique)
        entry = self._entry(depth, view, self._dtype(depth, view, digests))
        missing: np.ndarray = unique[~entry.known(digests)]
        return missing

    def _dtype(self, depth: int, view: View, digests: Sequence[str]) -> str:
        """Return the type that was decided on, in this process or by an earlier run."""
        if depth in self._dtypes:
            return self._dtypes[depth]
        for dtype in ("float16", "float32")[self.caching.dtype == "float32" :]:
            if len(digests) and self._entry(depth, view, dtype).known(digests).all():
                self._dtypes[depth] = dtype
                return dtype
        return self.caching.dtype

    def _entry(self, depth: int, view: View, dtype: str) -> StoredActivations:
        self._opened.add((depth, view))
        key = (depth, view, dtype)
        if key not in self._entries:
            self._entries[key] = self.caching.store.entry(self._key(depth, view, dtype))
        return self._entries[key]

    def _key(self, depth: int, view: View, dtype: str) -> Mapping[str, Any]:
        if self._facts is None:
            self._facts = identity(self.session)
        seen = f"{view.index} at {view.strength:g}, seed {self.caching.seed}"
        return {
            **self._facts,
            "format": _FORMAT,
            "autotl": version("autotl"),
            "cut": f"{depth}/{self.session.n_groups}",
            "view": "plain" if view == PLAIN else seen,
            "dtype": dtype,
        }

    def _digests(self, rows: np.ndarray) -> list[str]:
        return [self.caching.content[r] for r in rows]

    def _order(self, rows: np.ndarray) -> np.ndarray:
        """Mix the rows, so that the first shard is a fair sample; texts of a length together."""
        mixed = np.random.default_rng(0).permutation(rows)
        if not len(rows) or not isinstance(self.session.samples[int(rows[0])], str):
            return mixed
        windows = np.split(mixed, range(_LENGTH_WINDOW, len(mixed), _LENGTH_WINDOW))
        lengths = [[len(self.session.samples[int(r)]) for r in w] for w in windows]
        sorted_windows = [
            w[np.argsort(n, kind="stable")] for w, n in zip(windows, lengths, strict=True)
        ]
        return np.concatenate(sorted_windows)


def same_predictions(exact: np.ndarray, coarse: np.ndarray, y: np.ndarray) -> bool:
    """Say whether a ridge probe fitted on exact embeddings predicts the same on coarse ones.

    Args:
        exact: Shape (n_samples, embed_dim).
        coarse: The same samples' embeddings after rounding, same shape.
        y: Class codes of shape (n_samples,); with one class there is nothing to check by.
    """
    if len(np.unique(y)) < 2 or not np.isfinite(coarse).all():
        return False
    parts = decompose(exact)
    if not len(parts.singular):
        return False
    Y = np.eye(int(y.max()) + 1)[y]
    strength = _PROBE_STRENGTH * float(np.mean(parts.singular**2))
    weights = parts.ridge_weights(Y - Y.mean(axis=0), strength)
    scores = [(e - parts.mean) @ weights + Y.mean(axis=0) for e in (exact, coarse)]
    return bool((scores[0].argmax(axis=1) == scores[1].argmax(axis=1)).all())


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate; a token axis is padded with zeros to the longest."""
    longest = max((a.shape[1] for a in arrays if a.ndim > 1), default=0)
    padded = [
        np.pad(a, [(0, 0), (0, longest - a.shape[1])] + [(0, 0)] * (a.ndim - 2))
        if a.ndim > 1 and a.shape[1] < longest
        else a
        for a in arrays
    ]
    return np.concatenate(padded)
