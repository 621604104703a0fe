"""Evidence on one trial that grows with blocks of guard examples."""

from collections.abc import Hashable

import numpy as np

from autotl.errors import InvalidDataError
from autotl.guard.certificate import ALPHA, Certificate, certify, check_level
from autotl.guard.walk import Walk


class EProcess:
    """Evidence on one trial, block after block, for a chance of at most `alpha` of a false stop.

    Blocks that one checkpoint reads multiply into one e-value. With another checkpoint the
    evidence starts over: a product over checkpoints would say no more than that one of them was
    worse, and early ones are worse before they are better. The checkpoints share `alpha`.

    Args:
        alpha: Bound on the chance of a false finding over the whole trial, for either sign.
        margin: As for `certify`.
        n_checkpoints: How many checkpoints may be judged; each has alpha / n_checkpoints.

    Raises:
        InvalidDataError: `alpha`, `margin` or `n_checkpoints` is out of range.
    """

    def __init__(
        self, *, alpha: float = ALPHA, margin: float = 0.0, n_checkpoints: int = 1
    ) -> None:
        check_level(alpha, margin)
        if n_checkpoints < 1:
            raise InvalidDataError(f"n_checkpoints is {n_checkpoints!r}. Expected at least 1.")
        self.alpha, self.margin, self.n_checkpoints = alpha, margin, n_checkpoints
        self._seen: list[Hashable] = []
        self._blocks: list[Walk] = []
        self._right: list[tuple[np.ndarray, np.ndarray]] = []
        self._last_unit = -1

    def read(
        self,
        block: Walk,
        candidate: np.ndarray,
        floor: np.ndarray,
        *,
        checkpoint: Hashable = None,
    ) -> Certificate:
        """Add a fresh block and return what is known of this checkpoint.

        Args:
            block: The next of `Walk.blocks`.
            candidate: Whether the checkpoint is right, in walking order, shape (n_examples,).
            floor: The same of the floor.
            checkpoint: What tells this checkpoint from others, such as its step.

        Raises:
            InvalidDataError: The block was read before, or too many checkpoints were judged.
        """
        if len(block) != len(candidate):
            raise InvalidDataError(
                f"candidate has {len(candidate)} examples but the block has {len(block)}. Read "
                "whole blocks."
            )
        self._check(block, checkpoint)
        self._blocks.append(block)
        self._right.append((np.asarray(candidate), np.asarray(floor)))
        right, floor_right = (np.concatenate(column) for column in zip(*self._right, strict=True))
        alpha = self.alpha / self.n_checkpoints
        return certify(_join(self._blocks), right, floor_right, alpha=alpha, margin=self.margin)

    def _check(self, block: Walk, checkpoint: Hashable) -> None:
        """Refuse old blocks and too many checkpoints; start over with a new checkpoint."""
        if len(block) and block.units[0] <= self._last_unit:
            raise InvalidDataError(
                f"This block starts at unit {block.units[0]}, but units up to {self._last_unit} "
                "were read before: seen again they are no new evidence. Read the next block."
            )
        if not self._seen or checkpoint != self._seen[-1]:
            if len(self._seen) == self.n_checkpoints:
                raise InvalidDataError(
                    f"Checkpoint {checkpoint!r} is one more than the {self.n_checkpoints} that "
                    "share alpha. Set n_checkpoints to how many will be judged."
                )
            self._seen.append(checkpoint)
            self._blocks, self._right = [], []
        self._last_unit = int(block.units.max(initial=self._last_unit))


def _join(blocks: list[Walk]) -> Walk:
    return Walk(
        order=np.concatenate([b.order for b in blocks]),
        weights=np.concatenate([b.weights for b in blocks]),
        units=np.concatenate([b.units for b in blocks]),
        bound=blocks[0].bound,
    )
