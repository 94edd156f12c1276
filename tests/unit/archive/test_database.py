"""One file for many threads: each gets its own rows, a change is whole or none, and what can't be opened is let go."""

from __future__ import annotations

import gc
import sqlite3
import threading
from pathlib import Path

import pytest

from dicomlab.archive.database import Database, Rows
from dicomlab.errors import Interrupted


def test_rows_are_read_before_the_next_statement() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE numbers (n)")
    assert Rows(db, "INSERT INTO numbers VALUES (?), (?)", (1, 2)).rowcount == 2
    statement = "SELECT n FROM numbers WHERE n=?"
    first = Rows(db, statement, (1,))
    second = Rows(db, statement, (2,))
    assert first.fetchone() == (1,)
    assert first.fetchall() == [(1,)]
    assert second.fetchone() == (2,)
    assert Rows(db, statement, (3,)).fetchone() is None
    db.close()


def test_each_thread_gets_its_own() -> None:
    db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    db.execute("CREATE TABLE numbers (n PRIMARY KEY)")
    db.executemany("INSERT INTO numbers VALUES (?)", ((n,) for n in range(8)))
    lock, wrong = threading.Lock(), []

    def ask(n: int) -> None:
        for _ in range(2_000):
            with lock:
                rows = Rows(db, "SELECT n FROM numbers WHERE n=?", (n,))
            if rows.fetchone() != (n,):
                wrong.append(n)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    db.close()
    assert wrong == []


SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY, CHECK (n < 100));"


def test_a_change_is_whole_or_none(tmp_path: Path) -> None:
    database = Database(tmp_path / "numbers.sqlite", SCHEMA, "the numbers", version=1)
    with database.change():
        database.do("INSERT INTO numbers VALUES (?)", 1)

    def too_many() -> None:
        with database.change():
            database.do("INSERT INTO numbers VALUES (?)", 2)
            database.do("INSERT INTO numbers VALUES (?)", 100)

    with pytest.raises(Interrupted, match="the numbers failed: CHECK"):
        too_many()
    assert database.do("SELECT n FROM numbers").fetchall() == [(1,)]
    database.close()
    database.close()
    with pytest.raises(Interrupted, match="the numbers failed"):
        database.do("SELECT n FROM numbers")


def test_what_ended_a_change_is_what_is_told(tmp_path: Path) -> None:
    database = Database(tmp_path / "numbers.sqlite", SCHEMA, "the numbers")
    with pytest.raises(Interrupted, match="CHECK"), database.change():
        database.do("INSERT OR ROLLBACK INTO numbers VALUES (?)", 100)  # as a full medium does
    database.close()


@pytest.mark.parametrize("version", [1, 3])
def test_a_file_of_another_version_is_let_go_unchanged(tmp_path: Path, version: int) -> None:
    path = tmp_path / "numbers.sqlite"
    Database(path, SCHEMA, "the numbers", version=2).close()
    with pytest.raises(Interrupted, match="the numbers: the file is of format 2"):
        Database(path, SCHEMA, "the numbers", version=version)
    gc.collect()  # a connection left open is an error here, from Python 3.13 on
    assert not path.with_name(path.name + "-wal").exists()


def test_what_is_no_database_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "numbers.sqlite").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(Interrupted, match="the numbers can't be opened"):
        Database(tmp_path / "numbers.sqlite", SCHEMA, "the numbers")
    with pytest.raises(Interrupted, match="the numbers can't be opened"):
        Database(tmp_path, SCHEMA, "the numbers")
