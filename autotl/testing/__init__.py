"""Contract suites and fakes for plugin authors."""

from autotl.testing.contracts import (
    check_adaptation,
    check_backbone,
    check_modality,
    check_score,
    check_similarity,
)
from autotl.testing.fakes import (
    ArrayInputs,
    fake_adaptation,
    fake_backbone,
    fake_modality,
    fake_score,
    fake_similarity,
    jitter,
    toy_images,
)

__all__ = [
    "ArrayInputs",
    "check_adaptation",
    "check_backbone",
    "check_modality",
    "check_score",
    "check_similarity",
    "fake_adaptation",
    "fake_backbone",
    "fake_modality",
    "fake_score",
    "fake_similarity",
    "jitter",
    "toy_images",
]
