"""Training on mixtures of two samples."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["Mixture"]

_ALPHA = {"mixup": 0.2, "cutmix": 1.0}  # of the Beta distribution, as in the papers


class Mixture:
    """How the samples of one batch are mixed: each with another one, by one share for all.

    Args:
        kind: "mixup", or "cutmix" for a rectangle of a picture; what is no picture is mixed whole.
        n_samples: In the batch.
        rng: Draws partners and share.

    References:
        Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018.
        Yun et al.: CutMix: Regularization Strategy to Train Strong Classifiers. ICCV 2019.
    """

    def __init__(self, kind: str, n_samples: int, rng: np.random.Generator) -> None:
        self.kind, self._rng = kind, rng
        self.partner = rng.permutation(n_samples)
        self.share = float(rng.beta(_ALPHA[kind], _ALPHA[kind]))

    def values(self, values: "torch.Tensor") -> "torch.Tensor":
        """Mix a batch of any shape whose first axis is the sample axis."""
        import torch

        other = values[torch.as_tensor(self.partner, device=values.device)]
        if self.kind == "cutmix" and values.ndim == 4:
            return self._cut(values, other)
        return self.share * values + (1 - self.share) * other

    def _cut(self, values: "torch.Tensor", other: "torch.Tensor") -> "torch.Tensor":
        """Put a rectangle of the partner in; the share becomes that of the pixels that stay."""
        height, width = values.shape[2:]
        side = np.sqrt(1 - self.share)
        centre = self._rng.integers(height), self._rng.integers(width)
        top, left = (
            max(0, int(c - s * side / 2)) for c, s in zip(centre, (height, width), strict=True)
        )
        bottom, right = (
            min(s, int(c + s * side / 2)) for c, s in zip(centre, (height, width), strict=True)
        )
        mixed = values.clone()
        mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        self.share = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed

    def targets(self, shares: "torch.Tensor") -> "torch.Tensor":
        """Mix targets of shape (n_samples, n_classes); after the values, whose cut counts."""
        import torch

        other = shares[torch.as_tensor(self.partner, device=shares.device)]
        return self.share * shares + (1 - self.share) * other

    @staticmethod
    def mixes(inputs: Any) -> bool:
        """Say whether a batch can be mixed as it is: numbers, but neither tokens nor masks."""
        return hasattr(inputs, "is_floating_point") and bool(inputs.is_floating_point())
