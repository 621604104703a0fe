"""The fitted model: predict, report, save and load."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotl.data import Metric, unlabelled, usable_samples
from autotl.errors import InvalidDataError, ModelFormatError, OutputExistsError
from autotl.registry import get_registry
from autotl.result.device import check_device
from autotl.result.predictors import SamplePredictor
from autotl.result.saved import decode_label, encode_label, read_json, write_json
from autotl.result.stored import Reader, read_config, write_predictor
from autotl.specs import ModalitySpec

if TYPE_CHECKING:
    import pandas as pd


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
        floor: SamplePredictor | None = None,
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
        facts = {
            "modality": self.modality.name,
            "classes": [encode_label(c) for c in self.classes],
            "metric": self.metric,
            "directories": self.directories,
        }
        write_predictor(folder, self._predictor, facts)
        if self.floor is not None and self.floor is not self._predictor:
            (folder / "floor").mkdir(exist_ok=True)
            write_predictor(folder / "floor", self.floor, facts)


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
    config = read_config(folder).config
    modality = get_registry().modalities.get(config["modality"])
    reader = Reader(
        modality=modality, directories=config["directories"], weights=weights, device=device
    )
    predictor = reader.read(folder)
    result_path = outer / "result.json"
    result = read_json(result_path) if result_path.exists() else _bare_result(config)
    floor: SamplePredictor | None = predictor if result.get("shipped") == "floor" else None
    if floor is None and (folder / "floor" / "model.json").exists():
        floor = reader.read(folder / "floor")
    return FittedModel(
        predictor,
        modality,
        [decode_label(c) for c in config["classes"]],
        config["metric"],
        result,
        config["directories"],
        floor,
    )


def _bare_result(config: Any) -> dict[str, Any]:
    shipped = "floor" if config["kind"] == "floor" else "transfer"
    return {"verdict": "inconclusive", "best": None, "leaderboard": [], "shipped": shipped}
