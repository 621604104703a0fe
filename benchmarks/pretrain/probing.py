"""Probe representations on the zoo: data sets, draws of labels, logistic regression."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import sklearn_digits, zoo_images

import autotl
from autotl.adapt.logistic import LogisticPath

IMAGES = (
    "cifar10_small",
    "clothing10",
    "trashnet6",
    "dtd10",
    "gtsrb43",
    "elpv2",
    "signdigits10",
    "pneumonia2",
    "omniglot100",
    "da_digits_mnist",
    "da_digits_usps",
    "da_digits_mnistm",
    "sklearn_digits",
)
SENTIMENT = ("books", "dvd", "electronics", "kitchen", "airline")
TEXTS = (
    "trec6",
    "sst2",
    "subj",
    "clinc150",
    "ag_news",
    "snips7",
    "sms_spam",
    "hate_offensive",
    "mag_titles7",
    "tweet_irony",
    *(f"sentiment/{name}" for name in SENTIMENT),
    "germeval18_de",
)
LABELS = (10, 50, None)
N_DRAWS = 3
BATCH = 16  # larger ones leave a processor's cache
# Inverse penalty on features whose rows have a mean square norm of one.
STRENGTH = 10.0


@dataclass(frozen=True)
class DataSet:
    """Samples and class codes, training rows first.

    Args:
        samples: PIL images or texts.
        y: Class codes of shape (n_samples,).
        n_train: Rows that may be fitted on.
    """

    samples: Sequence[Any]
    y: np.ndarray
    n_train: int


def read_set(zoo: Path, name: str) -> DataSet:
    """Read one set of the zoo, or scikit-learn's digits cut in half."""
    if name == "sklearn_digits":
        images, labels = sklearn_digits()
        order = np.random.default_rng(0).permutation(len(labels))
        return DataSet([images[row] for row in order], labels[order], len(labels) // 2)
    parts = [_read_split(zoo, name, split) for split in ("train", "test")]
    labels = np.unique(np.concatenate([y for _, y in parts]), return_inverse=True)[1]
    return DataSet([*parts[0][0], *parts[1][0]], labels, len(parts[0][1]))


def _read_split(zoo: Path, name: str, split: str) -> tuple[Sequence[Any], np.ndarray]:
    if name in IMAGES:
        return zoo_images(zoo, name, split)
    with gzip.open(zoo / "text" / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if (row["split"] == "test") == (split == "test")
        ]
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


def embed(loaded: autotl.LoadedBackbone, samples: Sequence[Any], device: str) -> np.ndarray:
    """Return embeddings of shape (n_samples, embed_dim); similar lengths share a batch."""
    order = np.argsort([len(s) if isinstance(s, str) else 0 for s in samples], kind="stable")
    parts = []
    with torch.inference_mode():
        for at in range(0, len(order), BATCH):
            batch = loaded.preprocess([samples[row] for row in order[at : at + BATCH]])
            if isinstance(batch, dict):
                batch = {key: value.to(device) for key, value in batch.items()}
            else:
                batch = batch.to(device).contiguous(memory_format=torch.channels_last)
            parts.append(loaded.module(batch).float().cpu().numpy())
    found = np.concatenate(parts)
    embeddings = np.empty_like(found)
    embeddings[order] = found
    return embeddings


def draws(y: np.ndarray, n_per_class: int | None) -> list[np.ndarray]:
    """Return the rows of three seeded draws; a class with fewer rows gives all that it has."""
    if n_per_class is None:
        return [np.arange(len(y))]
    chosen = []
    for seed in range(N_DRAWS):
        random = np.random.default_rng(seed)
        rows = [random.permutation(np.flatnonzero(y == c))[:n_per_class] for c in np.unique(y)]
        chosen.append(np.concatenate(rows))
    return chosen


def probe(
    data: DataSet,
    features: np.ndarray | Callable[[np.ndarray], tuple[Any, Any]],
    n_per_class: int | None,
) -> float:
    """Return the mean test accuracy over the draws.

    Args:
        data: What is predicted.
        features: Shape (n_samples, embed_dim); or a function that fits itself on training rows
            and returns the features of these and of the test rows.
        n_per_class: Labels; None takes every training row, once.
    """
    scores = []
    for rows in draws(data.y[: data.n_train], n_per_class):
        if callable(features):
            fitted, tested = features(rows)
        else:
            fitted, tested = _standardised(features[rows], features[data.n_train :])
        path = LogisticPath(fitted, data.y[rows], int(data.y.max()) + 1)
        weight, bias = path.solve(STRENGTH)
        predicted = np.asarray(tested @ weight.T + bias).argmax(1)
        scores.append(float((predicted == data.y[data.n_train :]).mean()))
    return float(np.mean(scores))


def _standardised(fitted: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every feature mean zero and the rows a mean square norm of one, by training rows."""
    mean, deviation = fitted.mean(0), fitted.std(0)
    scale = np.where(deviation > 1e-8, deviation, np.inf) * np.sqrt(fitted.shape[1])
    return (fitted - mean) / scale, (tested - mean) / scale


def raw(spec: autotl.RawFeatureSpec, data: DataSet) -> Callable[[np.ndarray], tuple[Any, Any]]:
    """Return features without transfer, fitted on the training rows that they are asked for."""
    tests = list(data.samples[data.n_train :])

    def features(rows: np.ndarray) -> tuple[Any, Any]:
        samples = [data.samples[row] for row in rows]
        state = spec.fit(samples)
        fitted, tested = spec.transform(samples, state), spec.transform(tests, state)
        if hasattr(fitted, "toarray"):
            return fitted, tested
        return _standardised(np.asarray(fitted), np.asarray(tested))

    return features
