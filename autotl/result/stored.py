"""The predictors of a model folder: written as tensors and JSON, and read with suspicion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.adapt.raw import RawModel
from autotl.errors import BackboneUnavailableError, ModelFormatError, UnknownNameError
from autotl.features.untrained import UNTRAINED, UntrainedFeatures
from autotl.registry import get_registry
from autotl.result.device import pick_device
from autotl.result.predictors import EnsemblePredictor, SamplePredictor, TransferPredictor
from autotl.result.saved import read_state, write_state
from autotl.shelf import Shelf, open_shelf
from autotl.specs import BackboneSpec, ModalitySpec, RawFeatureSpec, SavedState

FORMAT = 1
_MEMBERS, _MOST_MEMBERS = "members", 64
_KINDS: dict[type, str] = {
    RawModel: "floor",
    TransferPredictor: "transfer",
    EnsemblePredictor: "ensemble",
}


def write_predictor(folder: Path, predictor: SamplePredictor, facts: Mapping[str, Any]) -> None:
    """Write a predictor into an existing folder, the members of an ensemble below it.

    Args:
        folder: Where.
        predictor: What.
        facts: What else `model.json` says: modality, classes, metric and directories.
    """
    saved = predictor.save()
    if isinstance(predictor, EnsemblePredictor):
        for index, member in enumerate(predictor.members):
            place = folder / _MEMBERS / str(index)
            place.mkdir(parents=True, exist_ok=True)
            write_predictor(place, member, facts)
    config = {
        "format": FORMAT,
        "kind": _KINDS[type(predictor)],
        **facts,
        "predictor": dict(saved.config),
    }
    write_state(folder, "model", SavedState(tensors=saved.tensors, config=config))


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Rebuild predictors from a model folder.

    Args:
        modality: Kind of sample.
        directories: Weights folders that backbones may come from.
        weights: Folder of local weights, in place of those.
        device: Where to compute; None picks a GPU when there is one.
    """

    modality: ModalitySpec
    directories: Sequence[str]
    weights: str | Path | None = None
    device: str | None = None

    def read(self, folder: Path) -> SamplePredictor:
        """Return the predictor in a folder.

        Raises:
            ModelFormatError: It is damaged, or its backbone's weights have changed.
            BackboneUnavailableError: A backbone of it is not on this machine.
        """
        saved = read_config(folder)
        config = saved.config
        inner = SavedState(tensors=saved.tensors, config=config["predictor"])
        if config["kind"] == "floor":
            return self._floor(folder, inner)
        if config["kind"] == "transfer":
            return self._transfer(inner)
        return self._ensemble(folder, inner.config["weights"])

    def _ensemble(self, folder: Path, weights: Sequence[float]) -> EnsemblePredictor:
        members = []
        for index in range(len(weights)):
            member = self.read(folder / _MEMBERS / str(index))
            if not isinstance(member, TransferPredictor):
                raise ModelFormatError(
                    f"Member {index} of the ensemble in {str(folder)!r} is no transfer model; "
                    "the folder is damaged. Save the model again."
                )
            members.append(member)
        return EnsemblePredictor(members=members, weights=list(weights))

    def _floor(self, folder: Path, saved: SavedState) -> RawModel:
        features = self.modality.raw_features
        name = saved.config.get("feature")
        if isinstance(name, str) and name.startswith(UNTRAINED):
            features = (self._untrained(name, saved.config.get("feature_config")),)
        try:
            return RawModel.restore(saved, features)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(
                f"The floor in {str(folder)!r} is damaged or needs a plugin that is not installed "
                f"({error!r}). Save the model again, or install what it needs."
            ) from error

    def _untrained(self, name: str, config: Any) -> RawFeatureSpec:
        """Return the raw feature that an untrained network is, drawn again from its seed."""
        seed: Any = config.get("seed") if isinstance(config, dict) else None
        if not _is_seed(seed):
            raise ModelFormatError(
                f"The floor {name!r} has the seed {seed!r}; expected a whole number. "
                "The model is damaged; save it again."
            )
        features = UntrainedFeatures(
            self._backbone(name.removeprefix(UNTRAINED)),
            self.modality,
            device=self.device or pick_device(),
            seed=seed,
        )
        return features.spec()

    def _transfer(self, saved: SavedState) -> TransferPredictor:
        name = saved.config["backbone"]
        backbone = self._backbone(name)
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
                f"The tensors of the model's {saved.config['adaptation']!r} are damaged "
                f"({error!r}). Save the model again."
            ) from error
        return TransferPredictor(
            backbone=backbone,
            adaptation=saved.config["adaptation"],
            saved=method,
            modality=self.modality,
            device=self.device or pick_device(),
            untrained_seed=saved.config.get("untrained_seed"),
        )

    def _backbone(self, name: str) -> BackboneSpec:
        folders = (
            [str(self.weights)]
            if self.weights
            else [d for d in self.directories if Path(d).is_dir()]
        )
        try:
            shelf = open_shelf(modality=self.modality.name, backbones=[name], weights=folders)
        except UnknownNameError:
            shelf = Shelf()
        if not shelf.usable:
            reason = shelf.skipped[0].reason if shelf.skipped else "no plugin or folder has it"
            raise BackboneUnavailableError(
                f"The model needs the backbone {name!r}, which cannot be used here: {reason}. "
                "Give the folder of its weights, autotl.load(path, weights=...) or --weights."
            )
        return shelf.usable[0]


