"""Spectral decomposition of features through the smaller Gram matrix."""

import numpy as np

from autotl.specs import SpectralDecomposition

_RELATIVE_TOLERANCE = 1e-6  # of the largest singular value; features are float32
_CHUNK_BYTES = 2**25  # of the float64 copy that is held at once


def decompose(features: np.ndarray) -> SpectralDecomposition:
    """Decompose features of shape (n_samples, embed_dim) after centring them.

    One symmetric eigenproblem of size min(n_samples, embed_dim); directions whose singular value
    is below the noise of float32 are dropped, so the rank may be smaller. Sums are float64; the
    singular vectors have the features' precision.
    """
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    mean = features.mean(axis=0, dtype=np.float64)
    tall = features.shape[0] > features.shape[1]
    # The short side is the columns of `long`; each chunk of its rows is centred on the fly.
    long, offset = (features, mean[None, :]) if tall else (features.T, mean[:, None])
    width = long.shape[1]
    rows = max(1, _CHUNK_BYTES // (8 * max(1, width)))
    gram = np.zeros((width, width))
    chunks = [slice(at, at + rows) for at in range(0, len(long), rows)]
    for chunk in chunks:
        centred = _centred(long, offset, chunk, tall)
        gram += centred.T @ centred
    with threadpool_limits(1, user_api="blas"):  # two lose several times over at this size
        values, vectors = eigh(gram, driver="evd", overwrite_a=True)
    singular = np.sqrt(values[::-1].clip(0))
    keep = singular > _RELATIVE_TOLERANCE * max(float(singular[0]), 1e-30)
    singular, vectors = singular[keep], vectors[:, ::-1][:, keep]
    kind = np.result_type(features, np.float32)
    across = np.empty((len(long), len(singular)), kind)
    for chunk in chunks:
        across[chunk] = _centred(long, offset, chunk, tall) @ (vectors / singular)
    along = vectors.astype(kind)
    left, right = (across, along) if tall else (along, across)
    return SpectralDecomposition(mean=mean, left=left, singular=singular, right=right)


def _centred(long: np.ndarray, offset: np.ndarray, chunk: slice, tall: bool) -> np.ndarray:
    centred: np.ndarray = long[chunk].astype(np.float64) - (offset if tall else offset[chunk])
    return centred
