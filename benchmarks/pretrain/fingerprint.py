"""Measure the fingerprint of a shipped backbone on source data that it was not fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import device, update_manifest
from torch import Tensor, nn

import autotl
from autotl.registry import get_registry
from autotl_embedded.fingerprints import write_fingerprint

RANK = 64
N_CLUSTERS = 64


class _LayerMoments:
    """Sums over samples and positions of the output of one layer group."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0.0, torch.zeros(()), torch.zeros(())

    def add(self, output: Tensor, mask: Tensor | None) -> None:
        """Count an output whose channels are its second axis (images) or its last (tokens)."""
        values = output.double()
        if values.ndim == 4:
            values = values.permute(0, 2, 3, 1).flatten(0, 2)
        elif values.ndim == 3 and mask is not None:
            values = values[mask.bool()]
        self.count += len(values)
        self.total = self.total + values.sum(0).cpu()
        self.squares = self.squares + values.square().sum(0).cpu()

    def result(self) -> autotl.LayerStatistics:
        """Return mean and variance of each channel."""
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp_min(0.0)
        return autotl.LayerStatistics(mean=mean.numpy(), variance=variance.numpy())


def _run(
    loaded: autotl.LoadedBackbone, batches: Iterator[Any]
) -> tuple[np.ndarray, dict[str, autotl.LayerStatistics]]:
    """Return embeddings of shape (n_samples, embed_dim) and the statistics of each group."""
    groups = loaded.layer_groups or ()
    moments = {group[0]: _LayerMoments() for group in groups}
    mask: Tensor | None = None

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            moments[name].add(output, mask)

        return module.register_forward_hook(hook)

    # What a group of several modules puts out is what its last one does.
    hooks = [watch(group[0], loaded.module.get_submodule(group[-1])) for group in groups]
    parts = []
    with torch.inference_mode():
        for batch in batches:
            mask = batch["attention_mask"] if isinstance(batch, dict) else None
            parts.append(loaded.module(batch).float().cpu().numpy())
    for hook in hooks:
        hook.remove()
    return np.concatenate(parts), {name: m.result() for name, m in moments.items()}


def _covariance(features: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a low-rank factor (embed_dim, rank) and what it leaves of each variance."""
    covariance = np.cov(features - mean, rowvar=False)
    values, vectors = np.linalg.eigh(covariance)
    factor = vectors[:, -RANK:] * np.sqrt(values[-RANK:].clip(0.0))
    return factor, (np.diag(covariance) - (factor**2).sum(1)).clip(0.0)


def _clusters(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    fitted = KMeans(N_CLUSTERS, n_init=1, random_state=seed).fit(features)
    labels: np.ndarray = fitted.labels_
    return labels


def measure(
    loaded: autotl.LoadedBackbone,
    batches: Iterator[Any],
    labels: np.ndarray | None,
    *,
    seed: int = 0,
) -> autotl.SourceFingerprint:
    """Return the fingerprint of a backbone on batches of its source domain.

    Args:
        loaded: The backbone, with layer groups.
        batches: What its preprocessing gives, on its device.
        labels: Source classes of shape (n_samples,); None finds clusters instead.
        seed: Of the clusters.
    """
    features, layers = _run(loaded, batches)
    features = features.astype(np.float64)
    mean = features.mean(0)
    factor, residual = _covariance(features, mean)
    classes = _clusters(features, seed) if labels is None else labels
    present = np.unique(classes)
    return autotl.SourceFingerprint(
        n=len(features),
        mean=mean,
        factor=factor,
        residual=residual,
        class_means=np.stack([features[classes == c].mean(0) for c in present]),
        class_counts=np.array([(classes == c).sum() for c in present]),
        clustered=labels is None,
        layers=layers,
    )


def add_fingerprint(
    out: Path, name: str, samples: Tensor | Sequence[str], labels: np.ndarray | None = None
) -> None:
    """Measure the fingerprint of `embedded/<name>` as it lies in a folder and write it there.

    Args:
        out: Weights folder, with its manifest.
        name: Folder of the backbone in it.
        samples: Network inputs of shape (n_samples, ...) of an image backbone, or texts.
        labels: Source classes of shape (n_samples,).
    """
    from autotl_embedded import loading

    loading.WEIGHTS = out
    where = str(device())
    loaded = get_registry().backbones.get(f"embedded/{name}").load(where)

    def batches() -> Iterator[Any]:
        if isinstance(samples, Tensor):
            yield from (part.to(where) for part in samples.split(128))
            return
        for at in range(0, len(samples), 64):
            batch = loaded.preprocess(samples[at : at + 64])
            yield {key: value.to(where) for key, value in batch.items()}

    path = out / name / "fingerprint.safetensors"
    write_fingerprint(measure(loaded, batches(), labels), path)
    path.chmod(0o644)
    update_manifest(out)
    print(f"{path.parent.name}/{path.name} {path.stat().st_size} bytes", flush=True)
