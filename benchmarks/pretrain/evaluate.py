"""Probe every embedded backbone on the zoo and write the tables of docs/backbones/index.md.

Command: `python benchmarks/pretrain/evaluate.py`

Figures are kept in `--work` by the digest of the weights, so that the command can be repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, ZOO, device
from probing import IMAGES, LABELS, TEXTS, DataSet, embed, probe, raw, read_set
from tables import Row, write_card, write_page
from teacher import teacher_folder

import autotl
from autotl.registry import get_registry
from autotl.shelf import open_shelf

MOBILENETS = (
    "local/mobilenetv1_025_imagenet128",
    "local/mobilenetv1_050_imagenet160",
    "local/mobilenetv1_075_imagenet192",
    "local/mobilenetv2_100_imagenet224",
)
MINILM = "all-MiniLM-L6-v2"


class Scores:
    """Accuracies by row, set and labels per class, written after every new one.

    Args:
        path: JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def missing(self, row: Row, name: str) -> bool:
        """Tell whether a row has not been measured on a set."""
        return any(self._key(row, name, labels) not in self.values for labels in LABELS)

    def add(self, row: Row, name: str, labels: int | None, value: float) -> None:
        """Keep an accuracy."""
        self.values[self._key(row, name, labels)] = value
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.values, indent=1, sort_keys=True))
        part.replace(self._path)

    def get(self, row: Row, name: str, labels: int | None) -> float | None:
        """Return an accuracy, or None where there is none."""
        return self.values.get(self._key(row, name, labels))

    @staticmethod
    def _key(row: Row, name: str, labels: int | None) -> str:
        return f"{row.name} {row.digest} {name} {labels or 'all'}"


def untrained(loaded: autotl.LoadedBackbone, seed: int = 0) -> autotl.LoadedBackbone:
    """Draw every parameter of a backbone anew, as its modules do when they are built."""
    torch.manual_seed(seed)
    for module in loaded.module.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return loaded


def rows(modality: str, zoo: Path) -> Iterator[Row]:
    """Yield what is compared: features without transfer, the embedded backbones, the zoo's."""
    registry = get_registry()
    for feature in registry.modalities.get(modality).raw_features:
        yield Row(name=feature.name, kind="raw", source=feature)
    embedded = [s for s in registry.backbones if s.name.startswith("embedded/")]
    embedded = [s for s in embedded if s.modality == modality and s.unavailable() is None]
    for spec in embedded:
        digest = spec.weights_digest() if spec.weights_digest else ""
        yield Row(name=spec.name, kind="embedded", source=spec, digest=digest[:12])
    for spec in embedded:
        yield Row(name=f"{spec.name}, untrained", kind="untrained", source=spec)
    if modality == "text":
        yield Row(name=MINILM, kind="zoo", source=None)
        return
    for spec in open_shelf(modality="image", weights=zoo / "weights", backbones=MOBILENETS).usable:
        yield Row(name=spec.name, kind="zoo", source=spec)


def features_of(row: Row, data: DataSet, cache: dict[str, Any]) -> Any:
    """Return what `probe` takes, loading the backbone of a row once."""
    if row.kind == "raw":
        return raw(row.source, data)
    where = str(device())
    if row.kind == "zoo":
        # The comparisons are the largest networks here; half precision leaves probes as they are.
        with torch.autocast(where.split(":")[0], torch.bfloat16):
            return _zoo_features(row, data, cache, where)
    if row.name not in cache:
        cache.clear()
        loaded = row.source.load(where)
        cache[row.name] = untrained(loaded) if row.kind == "untrained" else loaded
    return embed(cache[row.name], data.samples, where)


def _zoo_features(row: Row, data: DataSet, cache: dict[str, Any], where: str) -> np.ndarray:
    if row.name == MINILM:
        texts, encoder = list(data.samples), minilm()
        return encoder.encode(texts, batch_size=32, show_progress_bar=False).astype(np.float32)
    if row.name not in cache:
        cache.clear()
        cache[row.name] = row.source.load(where)
    return embed(cache[row.name], data.samples, where)


_MINILM: list[Any] = []


def minilm() -> Any:
    """Return the teacher, loaded once."""
    from sentence_transformers import SentenceTransformer

    if not _MINILM:
        _MINILM.append(SentenceTransformer(str(teacher_folder()), device=str(device())))
    return _MINILM[0]


def measure(modality: str, zoo: Path, names: tuple[str, ...], only: str, scores: Scores) -> None:
    """Fill in the missing accuracies of one modality."""
    for row in rows(modality, zoo):
        cache: dict[str, Any] = {}
        if only not in row.name:
            continue
        for name in names:
            if not scores.missing(row, name):
                continue
            start = time.monotonic()
            data = read_set(zoo, name)
            features = features_of(row, data, cache)
            found = []
            for labels in LABELS:
                found.append(probe(data, features, labels))
                scores.add(row, name, labels, found[-1])
            shown = " ".join(f"{value:.3f}" for value in found)
            print(f"{row.name} {name}: {shown} ({time.monotonic() - start:.0f} s)", flush=True)


def speed(zoo: Path, n_rounds: int = 3) -> dict[str, float]:
    """Return texts a second of each text encoder, medians of alternating rounds on one thread."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = [text for name in TEXTS[:-1] for text in read_set(zoo, name).samples[:20]]
    registry, where = get_registry(), "cpu"
    names = [s.name for s in registry.backbones if s.name.startswith("embedded/")]
    loaded = {
        name: registry.backbones.get(name).load(where)
        for name in names
        if registry.backbones.get(name).modality == "text"
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*loaded, MINILM)}
    for number in range(n_rounds + 1):
        for name in seconds:
            start = time.perf_counter()
            if name == MINILM:
                minilm().to(where).encode(texts, batch_size=32, show_progress_bar=False)
            else:
                embed(loaded[name], texts, where)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: len(texts) / float(np.median(values)) for name, values in seconds.items()}


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=ZOO)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "backbones" / "index.md")
    parser.add_argument("--modality", choices=("image", "text"), help="only these")
    parser.add_argument("--only", default="", help="only rows whose name has this part")
    parser.add_argument("--no-page", action="store_true", help="measure only")
    parser.add_argument("--page-only", action="store_true", help="leave gaps where none is kept")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    sets = {"image": IMAGES, "text": TEXTS}
    for modality, names in sets.items():
        if not arguments.page_only and arguments.modality in (None, modality):
            scores = Scores(arguments.work / f"probes-{modality}.json")
            measure(modality, arguments.zoo, names, arguments.only, scores)
    if arguments.no_page:
        return
    kept = {m: Scores(arguments.work / f"probes-{m}.json") for m in sets}
    listed = {m: list(rows(m, arguments.zoo)) for m in sets}
    write_page(arguments.page, listed, sets, kept, speed(arguments.zoo))
    for modality, names in sets.items():
        for row in listed[modality]:
            if row.kind == "embedded":
                card = arguments.page.parent / f"{row.name.split('/')[1]}.md"
                write_card(card, row, listed[modality], names, kept[modality])


if __name__ == "__main__":
    main()
