"""One search at a time in a run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autotl.errors import SearchError

LOCK = ".search.lock"


@contextmanager
def occupied(folder: str | Path) -> Iterator[None]:
    """Keep other searches out of a run folder; with its process, a lock ends too.

    Workers of the search are a part of it, and reading what a run has left needs no lock.

    Raises:
        SearchError: Another search is at work in the folder.
    """
    lock = FileLock(Path(folder) / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SearchError(
            f"Another search is at work in the run folder {str(folder)!r}. Wait until it has "
            "ended, or stop it with Ctrl-C, then resume; to search at the same time, give "
            "another --out."
        ) from None
    except (NotImplementedError, OSError):
        pass  # a file system without locks may hold runs too
    try:
        yield
    finally:
        lock.release()
