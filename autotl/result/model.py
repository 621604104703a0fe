"""The fitted model: predict, report, save and load."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from autotl.adapt.raw import RawModel
from autotl.data import Metric, unlabelled, usable_samples
from autotl.errors import (
    BackboneUnavailableError,
    InvalidDataError,
    ModelFormatError,
    OutputExistsError,
    UnknownNameError,
)
from autotl.features import BackboneSession
from autotl.registry import get_registry
from autotl.result.device import check_device, pick_device
from autotl.result.saved import (
    decode_label,
    encode_label,
    read_json,
    read_state,
    write_json,
    write_state,
)
from autotl.shelf import Shelf, open_shelf
from autotl.specs import BackboneSpec, LoadedBackbone, ModalitySpec, Predictor, SavedState

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


class SamplePredictor(Protocol):
    """Maps samples to class probabilities."""

    def predict_proba(self, samples: Sequence[Any]) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes)."""
        ...

    def save(self) -> SavedState:
        """Return all that is needed to rebuild it."""
        ...


@dataclass(kw_only=True)
class TransferPredictor:
    """A pretrained backbone with what an adaptation made of it.

    Args:
        backbone: The backbone.
        adaptation: Name of the method.
        saved: What the method's predictor saved.
        modality: Kind of sample.
        device: Where to compute.
    """

    backbone: BackboneSpec
    adaptation: str
    saved: SavedState
    modality: ModalitySpec
    device: str = "cpu"
    _kept: tuple[LoadedBackbone, Predictor] | None = field(default=None, init=False, repr=False)

    def predict_proba(self, samples: Sequence[Any]) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes)."""
        session = BackboneSession(self.backbone, samples, self.modality, device=self.device)
        if self._kept is None:
            spec = get_registry().adaptations.get(self.adaptation)
            self._kept = (session.loaded, spec.restore(self.saved))
        session.loaded, predictor = self._kept
        return predictor.predict_proba(session.inputs(np.arange(len(samples))))

    def save(self) -> SavedState:
        """Return the method's tensors, and the backbone by name and digest."""
        digest = self.backbone.weights_digest() if self.backbone.weights_digest else None
        config = {
            "backbone": self.backbone.name,
            "backbone_digest": digest,
            "adaptation": self.adaptation,
            "method": dict(self.saved.config),
        }
        return SavedState(tensors=self.saved.tensors, config=config)


