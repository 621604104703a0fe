"""From what the user hands in to a checked task with its splits."""

from autotl.data.datasets import brings_labels, read_dataset, unlabelled
from autotl.data.extra import Source
from autotl.data.lazy import Samples
from autotl.data.metric import Metric, choose_metric, metric_names
from autotl.data.raw import RawData, SkippedSample
from autotl.data.read import read
from autotl.data.samples import UsableSamples, find_modality, usable_samples
from autotl.data.splits import Fold, Split
from autotl.data.task import Task, build_task

__all__ = [
    "Fold",
    "Metric",
    "RawData",
    "Samples",
    "SkippedSample",
    "Source",
    "Split",
    "Task",
    "UsableSamples",
    "brings_labels",
    "build_task",
    "choose_metric",
    "find_modality",
    "metric_names",
    "read",
    "read_dataset",
    "unlabelled",
    "usable_samples",
]
