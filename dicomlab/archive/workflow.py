"""What is to be done and what is being done: the table that the worklist and the performed steps share.

One change is one transaction of SQLite, on the medium before it is answered, so that whatever ends the archive finds it
done or not done, never half.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicomlab.archive.database import Database

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


class Workflow(Database):
    """The table, shared by all threads of the archive."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA, "the workflow table", version=FORMAT)

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Carry one statement out, and give its rows."""
        return self.do(statement, *values).fetchall()
