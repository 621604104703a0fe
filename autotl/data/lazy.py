"""Samples that are read when they are asked for, so that no selection of them holds any."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autotl.errors import InvalidDataError

__all__ = ["Samples"]


class Samples(Sequence[Any]):
    """Samples of one or more sequences, each read from its sequence on access.

    Args:
        sources: What the samples are read from, one sequence after another.
        names: What each sample is called in messages, where all have been checked; without names
            one that cannot be read is an Exception in its place.
    """

    def __init__(
        self, sources: Sequence[Sequence[Any]], names: Sequence[str] | None = None
    ) -> None:
        self._sources = list(sources)
        self._names = None if names is None else list(names)
        lengths = [len(source) for source in self._sources]
        self._source = np.repeat(np.arange(len(lengths)), lengths)
        self._row = np.concatenate([np.arange(n) for n in lengths] or [np.arange(0)])

    @property
    def names(self) -> list[str] | None:
        """What each sample is called in messages; None where they have not been checked."""
        return self._names

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: Any) -> Any:
        """Read one sample, or select those of a slice.

        Raises:
            InvalidDataError: A checked sample cannot be read any more.
        """
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        i = operator.index(index)
        sample = self._sources[self._source[i]][int(self._row[i])]
        if self._names is not None and isinstance(sample, Exception):
            raise InvalidDataError(
                f"{self._names[i]} cannot be read any more, though it could be when the data were "
                f"checked: {str(sample).rstrip('.')}. Leave the files in place until the end."
            )
        return sample

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __add__(self, other: "Samples") -> "Samples":
        names = None
        if self._names is not None and other._names is not None:
            names = [*self._names, *other._names]
        joined = Samples([], names)
        joined._sources = [*self._sources, *other._sources]
        joined._source = np.concatenate([self._source, other._source + len(self._sources)])
        joined._row = np.concatenate([self._row, other._row])
        return joined

    def select(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> "Samples":
        """Return the samples at some positions, in their order, without reading them."""
        chosen = np.asarray(rows, dtype=np.int64)
        names = self._names
        picked = Samples([], None if names is None else [names[i] for i in chosen])
        picked._sources = self._sources
        picked._source, picked._row = self._source[chosen], self._row[chosen]
        return picked
