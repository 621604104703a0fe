"""Which backbones are close to the data: scores, similarity, prior, shortlist."""

from autotl.ranking.evidence import Evidence
from autotl.ranking.prior import Expectation, MethodGain, Prior
from autotl.ranking.ranked import RankedBackbone, Ranking, rank_backbones
from autotl.ranking.screening import RUNGS, Screened, Screening, rungs_before_trials
from autotl.ranking.similarity import Source, brings, domain_sample
from autotl.ranking.subsample import nested_order

__all__ = [
    "RUNGS",
    "Evidence",
    "Expectation",
    "MethodGain",
    "Prior",
    "RankedBackbone",
    "Ranking",
    "Screened",
    "Screening",
    "Source",
    "brings",
    "domain_sample",
    "nested_order",
    "rank_backbones",
    "rungs_before_trials",
]
