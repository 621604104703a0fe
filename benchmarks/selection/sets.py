"""The zoo's labelled sets: names, families and reading."""

import csv
import gzip
import sys
from pathlib import Path
from typing import Any

# A family is what is left out together: sets that share a kind of content or task.
IMAGES = {
    "clothing10": "objects",
    "trashnet6": "objects",
    "cifar10_small": "objects",
    "dtd10": "textures",
    "gtsrb43": "signs",
    "elpv2": "industrial",
    "signdigits10": "hands",
    "pneumonia2": "medical",
    "omniglot100": "characters",
    "da_digits_mnist": "digits",
    "da_digits_usps": "digits",
    "da_digits_mnistm": "digits",
}
TEXTS = {
    "trec6": "intents",
    "clinc150": "intents",
    "snips7": "intents",
    "sst2": "sentiment",
    "subj": "sentiment",
    "sentiment/books": "sentiment",
    "sentiment/dvd": "sentiment",
    "sentiment/electronics": "sentiment",
    "sentiment/kitchen": "sentiment",
    "sentiment/airline": "sentiment",
    "ag_news": "topics",
    "mag_titles7": "topics",
    "sms_spam": "spam",
    "hate_offensive": "tone",
    "tweet_irony": "tone",
    "germeval18_de": "tone",
}
FAMILIES = {**IMAGES, **TEXTS}


def load(zoo: Path, name: str) -> dict[str, Any]:
    """Return X, y, X_holdout and y_holdout of one set."""
    return _texts(zoo / "text" / f"{name}.csv.gz") if name in TEXTS else _images(zoo, name)


def _texts(path: Path) -> dict[str, Any]:
    parts: dict[str, Any] = {"X": [], "y": [], "X_holdout": [], "y_holdout": []}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            suffix = "_holdout" if row["split"] == "test" else ""
            parts["X" + suffix].append(row["text"])
            parts["y" + suffix].append(row["label"])
    return parts


def _images(zoo: Path, name: str) -> dict[str, Any]:
    sys.path.insert(0, str(zoo))
    import zoo as reader  # type: ignore[import-not-found]  # lies beside the data

    parts: dict[str, Any] = {}
    for split, suffix in (("train", ""), ("test", "_holdout")):
        images, y, names = reader.load(zoo / "images" / f"{name}.npz", split)
        parts["X" + suffix] = images
        parts["y" + suffix] = [names[code] for code in y]
    return parts
