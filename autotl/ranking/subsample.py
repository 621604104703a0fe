"""Which samples are looked at first."""

import numpy as np

from autotl.data import Task

__all__ = ["FIRST_OF_CLASS", "nested_order"]

FIRST_OF_CLASS = 3  # samples of each class before any class has more


def nested_order(task: Task, seed: int) -> np.ndarray:
    """Order rows that choices may look at so that every leading part is about stratified.

    Every class has its first three samples before any has more, as leaving one out needs two. Of
    each group there is one sample only: its near copies would tell what is left out.
    """
    rng = np.random.default_rng(seed)
    rows: np.ndarray = rng.permutation(task.split.selection)
    rows = np.sort(rows[np.unique(task.groups[rows], return_index=True)[1]])
    place = np.zeros(len(rows))
    for code in np.unique(task.y[rows]):
        own = np.flatnonzero(task.y[rows] == code)
        spread = (np.arange(len(own)) + rng.uniform()) / len(own)
        spread[:FIRST_OF_CLASS] -= 1.0
        place[rng.permutation(own)] = spread
    ordered: np.ndarray = rows[np.argsort(place, kind="stable")]
    return ordered
