"""Augment batches of images on their device."""

from typing import TYPE_CHECKING, Any

from autotl_modalities.image_randaugment import rand_augment

if TYPE_CHECKING:
    import torch

__all__ = ["augment"]

# The greatest changes, at strength 1.
_ROTATION = 0.35  # radians, 20 degrees
_SHIFT = 0.25  # of half the image
_SCALE = 0.22  # in logarithms: 0.8 to 1.25 times
_BRIGHTNESS = 0.4  # standard deviations of the image
_CONTRAST = 0.4
_FLIP_ABOVE = 0.5
_RAND_AUGMENT_ABOVE = 0.9


def augment(batch: Any, generator: "torch.Generator", strength: float) -> Any:
    """Shift, scale, rotate and change the light of each image a little.

    Mirror images appear only above strength 0.5, since digits and signs do not survive them;
    above 0.9, RandAugment takes the place of all this.

    Args:
        batch: Images of shape (n_samples, channels, height, width), standardised or not; anything
            else comes back as it is.
        generator: Source of all chance.
        strength: From 0, nothing, to 1.
    """
    import torch

    if strength <= 0 or not isinstance(batch, torch.Tensor) or batch.dim() != 4 or not len(batch):
        return batch
    if strength > _RAND_AUGMENT_ABOVE:
        seed = int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
        return rand_augment(batch, seed, strength)
    n = len(batch)
    # Drawn where the generator lives, so that a device changes nothing.
    noise = torch.rand((n, 7), generator=generator, device=generator.device).to(batch.device)
    signed = (2 * noise - 1) * strength
    images = batch.float()
    grid = torch.nn.functional.affine_grid(
        _maps(signed, noise[:, 4] if strength > _FLIP_ABOVE else None),
        [n, *images.shape[1:]],
        align_corners=False,
    )
    moved = torch.nn.functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=False
    )
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    spread = moved.std(dim=(1, 2, 3), keepdim=True, correction=0)
    contrast = 1 + _CONTRAST * signed[:, 5].view(-1, 1, 1, 1)
    brightness = _BRIGHTNESS * signed[:, 6].view(-1, 1, 1, 1) * spread
    return (mean + (moved - mean) * contrast + brightness).to(batch.dtype)


def _maps(signed: "torch.Tensor", flip: "torch.Tensor | None") -> "torch.Tensor":
    """Return affine maps from output to input places, shape (n_samples, 2, 3)."""
    import torch

    angle, scale = signed[:, 0] * _ROTATION, torch.exp(signed[:, 1] * _SCALE)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    mirror = torch.ones_like(cos) if flip is None else torch.where(flip < 0.5, -1.0, 1.0)
    first = torch.stack([cos * mirror, -sin, signed[:, 2] * _SHIFT], dim=1)
    second = torch.stack([sin * mirror, cos, signed[:, 3] * _SHIFT], dim=1)
    return torch.stack([first, second], dim=1)
