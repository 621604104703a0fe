"""Fine-tune on the classes of both domains as they are.

What every method that aligns domains while it trains must beat; where the target has no labels,
it is fine-tuning on the source alone.
"""

from collections.abc import Generator

from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.source.training import SourceClasses, both_domains


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch."""
    yield from both_domains(task, state, SourceClasses())
