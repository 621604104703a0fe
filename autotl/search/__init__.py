"""The guarded search: floor, screening, study, finish."""

from autotl.search.call import Plan, plan, search
from autotl.search.progress import Progress, SilentProgress, make_progress

__all__ = ["Plan", "Progress", "SilentProgress", "make_progress", "plan", "search"]
