"""The contract suite of modalities."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from autotl.specs import ModalitySpec, RawFeatureSpec
from autotl.testing.states import through_disk


def check_modality(spec: ModalitySpec, X: Any, batch: Any = None) -> None:
    """Check how a modality reads, fingerprints, describes and augments samples.

    Args:
        spec: The modality.
        X: At least four usable samples in a form that the modality accepts.
        batch: What a backbone's preprocess would make of some samples, for `augment`; random
            images when left out.
    """
    assert spec.accepts(X), f"{spec.name}: expected accepts(X) to be true."
    samples = spec.as_samples(X)
    broken = [s for s in samples if isinstance(s, Exception)]
    assert not broken, f"{spec.name}: expected usable samples, got {broken}."
    assert len(samples) == len(X) >= 4, (
        f"{spec.name}: expected at least four samples, one for each of {len(X)} in X, "
        f"got {len(samples)}."
    )
    _check_fingerprints(spec, samples, spec.as_samples(X))
    costs = [raw.cost for raw in spec.raw_features]
    assert costs == sorted(costs), f"{spec.name}: expected raw_features by cost, got {costs}."
    for raw in spec.raw_features:
        _check_raw_features(f"{spec.name}.{raw.name}", raw, samples)
    if spec.augment is not None:
        _check_augment(spec, batch)


def _content(sample: Any) -> Any:
    """Return something that compares equal exactly when two samples do."""
    if isinstance(sample, Image.Image):
        return sample.mode, sample.size, sample.tobytes()
    if isinstance(sample, np.ndarray):
        return sample.dtype.str, sample.shape, sample.tobytes()
    return sample


def _check_fingerprints(spec: ModalitySpec, first: Sequence[Any], second: Sequence[Any]) -> None:
    prints = [spec.fingerprint(s) for s in first]
    assert all(isinstance(p, bytes) for p in prints), f"{spec.name}: expected bytes."
    assert prints == [spec.fingerprint(s) for s in second], (
        f"{spec.name}: expected equal fingerprints when the same X is read twice."
    )
    for j, i in itertools.combinations(range(len(first)), 2):
        equal = _content(first[i]) == _content(first[j])
        assert (prints[i] == prints[j]) == equal, (
            f"{spec.name}: samples {j} and {i} have {'equal' if equal else 'different'} content; "
            "expected the same of their fingerprints."
        )


def _dense(matrix: Any) -> np.ndarray:
    array: np.ndarray = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    return array


def _check_raw_features(name: str, raw: RawFeatureSpec, samples: Sequence[Any]) -> None:
    train = samples[: max(2, 2 * len(samples) // 3)]
    state = raw.fit(train)
    matrix = raw.transform(samples, state)
    rows = _dense(matrix)
    assert rows.shape[:-1] == (len(samples),), (
        f"{name}: expected one row for each of {len(samples)} samples, got shape {rows.shape}."
    )
    assert rows.dtype == np.float32, f"{name}: expected float32, got {rows.dtype}."
    assert np.isfinite(rows).all(), f"{name}: expected finite features."

    backwards = _dense(raw.transform(list(samples)[::-1], state))[::-1]
    alone = _dense(raw.transform(samples[:1], state))
    independent = np.allclose(backwards, rows, atol=1e-5), np.allclose(alone, rows[:1], atol=1e-5)
    assert all(independent), (
        f"{name}: expected a sample's row not to depend on the other samples or their order."
    )
    for tensors in (False, True):
        restored = through_disk(name, state, tensors=tensors)
        assert np.array_equal(_dense(raw.transform(samples, restored)), rows), (
            f"{name}: expected identical features from a state that went through the disk."
        )


def _leaves(batch: Any) -> list[Any]:
    return list(batch.values()) if isinstance(batch, dict) else [batch]


def _check_augment(spec: ModalitySpec, batch: Any) -> None:
    import torch

    if batch is None:
        batch = torch.randn((4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    before = [leaf.clone() for leaf in _leaves(batch)]

    def run(seed: int, strength: float) -> list[torch.Tensor]:
        assert spec.augment is not None
        return _leaves(spec.augment(batch, torch.Generator().manual_seed(seed), strength))

    def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    first = run(1, 1.0)
    for old, new in zip(before, first, strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype), (
            f"{spec.name}: expected augment to keep {tuple(old.shape)} {old.dtype}, "
            f"got {tuple(new.shape)} {new.dtype}."
        )
    assert same(_leaves(batch), before), f"{spec.name}: expected augment to leave its input alone."
    assert same(first, run(1, 1.0)), f"{spec.name}: expected the same result for the same seed."
    assert not same(first, run(2, 1.0)), f"{spec.name}: expected the seed to matter."
    assert same(run(1, 0.0), before), f"{spec.name}: expected strength 0 to change nothing."