def read_config(folder: Path) -> SavedState:
    """Return the tensors and the checked content of a folder's `model.json`.

    Raises:
        ModelFormatError: It is missing, damaged, or of another version.
    """
    saved = read_state(folder, "model")
    config = saved.config
    if isinstance(config, dict) and config.get("format") != FORMAT:
        raise ModelFormatError(
            f"{str(folder)!r} has format {config.get('format')!r}; this version reads {FORMAT}. "
            "Install the version that wrote it."
        )
    _check_config(folder, config)
    return saved


def _check_config(folder: Path, config: Any) -> None:
    """Refuse a `model.json` that autotl did not write: folders come from strangers too."""
    if not isinstance(config, dict):
        config = {}
    inner, kind = config.get("predictor"), config.get("kind")
    checks = {"floor": _names_floor, "transfer": _names_transfer, "ensemble": _names_ensemble}
    known = isinstance(kind, str) and kind in checks
    named = known and isinstance(inner, dict) and checks[str(kind)](inner)
    shapes = {"modality": str, "metric": str, "classes": list, "directories": list}
    wrong = [k for k, kind in shapes.items() if not isinstance(config.get(k), kind)]
    if wrong or not named:
        raise ModelFormatError(
            f"{str(folder / 'model.json')!r} is damaged or was not written by autotl "
            f"({', '.join(wrong) or 'predictor'} is not as expected). Save the model again."
        )


def _names_floor(inner: Mapping[str, Any]) -> bool:
    feature = inner.get("feature")
    plain = not isinstance(feature, str) or not set("*?[") & set(feature)
    return plain and isinstance(inner.get("classifier"), str)


def _names_transfer(inner: Mapping[str, Any]) -> bool:
    seed = inner.get("untrained_seed")
    return (
        all(isinstance(inner.get(k), str) for k in ("backbone", "adaptation"))
        and not set("*?[") & set(inner["backbone"])
        and isinstance(inner.get("method"), dict)
        and (seed is None or _is_seed(seed))
    )


def _names_ensemble(inner: Mapping[str, Any]) -> bool:
    weights = inner.get("weights")
    return (
        isinstance(weights, list)
        and 0 < len(weights) <= _MOST_MEMBERS
        and all(isinstance(w, float | int) and 0 < w <= 1 for w in weights)
        and abs(sum(weights) - 1) < 1e-6
    )


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
