"""The samples of one split, as adaptation methods and predictors see them."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.activations import PLAIN, Activations, View
from autotl.features.extraction import run_batches
from autotl.features.freezing import FreezePlan
from autotl.specs import LoadedBackbone, SpectralDecomposition

if TYPE_CHECKING:
    from autotl.features.session import BackboneSession


class SessionInputs:
    """`autotl.specs.Inputs` over some rows of a session.

    Args:
        session: The backbone and its samples.
        rows: Indices into the session's samples.
    """

    def __init__(self, session: "BackboneSession", rows: np.ndarray) -> None:
        self.session, self.rows = session, rows

    def __len__(self) -> int:
        return len(self.rows)

    def features(self) -> np.ndarray:
        """Return embeddings of shape (n_samples, embed_dim), float32."""
        return self.session.embed(self.rows)

    def decomposition(self) -> SpectralDecomposition:
        """Return the spectral decomposition of the features, computed once."""
        return self.session.decomposition(self.rows)

    def layer_features(self) -> list[np.ndarray]:
        """Return pooled activations at every cut, each of shape (n_samples, n_channels)."""
        return self.session.layer_features(self.rows)

    def load_backbone(self, freeze_depth: int = 0) -> LoadedBackbone:
        """Return a copy of the backbone from the deepest kept cut within `freeze_depth` on."""
        session, loaded = self.session, self.session.loaded
        start = session.start_for(freeze_depth)
        module = session.part(start, session.n_groups)
        # Groups by default are the children of the whole module, which a tail may not have.
        groups = loaded.layer_groups or tuple(map(tuple, FreezePlan(loaded).groups))
        return replace(loaded, module=copy.deepcopy(module), layer_groups=groups, start=start)

    def batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        augment: float = 0.0,
        start: int = 0,
        order: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (positions, batch on the device), by default once over all samples."""
        if order is None:
            order = np.arange(len(self.rows))
            if seed is not None:
                order = np.random.default_rng(seed).permutation(order)
        if start == 0:
            return self._input_batches(order, size, seed, augment)
        view = self._view(seed, augment)
        if start == self.session.n_groups:
            return self._embedding_batches(order, size, view)
        return self._activation_batches(order, size, start, view)

    def _view(self, seed: int | None, augment: float) -> View:
        """Return the view that an epoch looks at: they take turns."""
        activations = self.session.activations
        if seed is None or augment <= 0 or activations is None:
            return PLAIN
        if self.session.modality.augment is None or activations.caching.views < 1:
            return PLAIN
        return View(seed % activations.caching.views, augment)

    def _input_batches(
        self, order: np.ndarray, size: int, seed: int | None, augment: float
    ) -> Iterator[tuple[np.ndarray, Any]]:
        import torch

        session, generator = self.session, torch.Generator().manual_seed(seed or 0)
        change = session.modality.augment if augment > 0 else None
        batches = run_batches(
            order,
            lambda positions: session.prepare(self.rows[positions]),
            session.ready,
            batch_size=size,
            check=session.check,
            n_workers=0 if session.holds(self.rows) else None,
        )
        for chunk, batch in batches:
            yield chunk, batch if change is None else change(batch, generator, augment)

    def _embedding_batches(
        self, order: np.ndarray, size: int, view: View
    ) -> Iterator[tuple[np.ndarray, Any]]:
        import torch

        if view == PLAIN:
            features = torch.from_numpy(self.features()).to(self.session.device)
        else:  # all at once: embeddings are small, and reading them in pieces is not cheap
            features = self._kept(self.session.n_groups, view).batch(
                self.rows, self.session.n_groups, view
            )
        for at in range(0, len(order), size):
            self.session.check()
            chunk = order[at : at + size]
            yield chunk, features[torch.from_numpy(chunk)]

    def _activation_batches(
        self, order: np.ndarray, size: int, start: int, view: View
    ) -> Iterator[tuple[np.ndarray, Any]]:
        session, activations = self.session, self._kept(start, view)
        for at in range(0, len(order), size):
            session.check()
            chunk = order[at : at + size]
            yield chunk, activations.batch(self.rows[chunk], start, view)

    def _kept(self, start: int, view: View) -> Activations:
        """Return the activations after computing those of these rows that are missing."""
        session = self.session
        if session.activations is None:
            raise RuntimeError(f"Activations at depth {start} were asked for without a cache.")
        for _ in session.timed(session.activations.fill(self.rows, start, view), whole=False):
            pass
        return session.activations
