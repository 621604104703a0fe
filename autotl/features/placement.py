"""Which cuts to keep activations at: the most work saved for each byte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LEAST_GAIN = 0.02  # of all the work: a cut that saves less is not worth its files


@dataclass(frozen=True, kw_only=True)
class CutCost:
    """What lies before a cut, and what keeping it takes.

    Args:
        depth: Leading layer groups before the cut.
        work: Work of one forward pass up to the cut; any unit, deterministic.
        sample_bytes: Bytes of the activations of one sample, all its views included.
    """

    depth: int
    work: float
    sample_bytes: float


def choose_cuts(
    cuts: Sequence[CutCost], demand: Mapping[int, float], n_samples: int, limit_bytes: float
) -> tuple[int, ...]:
    """Choose the depths to keep, ascending.

    Greedy by saved work per byte, as in Nakandala and Kumar, Nautilus, SIGMOD 2022: a trial that
    freezes `k` groups skips the work before the deepest kept cut at or before `k`.

    Args:
        cuts: Those that exist.
        demand: Weight of each freeze depth that trials may ask for.
        n_samples: Samples to keep.
        limit_bytes: Bytes that all of them may take.
    """
    total = max((c.work for c in cuts), default=0.0) * sum(demand.values())
    kept: list[CutCost] = []
    left = limit_bytes
    while True:
        before = _saved(kept, demand)
        gains = [
            (gain / max(c.sample_bytes, 1.0), gain, c)
            for c in cuts
            if c not in kept
            and c.sample_bytes * n_samples <= left
            and (gain := _saved([*kept, c], demand) - before) > _LEAST_GAIN * total
        ]
        if not gains:
            return tuple(sorted(c.depth for c in kept))
        _, _, best = max(gains, key=lambda g: (g[0], g[1], g[2].depth))
        kept.append(best)
        left -= best.sample_bytes * n_samples


def _saved(kept: Sequence[CutCost], demand: Mapping[int, float]) -> float:
    """Return the work that trials skip in all, weighted by demand."""
    return sum(
        weight * max((c.work for c in kept if c.depth <= depth), default=0.0)
        for depth, weight in demand.items()
    )
