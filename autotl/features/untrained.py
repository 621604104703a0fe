"""The same network as if it had never been trained: what transfer has to beat at equal make."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.features.session import BackboneSession
from autotl.specs import BackboneSpec, LoadedBackbone, ModalitySpec, RawFeatureSpec, SavedState

if TYPE_CHECKING:
    import torch

__all__ = ["UNTRAINED", "UntrainedFeatures", "reinitialise", "untrained"]

UNTRAINED = "untrained:"
_SPREAD = (
    0.02  # standard deviation of tokens and position embeddings, as vision transformers start
)
_SALT = 20_240
_ZEROS, _ONES = ("running_mean", "bias"), ("running_var", "weight")  # of norms that are frozen


def untrained(spec: BackboneSpec, seed: int) -> BackboneSpec:
    """Describe a backbone's network with weights as they are before any training.

    Args:
        spec: The pretrained backbone; its weights are still loaded, since only they tell the
            network's shape.
        seed: Of the weights.
    """

    def digest() -> str:
        return f"{UNTRAINED}{seed}:{spec.weights_digest() if spec.weights_digest else spec.name}"

    return replace(
        spec,
        name=UNTRAINED + spec.name,
        summary=f"{spec.name} without its pretraining.",
        aliases=(),
        load=partial(_load, spec, seed),
        weights_digest=digest,
        source_domain="",
        published_accuracy=None,
        has_source_probs=False,
        source_fingerprint=None,
    )


def _load(spec: BackboneSpec, seed: int, device: str) -> LoadedBackbone:
    # On the CPU first: the random numbers of other devices are not the same.
    loaded = spec.load("cpu")
    # A plugin may hand out one network again and again; the pretrained one must stay as it is.
    module = copy.deepcopy(loaded.module)
    reinitialise(module, seed)
    return replace(loaded, module=module.to(device).eval(), source_probs=None, source_head=None)


def reinitialise(module: "torch.nn.Module", seed: int) -> None:
    """Give every module the weights that it starts training with, in place.

    Modules reset themselves where they know how to. What is then left are the parameters of
    larger modules: vectors become ones, or zeros where they are biases, and tables such as tokens
    and position embeddings a truncated normal of spread 0.02.

    Args:
        module: On the CPU.
        seed: Of the weights.

    Raises:
        ValueError: A parameter holds no floating-point numbers, so that it cannot be drawn.
    """
    import torch

    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point():
            raise ValueError(
                f"Parameter {name!r} holds {parameter.dtype}, which cannot be drawn at random; "
                "expected floating-point numbers. This network has no untrained twin."
            )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        # Not the seed itself: a network that was built with it would be drawn once more.
        mixed = np.random.SeedSequence([seed, _SALT]).generate_state(2, np.uint32)
        torch.manual_seed(int(mixed[0]) << 31 | int(mixed[1]) >> 1)
        for parameter in module.parameters():
            parameter.fill_(torch.nan)  # shows below what no module has reset
        for part in module.modules():
            _reset(part)
        for name, parameter in module.named_parameters():
            if parameter.isnan().any():
                _draw(name, parameter)


def _reset(part: "torch.nn.Module") -> None:
    """Let one module reset itself; of one that cannot, reset the statistics it has frozen."""
    for method in ("reset_parameters", "_reset_parameters"):
        known: Callable[[], Any] | None = getattr(part, method, None)
        if callable(known):
            known()
            return
    if not hasattr(part, "running_var"):
        return
    for name, buffer in part.named_buffers(recurse=False):
        if name in _ZEROS + _ONES:
            buffer.fill_(float(name in _ONES))


def _draw(name: str, parameter: "torch.nn.Parameter") -> None:
    import torch

    if parameter.ndim < 2:
        parameter.fill_(float(not name.endswith("bias")))
    else:
        torch.nn.init.trunc_normal_(parameter, std=_SPREAD, a=-2 * _SPREAD, b=2 * _SPREAD)


class UntrainedFeatures:
    """The embeddings of an untrained network as a raw feature, standardised on training samples.

    Args:
        backbone: The pretrained backbone.
        modality: Kind of sample.
        device: Where to compute.
        seed: Of the weights.
        session: Over all samples of a task, so that each is embedded once; samples then say in
            `rows` which ones they are.

    References:
        Saxe et al.: On Random Weights and Unsupervised Feature Learning. ICML 2011.
    """

    def __init__(
        self,
        backbone: BackboneSpec,
        modality: ModalitySpec,
        *,
        device: str,
        seed: int,
        session: BackboneSession | None = None,
    ) -> None:
        self.backbone, self.modality = backbone, modality
        self.device, self.seed, self.session = device, seed, session
        self._kept: LoadedBackbone | None = None

    def spec(self) -> RawFeatureSpec:
        """Return it as the floor takes features."""
        return RawFeatureSpec(
            name=UNTRAINED + self.backbone.name, fit=self._fit, transform=self._transform
        )

    def _fit(self, samples: Sequence[Any]) -> SavedState:
        embedded = self._embed(samples)
        scale = embedded.std(axis=0)
        # A channel that is the same for all samples says nothing, whatever its rounding errors.
        scale[scale <= 1e-6 * max(float(scale.max()), 1e-30)] = np.inf
        return SavedState(
            tensors={"mean": embedded.mean(axis=0), "inverse_scale": 1.0 / scale},
            config={"backbone": self.backbone.name, "seed": self.seed},
        )

    def _transform(self, samples: Sequence[Any], state: SavedState) -> np.ndarray:
        mean, inverse = (np.asarray(state.tensors[k]) for k in ("mean", "inverse_scale"))
        standardised: np.ndarray = ((self._embed(samples) - mean) * inverse).astype(np.float32)
        return standardised

    def _embed(self, samples: Sequence[Any]) -> np.ndarray:
        rows: np.ndarray | None = getattr(samples, "rows", None)
        session = self.session
        if session is None or rows is None:
            spec = untrained(self.backbone, self.seed)
            session = BackboneSession(spec, samples, self.modality, device=self.device)
            session.loaded = self._kept = self._kept or session.loaded
            rows = np.arange(len(samples))
        embedded = session.embed(rows)
        if not np.isfinite(embedded).all():
            raise FloatingPointError(
                f"{self.backbone.name!r} without its pretraining gives NaN or infinity; its "
                "network cannot be used untrained."
            )
        return embedded
