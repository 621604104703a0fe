"""First-party adaptation methods, one file each, listed by what they learn from."""

from collections.abc import Iterator

import autotl


@autotl.hookimpl
def autotl_adaptations() -> Iterator[autotl.AdaptationSpec]:
    """Describe the methods; those that need nothing but labelled samples come first."""
    from autotl_adaptation import source, supervised, unlabeled

    yield from supervised.probes()
    yield from supervised.full_tuning()
    yield from supervised.partial_tuning()
    yield from unlabeled.methods()
    yield from source.methods()
