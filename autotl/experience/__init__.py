"""What past runs left behind, and what it says of the data at hand."""

from autotl.experience.advice import Advice, Configuration, Gain, SimilarRun, advise
from autotl.experience.fingerprint import DataFingerprint, Moments, describe, embedder, similarity
from autotl.experience.memory import recall, remember
from autotl.experience.record import CurvePoint, RunRecord, TrialRecord
from autotl.experience.store import ExperienceStore, experience_file

__all__ = [
    "Advice",
    "Configuration",
    "CurvePoint",
    "DataFingerprint",
    "ExperienceStore",
    "Gain",
    "Moments",
    "RunRecord",
    "SimilarRun",
    "TrialRecord",
    "advise",
    "describe",
    "embedder",
    "experience_file",
    "recall",
    "remember",
    "similarity",
]
