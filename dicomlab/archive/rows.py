"""What a statement gave, read while nobody else uses the connection.

SQLite keeps one prepared statement for each text: a thread that reads its cursor after the lock is gone finds the rows
of another thread that asked the same in the meantime, or none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any


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
