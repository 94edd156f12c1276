"""The table of scheduled and performed steps: one change is kept whole or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dicomlab.archive.workflow import Workflow
from dicomlab.errors import Interrupted

INSERT = "INSERT INTO steps (study_uid, step_id, status, item) VALUES ('1.2.3','S1','SCHEDULED','{}')"


def test_a_change_that_fails_leaves_nothing(tmp_path: Path) -> None:
    table = Workflow(tmp_path / "workflow.sqlite")

    def change(statement: str) -> None:
        with table.change():
            table.rows(INSERT)
            table.rows(statement)

    with pytest.raises(Interrupted, match="workflow table failed"):
        change("INSERT INTO nowhere VALUES (1)")
    assert table.rows("SELECT * FROM steps") == []
    change("SELECT 1")
    assert len(table.rows("SELECT * FROM steps")) == 1
    table.close()


def test_a_table_of_another_format_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "workflow.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(Interrupted, match="format 99"):
        Workflow(path)
    path.write_bytes(b"no database at all, whatever it is called" * 100)
    with pytest.raises(Interrupted, match="can't be opened"):
        Workflow(path)
