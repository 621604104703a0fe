"""Example plugin: the mean response of each colour channel to 16 cosine filters."""

from collections.abc import Iterator

import autotl


def load_tiny(device: str) -> autotl.LoadedBackbone:
    """Build the filters, which are computed rather than learnt."""
    from torch import arange, kron, nn, pi

    waves = (arange(4)[:, None] * (arange(4) + 0.5) * pi / 4).cos() / 2
    convolution = nn.Conv2d(3, 48, 4, stride=2, groups=3, bias=False)
    convolution.weight.data = kron(waves, waves).view(16, 1, 4, 4).repeat(3, 1, 1, 1)
    module = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocess = autotl.image_preprocess((3, 32, 32), mean=(0, 0, 0), std=(1, 1, 1))
    return autotl.LoadedBackbone(module=module.to(device), preprocess=preprocess)


@autotl.hookimpl
def autotl_backbones() -> Iterator[autotl.BackboneSpec]:
    """Describe the backbone without building it."""
    yield autotl.BackboneSpec(
        name="example/tiny",
        modality="image",
        embed_dim=48,
        load=load_tiny,
        license="Apache-2.0",
        permissive=True,
    )
