"""Tabulated learning curves played back in simulated time: what searches are judged by.

    oracle = Oracle.load(Path("curves.parquet"))
    curve = oracle.curve("trec6", "text/minilm-3", "lp_ft", {"freeze_fraction": 0.5, "lr": 2e-4})

A row of the table is one configuration of one backbone on one set, measured after every step by
`curves.py`; SCHEMA says what it holds. Plain NumPy, and pyarrow for Parquet.
"""

import base64
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FLOOR = "floor"  # the method of rows about raw features
FROZEN = "frozen"  # of rows about what a backbone costs before anything is fitted
PARTS = ("validation", "test", "guard")
VIEWS = 4  # that the engine keeps of augmented samples, by default
SCHEMA = {
    "set": "string", "family": "string", "modality": "string",
    "n_classes": "int32", "n_train": "int32",  # samples that were fitted on
    "n_validation": "int32", "n_test": "int32", "n_guard": "int32",  # 0: no guard block
    "backbone": "string",  # of a floor, its name
    "input_side": "int32", "source_domain": "string", "n_params": "int64",
    "method": "string", "params": "string",  # JSON, keys sorted
    "seed": "int32", "round": "string",
    "freeze_depth": "int32", "n_groups": "int32",
    "start": "int32",  # the cut whose activations were read
    "planned_steps": "int32",
    "state": "string", "reason": "string",  # "complete" or "failed"
    "choice": "float64",  # of a floor: what it is chosen by, cross-validated inside train
    # One value a step.
    "validation": "list", "log_loss": "list", "test": "list", "guard": "list",
    "seconds": "list",  # CPU: training and validation prediction on kept activations
    "wall_seconds": "list",
    # CPU seconds a sample, paid once: to embed, to compute activations at `start`, to augment.
    "embed_seconds": "float64", "extract_seconds": "float64", "augment_seconds": "float64",
    "best_step": "int32",  # from 1; by validation, then log-loss; 0 where no step was taken
    # Which samples were right at the best and at the last step, np.packbits.
    **{f"{part}_{at}": "binary" for part in PARTS for at in ("best", "last")},
}  # fmt: skip

# What one unit of distance is, between what is asked for and what is tabulated.
_UNITS = {"lr": math.log(10) / 2, "weight_decay": math.log(10), "epochs": math.log(3)}
_FRACTION_UNIT = 0.25
_AUGMENT_UNIT = 0.7
_OTHER_CHOICE = 1.0


def lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what was measured; a line that was cut short is left out."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def pack(correct: np.ndarray) -> str:
    """Return booleans of shape (n,) as JSON can hold them."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack(bits: str | bytes | None, n: int) -> np.ndarray:
    """Return booleans of shape (n,) from what `pack` returned, or from its bytes."""
    raw = base64.b64decode(bits) if isinstance(bits, str) else bits or b""
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=n).astype(bool)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, or those in a folder of JSON lines."""
    if path.is_dir():
        return [row for row in lines(path) if row["method"] != FROZEN]
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as Parquet."""
    import pyarrow
    import pyarrow.parquet

    values = pyarrow.list_(pyarrow.float32())
    kinds = {n: values if k == "list" else getattr(pyarrow, k)() for n, k in SCHEMA.items()}
    written = [{**row, **_bits(row)} for row in rows]
    table = pyarrow.Table.from_pylist(written, schema=pyarrow.schema(kinds.items()))
    pyarrow.parquet.write_table(table, path, compression="zstd")


def _bits(row: Mapping[str, Any]) -> dict[str, bytes]:
    names = [name for name, kind in SCHEMA.items() if kind == "binary"]
    return {name: base64.b64decode(row.get(name) or "") for name in names}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One configuration, step by step; arrays are of shape (n_steps,).

    Args:
        row: All that is tabulated, see SCHEMA.
        validation: Accuracy.
        log_loss: Of the validation samples, nats.
        test: Accuracy.
        guard: Accuracy; empty without a guard block.
        seconds: CPU seconds of each step.
        distance: Between what was asked for and what is tabulated; 0 is the same.
    """

    row: Mapping[str, Any]
    validation: np.ndarray
    log_loss: np.ndarray
    test: np.ndarray
    guard: np.ndarray
    seconds: np.ndarray
    distance: float = 0.0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Curve":
        """Return a row of the table as a curve."""
        validation, log_loss, test, guard, seconds = (
            np.asarray(row[name] or (), float)
            for name in ("validation", "log_loss", "test", "guard", "seconds")
        )
        return cls(
            row=row,
            validation=validation,
            log_loss=log_loss,
            test=test,
            guard=guard,
            seconds=seconds,
        )

    def __len__(self) -> int:
        return len(self.validation)

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters that were measured."""
        found: dict[str, Any] = json.loads(self.row["params"])
        return found

    @property
    def embedding_seconds(self) -> float:
        """CPU seconds to embed all training and validation samples, paid once a backbone."""
        n_samples = self.row["n_train"] + self.row["n_validation"]
        return float(n_samples * self.row["embed_seconds"])

    @property
    def extraction_seconds(self) -> float:
        """CPU seconds to compute what the fit reads at its cut, paid once a cut and augmentation.

        Zero for what reads embeddings or samples: the former are counted as such, and the latter
        are read in the first step.
        """
        row, augmented = self.row, self.params.get("augment", 0.0) > 0
        if row["start"] in (0, row["n_groups"]) and not (augmented and row["start"]):
            return 0.0
        trained = row["n_train"] * row["extract_seconds"]
        if augmented:
            trained = VIEWS * (trained + row["n_train"] * row["augment_seconds"])
        if row["start"] < row["n_groups"]:
            trained += row["n_validation"] * row["extract_seconds"]
        return float(trained)

    @property
    def failed(self) -> bool:
        """Whether it ended with values that are not finite, after the steps it has."""
        return bool(self.row["state"] == "failed")

    def best_step(self, n_steps: int | None = None) -> int:
        """Return the step, from 1, that the engine keeps of the first `n_steps`; 0 of none."""
        shown = slice(None, n_steps)
        keys = list(zip(self.validation[shown], -self.log_loss[shown], strict=True))
        return max(range(len(keys)), key=keys.__getitem__) + 1 if keys else 0

    def test_after(self, n_steps: int | None = None) -> float:
        """Return the test accuracy of the step that is kept; NaN where there is none."""
        step = self.best_step(n_steps)
        return float(self.test[step - 1]) if step else float("nan")

    def correct(self, part: str, at: str = "best") -> np.ndarray:
        """Return which samples of a part were right at the tabulated best or last step."""
        return unpack(self.row[f"{part}_{at}"], self.row[f"n_{part}"])

    def stretched(self, n_steps: int) -> "Curve":
        """Return the curve laid out over another number of planned steps.

        A schedule is laid out over its plan, so that steps at the same share of it are alike;
        values between two steps are interpolated, and a step costs what it costs on average.
        """
        n, planned = len(self), int(self.row["planned_steps"])
        if n_steps == planned or not n:
            return self
        kept = max(1, round(n_steps * n / planned))
        here, there = (np.arange(n) + 1) / planned, (np.arange(kept) + 1) / n_steps

        def at(values: np.ndarray) -> np.ndarray:
            return np.interp(there, here, values) if len(values) else values

        return replace(
            self,
            validation=at(self.validation),
            log_loss=at(self.log_loss),
            test=at(self.test),
            guard=at(self.guard),
            seconds=np.full(kept, self.seconds.mean()),
        )


class Oracle:
    """The table, by set and configuration.

    Args:
        rows: See SCHEMA.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._curves: dict[tuple[str, str, str], list[Curve]] = defaultdict(list)
        self._floors: dict[str, list[Curve]] = defaultdict(list)
        for row in sorted(rows, key=lambda r: (r["set"], r["backbone"], r["method"], r["params"])):
            if row["method"] == FLOOR:
                self._floors[row["set"]].append(Curve.of(row))
            else:
                self._curves[row["set"], row["backbone"], row["method"]].append(Curve.of(row))

    @classmethod
    def load(cls, path: Path) -> "Oracle":
        """Read a Parquet file, or a folder of JSON lines that `curves.py` is still adding to."""
        return cls(read_rows(path))

    def sets(self) -> list[str]:
        """Return the names of the sets."""
        return sorted({name for name, _, _ in self._curves})

    def backbones(self, name: str) -> list[str]:
        """Return the names of the backbones that have curves on a set."""
        return sorted({b for s, b, _ in self._curves if s == name})

    def methods(self, name: str, backbone: str) -> list[str]:
        """Return the methods that have curves of a backbone on a set."""
        return sorted(m for s, b, m in self._curves if (s, b) == (name, backbone))

    def curves(self, name: str, backbone: str, method: str) -> list[Curve]:
        """Return all that is tabulated of a method with a backbone on a set.

        Raises:
            KeyError: Nothing is.
        """
        key = (name, backbone, method)
        if key not in self._curves:
            raise KeyError(f"no curve of {method!r} with {backbone!r} on {name!r} in the table")
        return self._curves[key]

    def curve(self, name: str, backbone: str, method: str, params: Mapping[str, Any]) -> Curve:
        """Return the nearest tabulated curve, stretched to the epochs that are asked for.

        See `distance`; the first in the order of the table where two are equally near.

        Raises:
            KeyError: Nothing is tabulated for this method, backbone and set.
        """
        found = self.curves(name, backbone, method)
        distances = [distance(curve, params) for curve in found]
        nearest = int(np.argmin(distances))
        curve = replace(found[nearest], distance=distances[nearest])
        return curve.stretched(int(params["epochs"])) if "epochs" in params else curve

    def floor(self, name: str) -> Curve:
        """Return the floor of a set: the best raw-feature model by cross-validation.

        Raises:
            KeyError: The set has none in the table.
        """
        if name not in self._floors:
            raise KeyError(f"no floor of {name!r} in the table")
        return max(self._floors[name], key=lambda curve: curve.row["choice"])

    def floor_seconds(self, name: str) -> float:
        """Return the CPU seconds that measuring all raw-feature models of a set took."""
        return float(sum(curve.seconds.sum() for curve in self._floors.get(name, ())))

    def best(self, name: str) -> float:
        """Return the best test accuracy of any step, floor included: no search can ship more.

        Every step counts, since time, patience or a pruner may end a trial after any of them.
        """
        found = [c for (s, _, _), curves in self._curves.items() if s == name for c in curves]
        if name in self._floors:
            found.append(self.floor(name))
        return max(float(curve.test.max()) for curve in found if len(curve))


def distance(curve: Curve, params: Mapping[str, Any]) -> float:
    """Return how far parameters are from a tabulated curve's; what is not given costs nothing.

    The sum over: the share of frozen layer groups, in quarters and after rounding to a depth;
    learning rate in half decades, weight decay in decades, epochs in factors of three, all on a
    logarithmic scale; augmentation in units of 0.7 (where the modality has none, all curves have
    0); and 1 for each other choice that differs.
    """
    total, own = 0.0, curve.params
    for name, wanted in params.items():
        if name == "freeze_fraction":
            n_groups = max(1, int(curve.row["n_groups"]))
            depth = min(n_groups, int(float(wanted) * n_groups + 0.5))
            total += abs(depth - curve.row["freeze_depth"]) / n_groups / _FRACTION_UNIT
        elif name not in own:
            continue
        elif name in _UNITS:
            total += abs(math.log(wanted / own[name])) / _UNITS[name]
        elif name == "augment":
            total += abs(wanted - own[name]) / _AUGMENT_UNIT
        else:
            total += _OTHER_CHOICE * (wanted != own[name])
    return total
