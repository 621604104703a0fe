"""RandAugment, as timm has it, of batches of images on any device.

References:
    Cubuk, Zoph, Shlens, Le: RandAugment: Practical Automated Data Augmentation with a Reduced
    Search Space. CVPR Workshops 2020.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["rand_augment"]

# Chance moves magnitudes; at 10, timm would ask for images of no bits, which Pillow refuses.
_POLICY = "rand-m{magnitude}-n2-mmax9-mstd0.5-inc1"
_GREATEST = 9  # magnitude at strength 1, of 10
_MODES = {1: "L", 3: "RGB"}
_SHIFT = 0.4  # of a side, in the ops that move the image


def rand_augment(images: "torch.Tensor", seed: int, strength: float) -> "torch.Tensor":
    """Change each image by two operations that chance picks.

    Args:
        images: Shape (n_samples, channels, height, width), of any range; each is taken to eight
            bits between its least and greatest value, and back. Images of neither one nor three
            channels come back as they are.
        seed: Of all chance; the same seed gives the same images.
        strength: From 0 to 1, as a share of magnitude 9.
    """
    import torch
    from PIL import Image
    from timm.data.auto_augment import rand_augment_transform

    mode = _MODES.get(images.shape[1])
    if mode is None:
        return images
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    span = (images.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
    eight_bit = ((images - low) / span * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    side, fill = min(images.shape[2:]), (128,) * images.shape[1]
    changed = []
    with _seeded(seed):
        change = rand_augment_transform(
            _POLICY.format(magnitude=max(1, round(_GREATEST * strength))),
            {"translate_const": int(_SHIFT * side), "img_mean": fill if len(fill) > 1 else 128},
        )
        for pixels in eight_bit:
            picture = Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode)
            changed.append(np.asarray(change(picture).convert(mode)))
    back = torch.from_numpy(np.stack(changed).reshape(eight_bit.shape)).to(images.device)
    return (back.permute(0, 3, 1, 2).float() / 255 * span + low).to(images.dtype)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let chance begin at a seed: timm draws from the generators that all share."""
    before: Any = (random.getstate(), np.random.get_state())  # noqa: NPY002  # what timm draws from
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # what timm draws from
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002  # what timm draws from
