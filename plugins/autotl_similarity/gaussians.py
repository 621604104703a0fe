"""Algebra of moments and of distances that the measures share."""

import dataclasses

import numpy as np

from autotl.specs import DomainSample

_MOST_DIRECTIONS = 64
_SAMPLES_PER_DIRECTION = 10


def leading_directions(moments: np.ndarray, n_directions: int) -> np.ndarray:
    """Return orthonormal eigenvectors of the greatest eigenvalues.

    Args:
        moments: Symmetric, shape (embed_dim, embed_dim).
        n_directions: How many; at most embed_dim.

    Returns:
        Shape (embed_dim, n_directions).
    """
    from scipy.linalg import eigh

    last = len(moments) - 1
    basis: np.ndarray = eigh(moments, subset_by_index=[last + 1 - n_directions, last])[1]
    return basis


def on_leading_directions(
    source: DomainSample, target: DomainSample
) -> tuple[DomainSample, DomainSample]:
    """Return the moments along the leading directions of the average covariance.

    Only as many as the samples can tell apart: one for ten of the smaller domain, at most 64.
    """
    n_directions = max(1, min(source.n, target.n) // _SAMPLES_PER_DIRECTION)
    n_directions = min(n_directions, _MOST_DIRECTIONS, len(source.mean))
    basis = leading_directions((source.covariance + target.covariance) / 2, n_directions)
    one, other = (
        dataclasses.replace(
            side, mean=side.mean @ basis, covariance=basis.T @ side.covariance @ basis
        )
        for side in (source, target)
    )
    return one, other


def principal_scores(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues of rows.T @ rows, descending, and the rows on its eigenvectors.

    Args:
        rows: Shape (n_rows, embed_dim).

    Returns:
        Shapes (k,) and (n_rows, k), where k = min(n_rows, embed_dim).
    """
    n_rows, embed_dim = rows.shape
    if n_rows < embed_dim:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        values = values.clip(min=0.0)[::-1]
        return values, vectors[:, ::-1] * np.sqrt(values)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    return values.clip(min=0.0)[::-1], rows @ vectors[:, ::-1]


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances of shape (len(one), len(other)) between rows."""
    norms = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    distances: np.ndarray = (norms - 2 * one @ other.T).clip(min=0.0)
    return distances


def square_root(covariance: np.ndarray) -> np.ndarray:
    """Return symmetric roots of covariances of shape (..., embed_dim, embed_dim)."""
    values, vectors = np.linalg.eigh(covariance)
    # Not scipy's sqrtm: it returns complex or infinite values where the rank is deficient.
    roots = np.sqrt(values.clip(min=0.0))
    root: np.ndarray = (vectors * roots[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return root


def bures(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return squared Bures distances, the part of Fréchet's that covariances contribute.

    Args:
        one: Covariance of shape (embed_dim, embed_dim).
        other: Covariances of shape (..., embed_dim, embed_dim).
    """
    root = square_root(one)
    values = np.linalg.eigvalsh(root @ other @ root)
    fidelity = np.sqrt(values.clip(min=0.0)).sum(axis=-1)
    traces = np.trace(one) + np.trace(other, axis1=-2, axis2=-1)
    distances: np.ndarray = (traces - 2 * fidelity).clip(min=0.0)
    return distances


def shrinkage(covariance: np.ndarray, n: int) -> float:
    """Return how far to shrink towards a multiple of the identity, in [0, 1].

    Oracle approximating shrinkage: unlike Ledoit and Wolf's it needs the covariance alone, so
    that it serves where only moments were kept.

    References:
        Chen et al., Shrinkage Algorithms for MMSE Covariance Estimation, IEEE Transactions on
        Signal Processing 2010, equation 23.
    """
    dim = len(covariance)
    square_of_trace = float(np.trace(covariance)) ** 2
    trace_of_square = float((covariance**2).sum())
    spread = trace_of_square - square_of_trace / dim
    above = (1 - 2 / dim) * trace_of_square + square_of_trace
    below = (n + 1 - 2 / dim) * spread
    return min(1.0, above / below) if below > 1e-12 * square_of_trace else 1.0


def shrunk(covariance: np.ndarray, intensity: float) -> np.ndarray:
    """Return the covariance moved by intensity towards a multiple of the identity."""
    dim = len(covariance)
    mixed: np.ndarray = (1 - intensity) * covariance
    mixed[np.diag_indices(dim)] += intensity * np.trace(covariance) / dim
    return mixed