class FittedModel:
    """What a search returns: a classifier with its evidence.

    Args:
        predictor: Makes the predictions.
        modality: Kind of sample.
        classes: The labels as the user gave them, in the order of the probabilities.
        metric: Name of the metric that `score` uses.
        result: The content of `result.json`.
        directories: Weights folders that the backbone may come from.
        floor: The best model without transfer, kept beside.
    """

    def __init__(
        self,
        predictor: SamplePredictor,
        modality: ModalitySpec,
        classes: Sequence[Hashable],
        metric: str,
        result: dict[str, Any],
        directories: Sequence[str] = (),
        floor: RawModel | None = None,
    ) -> None:
        self._predictor, self.modality = predictor, modality
        self.classes = list(classes)
        self.metric, self.result = metric, result
        self.directories, self.floor = list(directories), floor

    def __repr__(self) -> str:
        return (
            f"FittedModel({self.result.get('shipped')}, {self.metric}="
            f"{self.result.get('holdout')}, verdict={self.verdict!r})"
        )

    @property
    def verdict(self) -> str:
        """Whether transfer helps on the holdout: "positive", "negative" or "inconclusive"."""
        return str(self.result["verdict"])

    @property
    def best_config(self) -> dict[str, Any] | None:
        """Backbone, adaptation, freeze depth and parameters of the best candidate, or None."""
        best: dict[str, Any] | None = self.result["best"]
        return best

    def leaderboard(self) -> "pd.DataFrame":
        """Return every trial as a row, best first, with its state and why it stopped."""
        import pandas as pd

        return pd.DataFrame(self.result["leaderboard"])

    def report(self, path: str | Path) -> Path:
        """Write the self-contained HTML report and return its path."""
        from autotl.result.report import write_report

        target = Path(path)
        write_report(self.result, target)
        return target

    def samples(self, X: Any) -> Sequence[Any]:
        """Return `X` as samples of this model's modality, read again on access.

        Raises:
            InvalidDataError: A sample cannot be used; the message names the first ones.
        """
        usable = usable_samples(self.modality, unlabelled(X, self.modality.name))
        if usable.skipped:
            first = "; ".join(f"{s.sample}: {s.reason}" for s in usable.skipped[:3])
            raise InvalidDataError(
                f"{len(usable.skipped)} of {usable.n_given} samples cannot be used ({first}). "
                "Remove them, or use `autotl predict`, which skips and lists them."
            )
        return usable.samples

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n_samples, n_classes), columns in order of `classes`."""
        return self.predict_proba_samples(self.samples(X))

    def predict_proba_samples(self, samples: Sequence[Any]) -> np.ndarray:
        """Return probabilities of samples that `samples` or a reader has already checked."""
        if not len(samples):
            return np.zeros((0, len(self.classes)))
        proba = self._predictor.predict_proba(samples)
        if proba.shape != (len(samples), len(self.classes)):
            raise ModelFormatError(
                f"The model gives {proba.shape[1]} probabilities a sample for {len(self.classes)} "
                "classes; its files do not belong together. Save the model again."
            )
        return proba

    def labels_of(self, proba: np.ndarray) -> np.ndarray:
        """Return the most probable label of each row, in the type that the user gave."""
        labels = np.empty(len(self.classes), dtype=object)
        labels[:] = self.classes
        picked: np.ndarray = labels[proba.argmax(axis=1)]
        kinds = {type(c) for c in self.classes}
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            return np.array(picked.tolist()) if len(picked) else np.array([], dtype=kinds.pop())
        return picked

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each sample, shape (n_samples,)."""
        return self.labels_of(self.predict_proba(X))

    def score(self, X: Any, y: Sequence[Hashable]) -> float:
        """Return the search's metric on labelled samples, greater is better.

        Raises:
            InvalidDataError: `y` has another length than `X`, or a label unseen in training.
        """
        samples = self.samples(X)
        return self.score_proba(self.predict_proba_samples(samples), y)

    def score_proba(self, proba: np.ndarray, y: Sequence[Hashable]) -> float:
        """Return the search's metric of probabilities against labels."""
        given = [v.item() if hasattr(v, "item") else v for v in y]
        if len(given) != len(proba):
            raise InvalidDataError(
                f"y has {len(given)} labels but X has {len(proba)} samples; give one label each."
            )
        codes = {label: i for i, label in enumerate(self.classes)}
        unknown = sorted({repr(v) for v in given if v not in codes})
        if unknown:
            raise InvalidDataError(
                f"y has labels that were not there in training: {', '.join(unknown[:5])}; "
                f"expected {', '.join(map(repr, self.classes[:10]))}. Remove those samples."
            )
        return float(Metric(self.metric)(np.array([codes[v] for v in given]), proba))

    def save(self, path: str | Path) -> Path:
        """Write the model as safetensors and JSON into a new or empty folder.

        Raises:
            OutputExistsError: The folder is not empty.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputExistsError(
                f"{str(folder)!r} exists and is not empty; choose another folder or remove it."
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.write(folder)
        write_json(folder / "result.json", self.result)
        return folder

    def write(self, folder: Path) -> None:
        """Write the model's files into an existing folder, the floor into `floor/`."""
        _write_predictor(folder, self, self._predictor)
        if self.floor is not None and self.floor is not self._predictor:
            (folder / "floor").mkdir(exist_ok=True)
            _write_predictor(folder / "floor", self, self.floor)


def _write_predictor(folder: Path, model: FittedModel, predictor: SamplePredictor) -> None:
    saved = predictor.save()
    config = {
        "format": FORMAT,
        "kind": "floor" if isinstance(predictor, RawModel) else "transfer",
        "modality": model.modality.name,
        "classes": [encode_label(c) for c in model.classes],
        "metric": model.metric,
        "directories": model.directories,
        "predictor": dict(saved.config),
    }
    write_state(folder, "model", SavedState(tensors=saved.tensors, config=config))


