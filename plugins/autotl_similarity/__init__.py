"""First-party similarity measures, one file each."""

from collections.abc import Iterator

import autotl


@autotl.hookimpl
def autotl_similarities() -> Iterator[autotl.SimilaritySpec]:
    """Describe the measures."""
    yield from ()
