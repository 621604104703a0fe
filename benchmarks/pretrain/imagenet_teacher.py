"""The ImageNet-trained MobileNet of the zoo, as a teacher of `embedded/natural-*`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import device
from torch import Tensor, nn
from torch.nn import functional

NAME = "mobilenetv1_075_imagenet192"
N_FEATURES = 768
# Images of 64 pixels hold no more than the network sees at 128; 192 would cost twice the time.
SIZE = 128


class Teacher:
    """A MobileNet whose embeddings of each view of each source image are computed once.

    Args:
        zoo: Holds the weights.
        work: Keeps the embeddings, one file for each view.
    """

    def __init__(self, zoo: Path, work: Path) -> None:
        from safetensors.torch import load_file
        from timm.models.efficientnet import _gen_mobilenet_v1

        path = zoo / "weights" / f"{NAME}.safetensors"
        net = _gen_mobilenet_v1(
            "mobilenetv1_100", channel_multiplier=0.75, num_classes=1000, pad_type="same"
        )
        net.load_state_dict(load_file(path))
        net = net.float().eval().to(device(), memory_format=torch.channels_last)
        self._net, self._work = net, work
        self.classifier: nn.Linear = net.classifier

    def view(
        self, number: int, pixels: Tensor, cut: Callable[[Tensor, slice, int], Tensor]
    ) -> np.ndarray:
        """Return embeddings of shape (n_samples, 768) of one view, read or computed.

        Args:
            number: Of the view; names the file.
            pixels: uint8 images of shape (n_samples, 3, 64, 64).
            cut: Maps images in [0, 1], their rows and a size to the view of them.
        """
        path = self._work / f"teacher-view{number}.npy"
        if not path.exists():
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.save(file, self._embed(number, pixels, cut))
            part.replace(path)
        features: np.ndarray = np.load(path)
        return features

    def _embed(
        self, number: int, pixels: Tensor, cut: Callable[[Tensor, slice, int], Tensor]
    ) -> np.ndarray:
        where = device()
        parts, start = [], time.monotonic()
        for at in range(0, len(pixels), 64):
            rows = slice(at, at + 64)
            x = cut(pixels[rows].float() / 255.0, rows, SIZE).to(where)
            x = ((x - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16):
                features = self._net.forward_head(self._net.forward_features(x), pre_logits=True)
            parts.append(features.half().cpu().numpy())
            if at % 6400 == 0:
                print(
                    f"teacher, view {number}: {at}/{len(pixels)} {time.monotonic() - start:.0f} s",
                    flush=True,
                )
        return np.concatenate(parts)

    def logits(self, features: Tensor) -> Tensor:
        """Return logits of shape (n_samples, 1000) from embeddings."""
        with torch.inference_mode(False), torch.no_grad():
            return functional.linear(features, self.classifier.weight, self.classifier.bias)
