"""Records of runs in one SQLite file, shared by processes and bounded."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.errors import AutotlError, InvalidDataError, ModelFormatError
from autotl.experience.fingerprint import DataFingerprint
from autotl.experience.record import MALFORMED, RunRecord, as_json

if TYPE_CHECKING:
    import sqlite3

__all__ = ["ExperienceStore", "experience_file"]

_VARIABLE, _OFF = "AUTOTL_EXPERIENCE", "off"
_SCHEMA = 1
_APPLICATION = 0x61746C78  # "atlx": tells the file from those of other programs
_BUSY_SECONDS = 10.0
_MOST_RUNS, _MOST_BYTES = 1000, 100 * 10**6
_TABLE = (
    "CREATE TABLE runs (id TEXT PRIMARY KEY, finished_at REAL NOT NULL, modality TEXT NOT NULL, "
    "fingerprint TEXT NOT NULL, record TEXT NOT NULL)"
)
_FORGET_OLD = """
    DELETE FROM runs WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER newest AS place, sum(length(record)) OVER newest AS total
            FROM runs WINDOW newest AS (ORDER BY finished_at DESC, id)
        ) WHERE place > ? OR (total > ? AND place > 1)
    )
"""


def experience_file() -> Path | None:
    """Return where this user's experience is: AUTOTL_EXPERIENCE, or the system's place for it.

    None where the variable is "off".

    Raises:
        InvalidDataError: The variable names a home folder that does not exist.
    """
    import platformdirs

    given = os.environ.get(_VARIABLE, "").strip()
    if given.lower() == _OFF:
        return None
    if not given:
        return Path(platformdirs.user_data_dir("autotl")) / "experience.sqlite3"
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:  # "~name" of nobody
        raise InvalidDataError(
            f"{_VARIABLE} is {given!r}, and there is no such home folder; expected the path of a "
            f"file, or {_OFF!r}."
        ) from error


class ExperienceStore:
    """Records of runs in one file.

    The journal is SQLite's default: a run writes once, so a write-ahead log would gain nothing,
    and would need more files beside this one and a file system that shares memory.

    Args:
        path: The file, created when a record is first added.
        most_runs: The newest that are kept.
        most_bytes: Of all records together.
    """

    def __init__(
        self, path: Path, *, most_runs: int = _MOST_RUNS, most_bytes: int = _MOST_BYTES
    ) -> None:
        self.path, self.most_runs, self.most_bytes = path, most_runs, most_bytes

    @classmethod
    def from_environment(cls) -> "ExperienceStore | None":
        """Return this user's store; None where it is switched off.

        Raises:
            InvalidDataError: AUTOTL_EXPERIENCE names a home folder that does not exist.
        """
        path = experience_file()
        return None if path is None else cls(path)

    def add(self, records: Iterable[RunRecord]) -> int:
        """Keep records and forget the oldest beyond the bounds; return how many were new.

        Raises:
            ModelFormatError: The file is damaged, of another program or of a newer autotl.
            OSError: It cannot be written.
        """
        rows = [
            (r.id, r.finished_at, r.fingerprint.modality, as_json(r.fingerprint), r.to_json())
            for r in records
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        with self._transaction() as db:
            if _is_new(db):
                db.execute(_TABLE)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {_SCHEMA}")
            before = db.total_changes
            db.executemany("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", rows)
            added = db.total_changes - before
            db.execute(_FORGET_OLD, (self.most_runs, self.most_bytes))
        return added

    def runs(
        self,
        *,
        ids: Sequence[str] | None = None,
        newest: int = -1,
        on_damaged: Callable[[str], None] = lambda _id: None,
    ) -> list[RunRecord]:
        """Return records, newest first; none where there is no file.

        Args:
            ids: Of these only.
            newest: At most so many; all unless said.
            on_damaged: Takes the id of each record that cannot be read.

        Raises:
            ModelFormatError: The file is damaged, of another program or of a newer autotl.
            OSError: It cannot be read.
        """
        chosen = "1" if ids is None else _among(ids)
        rows = self._select(
            f"SELECT id, record FROM runs WHERE {chosen} "
            f"ORDER BY finished_at DESC, id LIMIT {newest}",
            ids or (),
        )
        found = []
        for name, text in rows:
            try:
                found.append(RunRecord.from_json(text))
            except ModelFormatError:
                on_damaged(str(name))
        return found

    def fingerprints(self, modality: str) -> list[tuple[str, DataFingerprint]]:
        """Return ids and fingerprints of a modality; a tenth of the work of reading all records.

        Raises:
            ModelFormatError: The file is damaged, of another program or of a newer autotl.
            OSError: It cannot be read.
        """
        found = []
        for name, text in self._select(
            "SELECT id, fingerprint FROM runs WHERE modality = ? ORDER BY finished_at DESC, id",
            (modality,),
        ):
            with contextlib.suppress(*MALFORMED):
                found.append((str(name), DataFingerprint.from_dict(json.loads(text))))
        return found

    def n_runs(self) -> int:
        """Count the records."""
        return int(sum(n for (n,) in self._select("SELECT count(*) FROM runs", ())))

    def forget(self, *, ids: Sequence[str] | None = None, before: float | None = None) -> int:
        """Remove records, overwrite what they said, and return how many there were.

        Args:
            ids: Of these only.
            before: Of runs that ended earlier only, in seconds since 1970.

        Raises:
            ModelFormatError: The file is damaged, of another program or of a newer autotl.
            OSError: It cannot be written.
        """
        if not self.path.exists():
            return 0
        conditions = [
            "1" if ids is None else _among(ids),
            "1" if before is None else "finished_at < ?",
        ]
        values = [*(ids or ()), *(() if before is None else (before,))]
        with self._transaction() as db:
            if _is_new(db):
                return 0
            n_gone = db.execute(
                f"DELETE FROM runs WHERE {' AND '.join(conditions)}", values
            ).rowcount
        with contextlib.suppress(OSError), self._open() as db:
            db.execute("VACUUM")  # only makes the file smaller
        return n_gone

    def size_bytes(self) -> int:
        """Return the size of the file, 0 where there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    def _select(self, query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with self._open() as db:
            return [] if _is_new(db) else db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> "Iterator[sqlite3.Connection]":
        """Open the file for writing, keep all changes or none."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            with db:
                yield db

    @contextlib.contextmanager
    def _open(self) -> "Iterator[sqlite3.Connection]":
        """Open the file, which must exist, and turn SQLite's errors into ours."""
        import sqlite3

        address = f"{self.path.absolute().as_uri()}?mode=rw"
        try:
            with contextlib.closing(
                sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
            ) as db:
                db.execute("PRAGMA secure_delete = ON")
                db.execute("PRAGMA trusted_schema = OFF")
                db.text_factory = lambda raw: raw.decode(errors="replace")
                self._check(db)
                yield db
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _check(self, db: "sqlite3.Connection") -> None:
        """Refuse what another program or a newer autotl wrote."""
        application, schema = _pragma(db, "application_id"), _pragma(db, "user_version")
        if application != _APPLICATION and not _is_new(db):
            raise ModelFormatError(
                f"{str(self.path)!r} is a database of another program; expected autotl's "
                f"experience. {_VARIABLE} names the file, or {_OFF!r}."
            )
        if schema > _SCHEMA:
            raise ModelFormatError(
                f"{str(self.path)!r} was written by a newer autotl (schema {schema}; this one "
                f"knows {_SCHEMA}). Update autotl, or let {_VARIABLE} name another file."
            )

    def _explained(self, error: "sqlite3.Error") -> AutotlError | OSError:
        import sqlite3

        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            return ModelFormatError(
                f"The experience in {str(self.path)!r} is damaged ({error}). Move or remove the "
                f"file, or let {_VARIABLE} name another one."
            )
        return OSError(
            f"The experience in {str(self.path)!r} cannot be used ({error}). {_VARIABLE} names "
            f"another file, or {_OFF!r}."
        )


def _among(ids: Sequence[str]) -> str:
    return f"id IN ({','.join('?' * len(ids))})"


def _pragma(db: "sqlite3.Connection", name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _is_new(db: "sqlite3.Connection") -> bool:
    """Say whether nothing has been written to the file yet."""
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and _pragma(db, "application_id") == 0
