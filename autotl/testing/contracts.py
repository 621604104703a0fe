"""Contract suites: plugin authors run them on their own specs, autotl on everything registered.

Each raises AssertionError with a message that says what was expected.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from autotl.features import FreezePlan, decompose
from autotl.features.cuts import find_cuts
from autotl.specs import (
    BackboneSpec,
    DomainSample,
    LayerStatistics,
    LoadedBackbone,
    ScoreInput,
    ScoreSpec,
    SimilaritySpec,
)
from autotl.testing.adaptation import check_adaptation, one_thread
from autotl.testing.modality import check_modality

__all__ = [
    "check_adaptation",
    "check_backbone",
    "check_modality",
    "check_score",
    "check_similarity",
]

_TEXTS = (
    "The train to the coast leaves at seven in the morning.",
    "How do I reset the password of my account?",
    "A dull, overlong film with two good performances.",
    "Flour, butter and sugar are mixed before the eggs go in.",
    "Shares fell sharply after the central bank raised its rate.",
)
_ODD_TEXTS = ("a", "?!", "naïve 東京 🙂", "word " * 4000)


@one_thread()
def check_backbone(spec: BackboneSpec, samples: Sequence[Any] | None = None) -> None:
    """Check that a backbone loads, embeds the same way every time and freezes group by group.

    Args:
        spec: A backbone that is usable now.
        samples: Five different samples; needed for modalities other than "image" and "text".
    """
    assert spec.license, f"{spec.name}: expected an SPDX identifier in license, got ''."
    reason = spec.unavailable()
    assert reason is None, f"{spec.name}: expected unavailable() to be None, got {reason!r}."
    plain, odd = _samples(spec, samples)
    loaded = spec.load("cpu")
    loaded.module.eval()
    embeddings = _embed(spec, loaded, plain)
    _check_repeatable(spec, loaded, plain, embeddings)
    for sample in odd:
        _embed(spec, loaded, [sample])
    _embed(spec, loaded, [*plain, *odd])
    _check_source_probs(spec, loaded, plain)
    _check_layer_groups(spec, loaded)
    _check_cuts(spec, loaded, plain)
    _check_freezing(spec, loaded, plain[:2])
    _check_fingerprint(spec, embeddings.shape[1])


def _samples(
    spec: BackboneSpec, samples: Sequence[Any] | None
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return five plain samples and some odd ones."""
    if samples is not None:
        assert len(samples) >= 5, f"{spec.name}: expected five samples, got {len(samples)}."
        return samples[:5], ()
    if spec.modality == "text":
        return _TEXTS, _ODD_TEXTS
    assert spec.modality == "image", (
        f"{spec.name}: no built-in samples of modality {spec.modality!r}; pass five as samples."
    )
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (48, 48), (96, 64), (33, 47), (28, 28)]
    plain = [_picture(rng, size, "L" if i % 2 else "RGB") for i, size in enumerate(sizes)]
    odd = [_picture(rng, size, mode) for size in ((1, 1), (7, 131)) for mode in ("L", "RGB")]
    return plain, odd


def _picture(rng: np.random.Generator, size: tuple[int, int], mode: str) -> Image.Image:
    """Draw coarse random patches, so that shrinking does not average the content away."""
    patches = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(patches, "RGB").resize(size).convert(mode)


def _embed(spec: BackboneSpec, loaded: LoadedBackbone, samples: Sequence[Any]) -> np.ndarray:
    """Embed samples in one batch and check type, shape and values."""
    import torch

    with torch.inference_mode():
        output = loaded.module(loaded.preprocess(samples))
    assert isinstance(output, torch.Tensor), (
        f"{spec.name}: expected the module to return a tensor, got {type(output).__name__}."
    )
    assert output.dtype == torch.float32, f"{spec.name}: expected float32, got {output.dtype}."
    expected = (len(samples), spec.embed_dim or output.shape[-1])
    assert tuple(output.shape) == expected, (
        f"{spec.name}: expected embeddings of shape {expected}, got {tuple(output.shape)}."
    )
    embeddings: np.ndarray = output.numpy()
    assert np.isfinite(embeddings).all(), f"{spec.name}: expected finite embeddings."
    return embeddings


