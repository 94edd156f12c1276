"""What is to be done and what is being done: the table that the worklist and the performed steps share.

One change is one transaction of SQLite, on the medium before it is answered, so that whatever ends the archive finds it
done or not done, never half.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicomlab.errors import Interrupted

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS steps (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    study_uid TEXT NOT NULL,
    step_id   TEXT NOT NULL,
    status    TEXT NOT NULL,
    item      TEXT NOT NULL,
    UNIQUE (study_uid, step_id)
);
CREATE TABLE IF NOT EXISTS performed (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    uid    TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    step   TEXT NOT NULL
);
"""


class Workflow:
    """The table, shared by all threads of the archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT):
                raise Interrupted(f"workflow of format {version}; this version reads {FORMAT}", endpoint=str(path))
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.Error as error:
            raise Interrupted(f"the workflow table can't be opened: {error}", endpoint=str(path)) from error

    def close(self) -> None:
        """Close the table."""
        with self._lock:
            self._db.close()

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Carry one statement out, by itself or as a part of the change that this thread makes, and give its rows."""
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise Interrupted(f"the workflow table failed: {error}", endpoint=str(self._path)) from error

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make of everything in the block one change: all of it is kept, or, after an error, nothing."""
        with self._lock:
            self.rows("BEGIN IMMEDIATE")
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self.rows("ROLLBACK")
                raise
