"""Say how close two data sets are, as one backbone sees them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl import defaults
from autotl.api.reading import LEAST_OF_DOMAIN, read_domain, read_other
from autotl.data.samples import find_modality
from autotl.errors import BackboneUnavailableError, InvalidDataError
from autotl.features import BackboneSession
from autotl.ranking import brings, domain_sample
from autotl.registry import get_registry
from autotl.result.device import check_device, pick_device
from autotl.shelf import open_shelf
from autotl.specs import BackboneSpec, DomainSample, ModalitySpec, SimilaritySpec

_MOST = 1000  # samples of either side


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How close two data sets are.

    Args:
        backbone: Whose features were compared.
        n_samples: Samples of either side.
        measures: By name: `value`, and whether `greater_is_closer`.
        failed: Reason by name of a measure that could not be computed.
    """

    backbone: str
    n_samples: int
    measures: dict[str, dict[str, Any]]
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return dict(vars(self))


def similarity(  # noqa: PLR0913  # one keyword for each thing a user may decide
    X_source: Any,
    X_target: Any,
    *,
    y_source: Sequence[Hashable] | None = None,
    y_target: Sequence[Hashable] | None = None,
    backbone: str | None = None,
    weights: str | Path | Sequence[str | Path] | None = None,
    similarities: Sequence[str] | str | None = None,
    modality: str | None = None,
    samples: int = _MOST,
    seed: int = defaults.SEED,
    device: str | None = None,
) -> Comparison:
    """Compare two data sets by the features that one backbone makes of them.

    Both sides are cut to the same number of samples, drawn at random: several measures depend on
    it. Values compare between data sets seen through the same backbone, with as many samples.

    Args:
        X_source: Samples of one domain.
        X_target: Samples of the other, of the same modality.
        y_source: Labels, for the measures that read them.
        y_target: Likewise.
        backbone: Name of the backbone; None takes the largest that is usable.
        weights: Folders of local weights with a `backbones.toml`.
        similarities: Names or patterns of measures; None takes all that the data allows.
        modality: "image" or "text", where the samples leave it open.
        samples: Most samples of either side.
        seed: Of the draw, and of measures.
        device: "cpu", "cuda" or "mps"; None picks a GPU when there is one.

    Raises:
        InvalidDataError: The samples or labels cannot be used.
        UnknownNameError: The backbone or a measure is not known.
        BackboneUnavailableError: The backbone cannot be used now.
    """
    measures = get_registry().similarities.select(similarities)
    check_device(device)
    if samples < LEAST_OF_DOMAIN:
        raise InvalidDataError(f"samples is {samples!r}; expected at least {LEAST_OF_DOMAIN}.")
    kind = find_modality(X_target, modality)
    sides = [
        read_domain(kind, name, X, y, most=samples, seed=seed)
        for name, X, y in (("X_source", X_source, y_source), ("X_target", X_target, y_target))
    ]
    n = min(len(found) for found, _ in sides)
    spec = _backbone(kind.name, backbone, weights)
    device = device or pick_device()
    source, target = (
        _domain(spec, kind, found, labels, np.arange(n), device, seed) for found, labels in sides
    )
    if similarities is None:
        measures = [m for m in measures if brings(source, m) and brings(target, m)]
    values, failed = _compute(measures, source, target)
    return Comparison(backbone=spec.name, n_samples=n, measures=values, failed=failed)


def similarity_source(
    source: str | Path,
    target: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    image: str | None = None,
    **arguments: Any,
) -> Comparison:
    """Read two folders, tables or archives and compare them; see `similarity`."""
    columns = {"text": text, "label": label, "image": image}
    modality = arguments.pop("modality", None)
    there = read_other(target, columns, modality)
    modality = modality or there.modality
    here = read_other(source, columns, modality)
    return similarity(
        here.X, there.X, y_source=here.y, y_target=there.y, modality=modality, **arguments
    )


def _backbone(
    modality: str, name: str | None, weights: str | Path | Sequence[str | Path] | None
) -> BackboneSpec:
    names = None if name is None else [name]
    shelf = open_shelf(modality=modality, backbones=names, weights=weights)
    if not shelf.usable:
        reasons = "; ".join(f"{s.name!r}: {s.reason}" for s in shelf.skipped)
        raise BackboneUnavailableError(f"No backbone for {modality}s can be used: {reasons}.")
    return max(shelf.usable, key=lambda spec: spec.n_params or 0)


def _domain(
    spec: BackboneSpec,
    modality: ModalitySpec,
    samples: Sequence[Any],
    y: np.ndarray | None,
    rows: np.ndarray,
    device: str,
    seed: int,
) -> DomainSample:
    session = BackboneSession(spec, samples, modality, device=device)
    features = session.embed(rows)
    session.release()
    texts = [samples[int(r)] for r in rows] if modality.name == "text" else None
    labels = None if y is None else y[rows]
    return domain_sample(features, y=labels, samples=texts, seed=seed)


def _compute(
    measures: Sequence[SimilaritySpec], source: DomainSample, target: DomainSample
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    values: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for spec in measures:
        if not (brings(source, spec) and brings(target, spec)):
            failed[spec.name] = f"needs {spec.needs}, which are not at hand"
            continue
        try:
            value = float(spec.compute(source, target))
        except Exception as error:  # noqa: BLE001  # measures are plugin code
            failed[spec.name] = f"{type(error).__name__}: {error}"
            continue
        values[spec.name] = {"value": value, "greater_is_closer": spec.greater_is_closer}
    return values, failed