def _check_repeatable(
    spec: BackboneSpec, loaded: LoadedBackbone, samples: Sequence[Any], embeddings: np.ndarray
) -> None:
    scale = float(np.abs(embeddings).max())

    def same(other: np.ndarray, reference: np.ndarray, tolerance: float = 1e-5) -> bool:
        return np.allclose(other, reference, rtol=tolerance, atol=tolerance * scale)

    assert same(_embed(spec, loaded, samples), embeddings), (
        f"{spec.name}: expected the same embeddings twice in eval mode."
    )
    assert same(_embed(spec, loaded, samples[:1]), embeddings[:1], 1e-3), (
        f"{spec.name}: expected a sample's embedding not to depend on the rest of its batch."
    )
    again = spec.load("cpu")
    again.module.eval()
    assert same(_embed(spec, again, samples), embeddings), (
        f"{spec.name}: expected the same embeddings after loading twice; are weights random?"
    )
    for i in range(len(samples)):
        for j in range(i):
            assert not same(embeddings[i], embeddings[j]), (
                f"{spec.name}: expected different embeddings of different samples {j} and {i}."
            )


def _check_source_probs(
    spec: BackboneSpec, loaded: LoadedBackbone, samples: Sequence[Any]
) -> None:
    import torch

    assert (loaded.source_probs is not None) == spec.has_source_probs, (
        f"{spec.name}: has_source_probs is {spec.has_source_probs}, but loading gave "
        f"source_probs {loaded.source_probs!r}."
    )
    if loaded.source_probs is None:
        assert loaded.source_head is None, f"{spec.name}: expected no source_head without probs."
        return
    with torch.inference_mode():
        batch = loaded.preprocess(samples)
        probs = loaded.source_probs(batch)
        if loaded.source_head is not None:
            by_head = loaded.source_head(loaded.module(batch)).softmax(dim=1)
            assert torch.allclose(by_head, probs, atol=1e-4), (
                f"{spec.name}: expected source_head(module(batch)) to give source_probs; they "
                f"differ by up to {float((by_head - probs).abs().max()):.3g}."
            )
    sums = probs.sum(dim=1)
    assert len(probs) == len(samples), (
        f"{spec.name}: expected {len(samples)} rows of source_probs, got {len(probs)}."
    )
    proper = bool((probs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    assert proper, f"{spec.name}: expected probabilities from source_probs, row sums are {sums}."


def _check_layer_groups(spec: BackboneSpec, loaded: LoadedBackbone) -> None:
    groups = loaded.layer_groups
    if groups is None:
        groups = tuple((name,) for name, _ in loaded.module.named_children())
    for name, _ in loaded.module.named_parameters():
        hits = [
            i for i, g in enumerate(groups) for p in g if name == p or name.startswith(p + ".")
        ]
        assert len(hits) == 1, (
            f"{spec.name}: expected parameter {name!r} in exactly one of the layer groups, "
            f"found it in groups {hits} of {groups}."
        )


def _check_cuts(spec: BackboneSpec, loaded: LoadedBackbone, samples: Sequence[Any]) -> None:
    """Check that the layers before and after each cut make the whole, on the same parameters."""
    import torch

    batch = loaded.preprocess(samples)
    cuts = find_cuts(loaded, batch)
    ends = 0, FreezePlan(loaded).n_groups
    assert cuts.depths == tuple(sorted({*ends, *cuts.depths})), (
        f"{spec.name}: expected ascending depths of cuts with {ends}, got {cuts.depths}."
    )
    with torch.inference_mode():
        expected = loaded.module(batch)
    scale = float(expected.abs().max())
    for depth in cuts.depths[1:-1]:
        parts = [cuts.part(loaded.module, *pair) for pair in ((0, depth), (depth, ends[1]))]
        _check_shared(spec, loaded, parts, depth)
        with torch.inference_mode():
            output = parts[1](parts[0](batch))
        assert torch.allclose(output, expected, rtol=1e-5, atol=1e-5 * scale), (
            f"{spec.name}: expected the layers before and after the cut at depth {depth} to "
            "return the embeddings of the whole."
        )
        _check_prefix(spec, loaded, parts[0](batch), depth)


def _check_shared(
    spec: BackboneSpec, loaded: LoadedBackbone, parts: Sequence[Any], depth: int
) -> None:
    """Check that parts have parameters and buffers of the module, under the same names."""
    names = set(loaded.module.state_dict())
    unknown = sorted({name for part in parts for name in part.state_dict()} - names)
    assert not unknown, (
        f"{spec.name}: expected parts at depth {depth} to keep the names of parameters "
        f"and buffers, got {unknown[:3]} which the module does not have."
    )
    own = dict(loaded.module.named_parameters(remove_duplicate=False))
    copied = sorted(n for part in parts for n, p in part.named_parameters() if p is not own[n])
    assert not copied, (
        f"{spec.name}: expected parts at depth {depth} to use the parameters of the module "
        f"itself, got others as {copied[:3]}."
    )


def _check_prefix(spec: BackboneSpec, loaded: LoadedBackbone, crossing: Any, depth: int) -> None:
    """Check that what crosses a cut was not computed from parameters that train after it."""
    import torch

    own = dict(loaded.module.named_parameters())
    later = [name for group in FreezePlan(loaded).groups[depth:] for name in group]
    later = [name for name in later if own[name].requires_grad]
    tensors = crossing.values() if isinstance(crossing, dict) else (crossing,)
    total = sum(tensor.sum() for tensor in tensors if tensor.requires_grad)
    if not later or not isinstance(total, torch.Tensor):
        return
    grads: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
        total, [own[name] for name in later], allow_unused=True
    )
    read = [name for name, grad in zip(later, grads, strict=True) if grad is not None]
    assert not read, (
        f"{spec.name}: expected the layers before the cut at depth {depth} to read no parameters "
        f"of the layer groups after it, got {read[:3]}. Put those into an earlier group."
    )


def _check_fingerprint(spec: BackboneSpec, embed_dim: int) -> None:
    if spec.source_fingerprint is None:
        return
    found = spec.source_fingerprint()
    shapes = {
        "mean": (found.mean.shape, (embed_dim,)),
        "factor": (found.factor.shape[:1], (embed_dim,)),
        "residual": (found.residual.shape, (embed_dim,)),
        "class_means": (found.class_means.shape, (len(found.class_counts), embed_dim)),
    }
    for name, (shape, expected) in shapes.items():
        assert shape == expected, (
            f"{spec.name}: expected {name} of shape {expected} in its fingerprint, got {shape}."
        )
    least = float(np.linalg.eigvalsh(found.covariance())[0])
    assert least > -1e-4, f"{spec.name}: expected a covariance, its least eigenvalue is {least}."
    assert found.class_counts.sum() <= found.n, (
        f"{spec.name}: expected at most {found.n} samples in classes, got {found.class_counts}."
    )
    for name, layer in found.layers.items():
        assert layer.mean.shape == layer.variance.shape, (
            f"{spec.name}: expected as many means as variances of layer {name!r}."
        )
        assert (layer.variance >= 0).all(), f"{spec.name}: layer {name!r} has negative variances."


def _check_freezing(spec: BackboneSpec, loaded: LoadedBackbone, samples: Sequence[Any]) -> None:
    import torch

    plan = FreezePlan(loaded)
    if not any(plan.groups):
        return
    counts = [sum(p.numel() for p in plan.apply(d)) for d in range(plan.n_groups + 1)]
    assert counts == sorted(counts, reverse=True), (
        f"{spec.name}: expected fewer trainable parameters as freeze depth rises, got {counts}."
    )
    assert counts[0] > counts[-1] == 0, (
        f"{spec.name}: expected all parameters at depth 0 and none at full depth, got {counts}."
    )
    trained = plan.apply(0)
    output = loaded.module(loaded.preprocess(samples))
    assert output.requires_grad, (
        f"{spec.name}: expected gradients to reach the module; does its forward disable them?"
    )
    (output**2).sum().backward()
    assert any(p.grad is not None and bool(torch.any(p.grad != 0)) for p in trained), (
        f"{spec.name}: expected a gradient in at least one parameter."
    )


def _score_input() -> ScoreInput:
    """Make three separated classes in 16 dimensions with probabilities over five source ones."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 40)
    centres = rng.normal(0, 2, (3, 16))
    features = (centres[y] + rng.normal(0, 1, (120, 16))).astype(np.float32)
    logits = 3 * np.eye(5)[y] + rng.normal(0, 0.3, (120, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return _score_of(features, y, probs)


def _score_of(features: np.ndarray, y: np.ndarray, probs: np.ndarray) -> ScoreInput:
    return ScoreInput(
        features=features, y=y, source_probs=probs, decomposition=lambda: decompose(features)
    )


def check_score(spec: ScoreSpec) -> None:
    """Check that a score is finite, invariant, repeatable and rises with separability."""
    known = {"features", "source_probs"}
    assert spec.needs <= known, f"{spec.name}: expected needs within {known}, got {spec.needs}."
    given = _score_input()
    assert given.source_probs is not None
    value = spec.compute(given)
    assert np.isfinite(value), f"{spec.name}: expected a finite score, got {value!r}."
    again = spec.compute(given)
    assert again == value, f"{spec.name}: expected {value!r} for the same seed, got {again!r}."

    order = np.random.default_rng(1).permutation(len(given.y))
    moved = spec.compute(
        _score_of(given.features[order], given.y[order], given.source_probs[order])
    )
    assert np.isclose(moved, value, rtol=1e-3), (
        f"{spec.name}: expected {value!r} in any sample order, got {moved!r}."
    )
    renamed = spec.compute(dataclasses.replace(given, y=np.array([2, 0, 1])[given.y]))
    assert np.isclose(renamed, value, rtol=1e-3), (
        f"{spec.name}: expected {value!r} after renaming the classes, got {renamed!r}."
    )
    shuffled = spec.compute(dataclasses.replace(given, y=given.y[order]))
    assert value > shuffled, (
        f"{spec.name}: expected separable classes ({value!r}) above shuffled labels "
        f"({shuffled!r}); greater is better."
    )


def _domain(shift: float, scale: float, *, moments_only: bool) -> DomainSample:
    """Make a domain: three classes in eight dimensions, and texts whose words move with it."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    features = rng.normal(0, scale, (200, 8)) + shift + 0.5 * np.eye(8)[y]
    features = features.astype(np.float32)
    words = rng.integers(0, 50, (200, 6)) + round(8 * shift)
    moments = LayerStatistics(mean=features.mean(axis=0), variance=features.var(axis=0))
    return DomainSample(
        mean=features.mean(axis=0),
        covariance=np.cov(features.T),
        n=len(features),
        features=None if moments_only else features,
        y=None if moments_only else y,
        layers={"norm": moments},
        samples=[" ".join(f"word{w}" for w in row) for row in words],
    )


def check_similarity(spec: SimilaritySpec) -> None:
    """Check that identical domains are closest and that symmetry holds where it is claimed."""
    for moments_only in (False, True) if spec.needs == "moments" else (False,):
        here, near, far = (
            _domain(shift, scale, moments_only=moments_only)
            for shift, scale in ((0.0, 1.0), (0.7, 1.3), (4.0, 3.0))
        )
        sign = 1 if spec.greater_is_closer else -1
        same, close, distant = (sign * spec.compute(here, d) for d in (here, near, far))
        assert np.isfinite([same, close, distant]).all(), (
            f"{spec.name}: expected finite values, got {[same, close, distant]}."
        )
        assert same > close >= distant, (
            f"{spec.name}: expected a domain closest to itself, then to a small shift, and to "
            f"a large one no closer; got {sign * same}, {sign * close}, {sign * distant} with "
            f"greater_is_closer={spec.greater_is_closer}."
        )
        back = sign * spec.compute(near, here)
        assert not spec.symmetric or np.isclose(back, close, rtol=1e-4), (
            f"{spec.name}: symmetric is True, but swapping the domains gives {sign * back} "
            f"instead of {sign * close}."
        )
