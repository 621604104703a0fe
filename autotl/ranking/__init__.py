"""Which backbones are close to the data: scores, similarity, prior, shortlist."""

from autotl.ranking.evidence import Evidence
from autotl.ranking.prior import Expectation, Prior
from autotl.ranking.ranked import RankedBackbone, Ranking, rank_backbones
from autotl.ranking.screening import RUNGS, Screened, Screening, nested_order
from autotl.ranking.similarity import Source

__all__ = [
    "RUNGS",
    "Evidence",
    "Expectation",
    "Prior",
    "RankedBackbone",
    "Ranking",
    "Screened",
    "Screening",
    "Source",
    "nested_order",
    "rank_backbones",
]
