"""Which curves are measured: balanced, seeded parts of a grid, most of them cheap tails."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotl.features import freeze_depth
from autotl.specs import AdaptationSpec

ROUNDS = ("probe", "short", "coarse", "refined")
TUNED = ("lp_ft", "fine_tune")
GRID = {
    "adaptation": TUNED,
    "lr": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    "epochs": (5, 15),
}
AUGMENT = (0.0, 0.3)  # of images; texts have no augmentation
INNER = (1e-4, 3e-4, 1e-3)  # rates at which a costly curve is worth most
# Freeze fractions; rates of the coarse round; and how many curves of them the coarse round has,
# and the refined one of small and of other backbones.
STRATA = {
    "tail": ((0.9, 0.75), GRID["lr"], (6, 8, 5)),
    "middle": ((0.5,), INNER, (3, 2, 1)),
    "trunk": ((0.25, 0.0), INNER, (2, 2, 0)),
}
# Those that take less than about 10 ms of CPU a sample for an epoch over all layers.
SMALL = frozenset({
    "local/resnet8_cifar10", "local/resnet20_cifar10", "local/doodlenet_quickdraw28",
    "local/mobilenetv1_025_vww96", "local/mobilenetv1_025_imagenet128",
    "local/mobilenetv1_050_imagenet160",
    "embedded/natural-small", "embedded/glyphs", "embedded/shapes",
    "text/word2vec-googlenews-top1000", "text/chars2vec-eng50-static20k",
    "embedded/cooccurrence", "embedded/words", "embedded/sentences", "text/minilm-1",
})  # fmt: skip
_COMMON, _OWN = 0, 1  # first word of the seeds

Config = dict[str, Any]  # adaptation, freeze_fraction, lr, epochs, augment


def balanced(
    factors: Mapping[str, Sequence[Any]], n: int, seed: Sequence[int], taken: Sequence[Config] = ()
) -> list[Config]:
    """Return `n` points of a full grid, or all that are left, with levels and pairs used alike.

    Greedy: the next point is the one whose levels, and pairs of levels, were used least, those of
    `taken` included; equals in seeded order. Every beginning of the list is balanced too.
    """
    grid = np.array(list(np.ndindex(*map(len, factors.values()))))  # levels of (points, factors)
    grid = grid[np.random.default_rng(list(seed)).permutation(len(grid))]
    points = [
        {name: levels[i] for (name, levels), i in zip(factors.items(), row, strict=True)}
        for row in grid
    ]
    singles = [(i,) for i in range(len(factors))]
    # For two points, how much they share: each level and pair of levels counts with the number
    # that there are, so that levels of a factor with few of them are not thought rare.
    shared = np.zeros((len(grid), len(grid)))
    for columns in (*singles, *itertools.combinations(range(len(factors)), 2)):
        same = (grid[:, None, columns] == grid[None, :, columns]).all(axis=2)
        shared += same / same.mean()
    used = np.zeros(len(points))
    for i, point in enumerate(points):
        if point in taken:
            used += shared[i]
            used[i] = np.inf
    chosen: list[Config] = []
    while len(chosen) < n and np.isfinite(used).any():
        i = int(np.argmin(used))
        chosen.append(points[i])
        used += shared[i]
        used[i] = np.inf
    return chosen


@functools.cache
def tuned_configs(
    round_: str, backbone: str, n_groups: int, *, images: bool, seed: tuple[int, ...]
) -> list[Config]:
    """Return the tuned curves of one round for one backbone on one set, each depth once.

    The coarse round is the same everywhere, so that configurations can be ranked over sets and
    backbones; the short one is its part with few epochs, a quarter of its time; the refined one
    fills the gaps of each pair by itself.

    Args:
        round_: "short", "coarse" or "refined".
        backbone: Short name; only small ones are tuned from the beginning.
        n_groups: Layer groups of the backbone.
        images: Whether samples can be augmented.
        seed: Of the pair; whole numbers.
    """
    small, grid = backbone in SMALL, {**GRID, "augment": AUGMENT if images else AUGMENT[:1]}
    strata = [i for i, name in enumerate(STRATA) if small or name != "trunk"]
    coarse: list[Config] = []
    for i in strata:
        fractions, rates, counts = list(STRATA.values())[i]
        factors = {"freeze_fraction": fractions, **grid, "lr": rates}
        merged = [_merged(c, n_groups) for c in balanced(factors, counts[0], (_COMMON, i))]
        coarse += [c for j, c in enumerate(merged) if c not in coarse and c not in merged[:j]]
    if round_ == "short":
        return [config for config in coarse if config["epochs"] == min(GRID["epochs"])]
    if round_ == "coarse":
        return coarse
    refined: list[Config] = []
    for i in strata:
        fractions, _, counts = list(STRATA.values())[i]
        depths = tuple(dict.fromkeys(_canonical(f, n_groups) for f in fractions))
        refined += balanced(
            {"freeze_fraction": depths, **grid}, counts[1 if small else 2], (_OWN, i, *seed),
            taken=[*coarse, *refined],
        )  # fmt: skip
    return refined


def _canonical(fraction: float, n_groups: int) -> float:
    """Return the smallest fraction of the grid that freezes the same groups."""
    depth = freeze_depth(fraction, n_groups)
    known = sorted(f for fractions, _, _ in STRATA.values() for f in fractions)
    return next(f for f in known if freeze_depth(f, n_groups) == depth)


def _merged(config: Config, n_groups: int) -> Config:
    return {**config, "freeze_fraction": _canonical(config["freeze_fraction"], n_groups)}


def full_params(spec: AdaptationSpec, config: Config) -> dict[str, Any]:
    """Return a method's parameters: those of the design, others at their defaults."""
    given = {name: value for name, value in config.items() if name != "adaptation"}
    return {**spec.defaults, **given}
