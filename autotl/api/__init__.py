"""The Python interface: fit, rank, load, and the same from a path for the command line."""

from autotl.api.comparing import Comparison, similarity, similarity_source
from autotl.api.fitting import fit, fit_source, plan_source
from autotl.api.predicting import Predictions, predict_source
from autotl.api.ranking import rank, rank_source
from autotl.api.resuming import resume
from autotl.result.model import load

__all__ = [
    "Comparison",
    "Predictions",
    "fit",
    "fit_source",
    "load",
    "plan_source",
    "predict_source",
    "rank",
    "rank_source",
    "resume",
    "similarity",
    "similarity_source",
]
