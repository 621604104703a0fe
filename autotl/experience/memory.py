"""What a search or a ranking asks of experience: no trouble with it may cost a result."""

from collections.abc import Callable

from autotl.experience.advice import MOST_RUNS, Advice, advise
from autotl.experience.fingerprint import DataFingerprint, similarity
from autotl.experience.record import RunRecord
from autotl.experience.store import ExperienceStore

__all__ = ["recall", "remember"]

OnProblem = Callable[[str], None]


def recall(
    fingerprint: DataFingerprint, device: str, on_problem: OnProblem = lambda text: None
) -> Advice:
    """Return what earlier runs say of data; nothing where that is off or cannot be read.

    Args:
        fingerprint: Of the data at hand.
        device: Where trials will run; times of other kinds of device do not count.
        on_problem: Takes a sentence that says why nothing can be read.
    """
    try:
        store = ExperienceStore.from_environment()
        return advise(_like(store, fingerprint) if store else [], fingerprint, device)
    except Exception as error:  # noqa: BLE001  # a search is worth more than advice
        on_problem(f"Nothing was learnt from earlier runs: {error}")
        return advise([], fingerprint, device)


def remember(build: Callable[[], RunRecord], on_problem: OnProblem = lambda text: None) -> bool:
    """Keep the record of a run for later ones; False where that is off or not possible.

    Args:
        build: Returns the record, only called where it will be kept.
        on_problem: Takes a sentence that says why it cannot be kept.
    """
    try:
        store = ExperienceStore.from_environment()
        return store is not None and store.add([build()]) > 0
    except Exception as error:  # noqa: BLE001  # the search is done, and its result stands
        on_problem(f"Later runs will not learn from this one: {error}")
        return False


def _like(store: ExperienceStore, fingerprint: DataFingerprint) -> list[RunRecord]:
    """Return the runs on the most similar data, since reading all of them takes seconds."""
    known = store.fingerprints(fingerprint.modality)
    known.sort(key=lambda run: -similarity(run[1], fingerprint))
    return store.runs(ids=[name for name, _ in known[:MOST_RUNS]])
