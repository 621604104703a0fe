"""Find out what kind of samples `X` holds and check each of them once."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.data.lazy import Samples
from autotl.data.raw import SkippedSample
from autotl.errors import AmbiguousModalityError, InvalidDataError
from autotl.registry import get_registry
from autotl.specs import ModalitySpec

__all__ = ["Advance", "UsableSamples", "find_modality", "given_samples", "usable_samples"]

Advance = Callable[[int, int], object]
"""Takes how many samples have been looked at, and of how many."""

_THREADS = 8
_CHUNK = 16  # samples that a thread looks at in one go


@dataclass(frozen=True)
class UsableSamples:
    """Samples that can be used, and those that cannot.

    Args:
        samples: As the modality's backbones read them, read again on access.
        kept: Position in the given `X` of each sample.
        fingerprints: Hex digest of each sample's content.
        skipped: What was left out, and why.
        n_given: Length of the given `X`.
    """

    samples: Samples
    kept: list[int]
    fingerprints: list[str]
    skipped: list[SkippedSample]
    n_given: int


def find_modality(X: Any, modality: str | None = None) -> ModalitySpec:
    """Return the named modality, or the only one that reads `X`.

    Raises:
        UnknownNameError: No plugin brings a modality of this name.
        AmbiguousModalityError: More than one reads `X`.
        InvalidDataError: None reads `X`.
    """
    known = get_registry().modalities
    if modality is not None:
        return known.get(modality)
    if hasattr(X, "__len__") and not len(X):
        raise InvalidDataError("X has no samples. Give at least three of each class.")
    fitting = [spec for spec in known if spec.accepts(X)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " or ".join(f"modality={spec.name!r}" for spec in fitting)
        raise AmbiguousModalityError(
            f"X could be {' or '.join(f'{spec.name}s' for spec in fitting)}: it is "
            f"{_describe(X)}. Say which with {names} (--modality on the command line)."
        )
    raise InvalidDataError(f"X is {_describe(X)}. {_advice(X)}")


def given_samples(modality: ModalitySpec, X: Any, name: str = "X") -> Sequence[Any]:
    """Return `X` as the modality reads it, without looking at each sample.

    Raises:
        InvalidDataError: `X` as a whole cannot be read, or is empty.
    """
    given = modality.as_samples(X)
    if not len(given):
        raise InvalidDataError(f"{name} has no samples. Give at least three of each class.")
    return given


def usable_samples(
    modality: ModalitySpec,
    X: Any,
    *,
    given: Sequence[Any] | None = None,
    ids: Sequence[str] | None = None,
    name: str = "X",
    advance: Advance | None = None,
) -> UsableSamples:
    """Look at every sample of `X` once and set the unusable ones apart.

    Args:
        modality: Reads `X`.
        X: As the user gave it.
        given: What the modality made of `X`, where that is known.
        ids: Names of the samples; by default their paths, or positions such as "X[7]".
        name: What the user calls `X`.
        advance: Called from this thread as samples have been looked at.

    Raises:
        InvalidDataError: `X` as a whole cannot be read.
    """
    given = modality.as_samples(X) if given is None else given
    if ids is not None and len(ids) != len(given):
        raise InvalidDataError(
            f"ids has {len(ids)} entries but {name} has {len(given)} samples. Give one for each."
        )
    names = [_default_id(X, i, name) for i in range(len(given))] if ids is None else list(ids)
    found = list(_look_at(modality, given, advance))
    kept = [i for i, digest in enumerate(found) if isinstance(digest, str)]
    return UsableSamples(
        samples=Samples([given], names).select(kept),
        kept=kept,
        fingerprints=[digest for digest in found if isinstance(digest, str)],
        skipped=[
            SkippedSample(names[i], str(problem))
            for i, problem in enumerate(found)
            if not isinstance(problem, str)
        ],
        n_given=len(given),
    )


def _look_at(
    modality: ModalitySpec, given: Sequence[Any], advance: Advance | None
) -> Iterator[str | Exception]:
    """Yield each sample's fingerprint, or what is wrong with it; samples are not kept here."""

    def look(rows: range) -> list[str | Exception]:
        return [_fingerprint(modality, given[i]) for i in rows]

    n = len(given)
    chunks = [range(at, min(at + _CHUNK, n)) for at in range(0, n, _CHUNK)]
    # Decoding releases the interpreter lock, so threads share the work; a list is decoded already.
    n_threads = 1 if isinstance(given, list | tuple) else min(_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads) as pool:
        for chunk, found in zip(chunks, pool.map(look, chunks), strict=True):
            yield from found
            if advance is not None:
                advance(chunk.stop, n)


def _fingerprint(modality: ModalitySpec, sample: Any) -> str | Exception:
    if isinstance(sample, Exception):
        return sample
    return hashlib.blake2b(modality.fingerprint(sample), digest_size=16).hexdigest()


def _default_id(X: Any, index: int, name: str) -> str:
    if isinstance(X, list | tuple) and isinstance(X[index], str | Path):
        text = str(X[index])
        if os.path.exists(text):  # noqa: PTH110  # Path.exists raises on overlong names
            return text
    return f"{name}[{index}]"


def _describe(X: Any) -> str:
    if hasattr(X, "shape") and hasattr(X, "dtype"):
        return f"an array of shape {tuple(X.shape)} and type {X.dtype}"
    if isinstance(X, str | bytes):
        return f"one {type(X).__name__}, {X[:40]!r}"
    if isinstance(X, list | tuple):
        kinds = sorted({type(x).__name__ for x in X})
        more = ", ..." if len(kinds) > 3 else ""
        return f"a {type(X).__name__} of {len(X)} {' and '.join(kinds[:3]) or 'things'}{more}"
    return f"a {type(X).__name__}"


def _advice(X: Any) -> str:
    if getattr(X, "ndim", None) == 2 and hasattr(X, "columns"):
        return "Rows come later; for texts pass one column, such as X['text']."
    if getattr(X, "ndim", None) == 2:
        return (
            "Rows come later; images need (N, H, W), (N, H, W, C) or (N, C, H, W): if each row is "
            "an image, reshape it, for example X.reshape(-1, 28, 28)."
        )
    if isinstance(X, str | bytes | os.PathLike):
        return "Give a list with one entry for each sample; files are read by `autotl search`."
    return (
        "Images are arrays (N, H, W), (N, H, W, C) or (N, C, H, W), or a list of PIL images or "
        "paths; texts are a list of str or a pandas Series."
    )
