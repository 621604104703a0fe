"""Spectral decomposition of features through the smaller Gram matrix."""

import numpy as np

from autotl.specs import SpectralDecomposition

_RELATIVE_TOLERANCE = 1e-6  # of the largest singular value; features are float32


def decompose(features: np.ndarray) -> SpectralDecomposition:
    """Decompose features of shape (n_samples, embed_dim) after centring them.

    One symmetric eigenproblem of size min(n_samples, embed_dim); directions whose singular value
    is below the noise of float32 are dropped, so the rank may be smaller.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features.astype(np.float64) - mean
    tall = centred.shape[0] > centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    singular = np.sqrt(values.clip(0))
    keep = singular > _RELATIVE_TOLERANCE * max(float(singular[0]), 1e-30)
    singular, vectors = singular[keep], vectors[:, keep]
    if tall:
        left, right = (centred @ vectors) / singular, vectors
    else:
        left, right = vectors, (centred.T @ vectors) / singular
    return SpectralDecomposition(mean=mean, left=left, singular=singular, right=right)
