"""First-party transferability scores, one file each."""

from collections.abc import Iterator

import autotl


@autotl.hookimpl
def autotl_scores() -> Iterator[autotl.ScoreSpec]:
    """Describe the scores."""
    yield from ()
