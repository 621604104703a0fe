"""Find out what kind of samples `X` holds and turn them into samples."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.data.raw import SkippedSample
from autotl.errors import AmbiguousModalityError, InvalidDataError
from autotl.registry import get_registry
from autotl.specs import ModalitySpec

__all__ = ["UsableSamples", "find_modality", "usable_samples"]


@dataclass(frozen=True)
class UsableSamples:
    """Samples that can be used, and those that cannot.

    Args:
        samples: As the modality's backbones read them.
        kept: Position in the given `X` of each sample.
        skipped: What was left out, and why.
        n_given: Length of the given `X`.
    """

    samples: list[Any]
    kept: list[int]
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


def usable_samples(
    modality: ModalitySpec, X: Any, *, ids: Sequence[str] | None = None, name: str = "X"
) -> UsableSamples:
    """Turn `X` into samples and set the unusable ones apart.

    Args:
        modality: Reads `X`.
        X: As the user gave it.
        ids: Names of the samples; by default their paths, or positions such as "X[7]".
        name: What the user calls `X`.

    Raises:
        InvalidDataError: `X` as a whole cannot be read, or holds no usable sample.
    """
    given = list(modality.as_samples(X))
    if not given:
        raise InvalidDataError(f"{name} has no samples. Give at least three of each class.")
    if ids is not None and len(ids) != len(given):
        raise InvalidDataError(
            f"ids has {len(ids)} entries but {name} has {len(given)} samples. Give one for each."
        )
    kept = [i for i, sample in enumerate(given) if not isinstance(sample, Exception)]
    skipped = [
        SkippedSample(ids[i] if ids is not None else _default_id(X, i, name), str(sample))
        for i, sample in enumerate(given)
        if isinstance(sample, Exception)
    ]
    if not kept:
        first = skipped[0]
        raise InvalidDataError(
            f"None of the {len(given)} samples of {name} can be used. The first is "
            f"{first.sample}: {first.reason} Check that these are {modality.name}s."
        )
    return UsableSamples([given[i] for i in kept], kept, skipped, len(given))


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
