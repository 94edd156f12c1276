"""Threads that ask one connection the same statement each get their own rows."""

from __future__ import annotations

import sqlite3
import threading

from dicomlab.archive.rows import Rows


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