def load(
    path: str | Path, *, weights: str | Path | None = None, device: str | None = None
) -> FittedModel:
    """Load a model from a run folder or a folder that `save` wrote.

    Args:
        path: The folder.
        weights: Folder of local weights, where the backbone has moved since.
        device: Where to compute; None picks a GPU when there is one.

    Raises:
        ModelFormatError: The folder holds no model, or its backbone's weights have changed.
        BackboneUnavailableError: The model's backbone is not on this machine.
    """
    check_device(device)
    folder = Path(path)
    outer = folder
    if not (folder / "model.json").exists() and (folder / "model" / "model.json").exists():
        folder = folder / "model"
    else:
        outer = folder if (folder / "result.json").exists() else folder.parent
    saved = read_state(folder, "model")
    config = saved.config
    if isinstance(config, dict) and config.get("format") != FORMAT:
        raise ModelFormatError(
            f"{str(folder)!r} has format {config.get('format')!r}; this version reads {FORMAT}. "
            "Install the version that wrote it."
        )
    _check_config(folder, config)
    modality = get_registry().modalities.get(config["modality"])
    inner = SavedState(tensors=saved.tensors, config=config["predictor"])
    result_path = outer / "result.json"
    result = read_json(result_path) if result_path.exists() else _bare_result(config)
    predictor: SamplePredictor
    if config["kind"] == "floor":
        predictor = _restore_floor(folder, inner, modality)
    else:
        predictor = _transfer(inner, modality, config["directories"], weights, device)
    return FittedModel(
        predictor,
        modality,
        [decode_label(c) for c in config["classes"]],
        config["metric"],
        result,
        config["directories"],
        predictor if isinstance(predictor, RawModel) else _load_floor(folder / "floor", modality),
    )


def _check_config(folder: Path, config: Any) -> None:
    """Refuse a `model.json` that autotl did not write: folders come from strangers too."""
    if not isinstance(config, dict):
        config = {}
    inner = config.get("predictor")
    named = isinstance(inner, dict) and (
        isinstance(inner.get("classifier"), str)
        if config.get("kind") == "floor"
        else all(isinstance(inner.get(k), str) for k in ("backbone", "adaptation"))
        and not set("*?[") & set(inner["backbone"])
        and isinstance(inner.get("method"), dict)
    )
    shapes = {"modality": str, "metric": str, "classes": list, "directories": list}
    wrong = [k for k, kind in shapes.items() if not isinstance(config.get(k), kind)]
    if wrong or not named or config.get("kind") not in ("floor", "transfer"):
        raise ModelFormatError(
            f"{str(folder / 'model.json')!r} is damaged or was not written by autotl "
            f"({', '.join(wrong) or 'predictor'} is not as expected). Save the model again."
        )


def _load_floor(folder: Path, modality: ModalitySpec) -> RawModel | None:
    if not (folder / "model.json").exists():
        return None
    saved = read_state(folder, "model")
    _check_config(folder, saved.config)
    inner = SavedState(tensors=saved.tensors, config=saved.config["predictor"])
    return _restore_floor(folder, inner, modality)


def _restore_floor(folder: Path, saved: SavedState, modality: ModalitySpec) -> RawModel:
    try:
        return RawModel.restore(saved, modality.raw_features)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(
            f"The floor in {str(folder)!r} is damaged or needs a plugin that is not installed "
            f"({error!r}). Save the model again, or install what it needs."
        ) from error


def _bare_result(config: Any) -> dict[str, Any]:
    return {"verdict": "inconclusive", "best": None, "leaderboard": [], "shipped": config["kind"]}


def _transfer(
    saved: SavedState,
    modality: ModalitySpec,
    directories: Sequence[str],
    weights: str | Path | None,
    device: str | None,
) -> TransferPredictor:
    name = saved.config["backbone"]
    folders = [str(weights)] if weights else [d for d in directories if Path(d).is_dir()]
    try:
        shelf = open_shelf(modality=modality.name, backbones=[name], weights=folders)
    except UnknownNameError:
        shelf = Shelf()
    if not shelf.usable:
        reason = shelf.skipped[0].reason if shelf.skipped else "no plugin or folder has it"
        raise BackboneUnavailableError(
            f"The model needs the backbone {name!r}, which cannot be used here: {reason}. "
            "Give the folder of its weights, autotl.load(path, weights=...) or --weights."
        )
    backbone = shelf.usable[0]
    stored: str | None = saved.config.get("backbone_digest")
    digest = backbone.weights_digest() if backbone.weights_digest else None
    if stored is not None and digest is not None and digest != stored:
        raise ModelFormatError(
            f"Backbone {name!r} has other weights than those the model was fitted with "
            f"(digest {digest[:12]}, expected {stored[:12]}). Restore the original weights."
        )
    method = SavedState(tensors=saved.tensors, config=saved.config["method"])
    try:
        get_registry().adaptations.get(saved.config["adaptation"]).restore(method)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(
            f"The tensors of the model's {saved.config['adaptation']!r} are damaged ({error!r}). "
            "Save the model again."
        ) from error
    return TransferPredictor(
        backbone=backbone,
        adaptation=saved.config["adaptation"],
        saved=method,
        modality=modality,
        device=device or pick_device(),
    )
