"""The guarded search: floor, screening, study, finish."""

from autotl.search.call import Plan, plan, search
from autotl.search.occupying import occupied
from autotl.search.prepare import download, prepare
from autotl.search.progress import Progress, SilentProgress, make_progress
from autotl.search.resuming import read_run

__all__ = [
    "Plan",
    "Progress",
    "SilentProgress",
    "download",
    "make_progress",
    "occupied",
    "plan",
    "prepare",
    "read_run",
    "search",
]
