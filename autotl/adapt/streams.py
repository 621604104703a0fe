"""Batches of further samples beside those that an epoch goes through."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autotl.specs import Inputs

__all__ = ["Stream"]

_ROUND = 7919  # between the seeds of two rounds


class Stream:
    """Batches of samples without end, in an order that a seed decides.

    Args:
        inputs: The samples, or several data sets of which each batch comes from one.
        size: Samples a batch; fewer where there are not so many.
        start: Depth of the cut whose activations the network reads.
        augment: Strength of the augmentation.
        weights: How often each data set is drawn from; None draws as often as it has samples.
    """

    def __init__(
        self,
        inputs: Sequence[Inputs],
        size: int,
        *,
        start: int,
        augment: float = 0.0,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._inputs, self._size = list(inputs), size
        self._start, self._augment = start, augment
        share = np.array([len(x) for x in self._inputs] if weights is None else weights, float)
        self._share = share / share.sum()
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Start over in the order of a seed."""
        self._seed, self._rng = seed, np.random.default_rng([seed, 2])
        self._rounds = [0] * len(self._inputs)
        self._running: list[Iterator[tuple[np.ndarray, Any]]] = [iter(()) for _ in self._inputs]

    def next(self) -> tuple[int, np.ndarray, Any]:
        """Return the data set's number, positions of its samples, and a batch of them."""
        which = int(self._rng.choice(len(self._inputs), p=self._share))
        least = min(self._size, len(self._inputs[which]))
        while True:
            for rows, batch in self._running[which]:
                if len(rows) >= least:  # what is left over at the end would weigh too much
                    return which, rows, batch
            self._running[which] = self._round(which)

    def _round(self, which: int) -> Iterator[tuple[np.ndarray, Any]]:
        self._rounds[which] += 1
        return self._inputs[which].batches(
            self._size,
            seed=self._seed + _ROUND * self._rounds[which],
            augment=self._augment,
            start=self._start,
        )
