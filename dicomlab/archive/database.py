"""One file of SQLite, shared by all threads of an archive: statements, and changes that are whole or none.

SQLite keeps one prepared statement for each text: a thread that reads its cursor after the lock is gone finds the rows
of another thread that asked the same in the meantime, or none. So rows are read while nobody else uses the connection.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicomlab.errors import Interrupted


class Rows:
    """All rows of one statement."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, db: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
        cursor = db.execute(statement, values)
        self._rows: list[Any] = cursor.fetchall()
        self.rowcount = cursor.rowcount

    def fetchall(self) -> list[Any]:
        """All of them."""
        return self._rows

    def fetchone(self) -> Any:
        """The first, or None."""
        return self._rows[0] if self._rows else None


class Database:
    """Tables in a file; several processes may have it open.

    Parameters
    ----------
    path : Path
    schema : str
        Makes the tables that are not there yet.
    what : str
        What they hold, for messages: ``"the index"``.
    version : int
        Of the schema; a file of another is not touched. 0: they have none.
    durable : bool
        Whether a change is on the medium before it is answered, whatever happens to the power.

    Raises
    ------
    Interrupted
        It can't be opened, or is of another version.
    """

    def __init__(self, path: Path, schema: str, what: str, *, version: int = 0, durable: bool = True) -> None:
        self._path, self._what = path, what
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise self._failed("can't be opened", error) from error
        try:
            self._begin(schema, version, durable=durable)
        except sqlite3.Error as error:
            self._db.close()
            raise self._failed("can't be opened", error) from error
        except BaseException:
            self._db.close()
            raise

    def _begin(self, schema: str, version: int, *, durable: bool) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version and found not in (0, version):
            text = f"{self._what}: the file is of format {found}, this version of dicomlab reads {version}"
            raise Interrupted(text, endpoint=str(self._path))
        self._db.executescript(schema)
        if version:
            self._db.execute(f"PRAGMA user_version={version}")

    def _failed(self, how: str, error: sqlite3.Error) -> Interrupted:
        return Interrupted(f"{self._what} {how}: {error}", endpoint=str(self._path))

    def close(self) -> None:
        """Close it; may be called twice."""
        with self._lock:
            self._db.close()

    def do(self, statement: str, *given: object) -> Rows:
        """Carry one statement out, by itself or as a part of the change that this thread makes, and give its rows.

        Raises
        ------
        Interrupted
            The medium is full or gone, or the file is broken.
        """
        with self._lock:
            try:
                return Rows(self._db, statement, given)
            except sqlite3.Error as error:
                raise self._failed("failed", error) from error

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make of everything in the block one change: all of it is kept, or, after an error, nothing."""
        with self._lock:
            self.do("BEGIN IMMEDIATE")
            try:
                yield
                self.do("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full medium has ended it already, and says why
                    self.do("ROLLBACK")
                raise
