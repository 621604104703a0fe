"""First-party kinds of samples: images and texts."""

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import autotl


def _call(module: str, attribute: str, *args: Any) -> Any:
    return getattr(importlib.import_module(f"autotl_modalities.{module}"), attribute)(*args)


def _later(module: str, attribute: str) -> Callable[..., Any]:
    """Refer to a function without importing its module; unlike a lambda, this can be pickled."""
    return partial(_call, module, attribute)


@autotl.hookimpl
def autotl_modalities() -> Iterator[autotl.ModalitySpec]:
    """Describe images and texts."""
    yield autotl.ModalitySpec(
        name="image",
        summary="Images from arrays, PIL images or files.",
        accepts=_later("image", "accepts"),
        as_samples=_later("image", "as_samples"),
        fingerprint=_later("image", "fingerprint"),
        raw_features=(
            autotl.RawFeatureSpec(
                name="pixels",
                summary="Pixels of the image shrunk to at most 16 x 16.",
                fit=_later("image_features", "fit_pixels"),
                transform=_later("image_features", "pixels"),
                cost=1.0,
            ),
            autotl.RawFeatureSpec(
                name="hog",
                summary="Histograms of oriented gradients of the grey image.",
                reference="Dalal and Triggs, Histograms of Oriented Gradients, CVPR 2005",
                fit=_later("image_features", "fit_hog"),
                transform=_later("image_features", "hog"),
                cost=4.0,
            ),
        ),
        augment=_later("image_augment", "augment"),
    )
    yield autotl.ModalitySpec(
        name="text",
        summary="Texts of any length, one str each.",
        accepts=_later("text", "accepts"),
        as_samples=_later("text", "as_samples"),
        fingerprint=_later("text", "fingerprint"),
        raw_features=(
            autotl.RawFeatureSpec(
                name="tfidf_words",
                summary="TF-IDF of words and pairs of words.",
                fit=_later("text_features", "fit_words"),
                transform=_later("text_features", "tfidf"),
                cost=1.0,
            ),
            autotl.RawFeatureSpec(
                name="tfidf_words_chars",
                summary="TF-IDF of words, pairs of words and 3 to 5 characters.",
                fit=_later("text_features", "fit_words_chars"),
                transform=_later("text_features", "tfidf"),
                cost=4.0,
            ),
        ),
    )
