"""The tables of the archive's work items: what is written is on the disc, whole, before anybody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomlab.archive.database import Database
from dicomlab.model.columns import column
from dicomlab.model.query import Key
from dicomlab.model.workitem import FINAL, GLOBAL, State
from dicomlab.model.workitem_attributes import Model

FORMAT = 1
MAX_KEPT_EVENTS = 1000
"""Events that are kept for one receiver; the oldest are dropped first."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS workitems (
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    uid              TEXT NOT NULL UNIQUE,
    state            TEXT NOT NULL,
    transaction_uid  TEXT NOT NULL,
    model            TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS gone (uid TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscriptions (
    uid       TEXT NOT NULL,
    receiver  TEXT NOT NULL,
    locked    INTEGER NOT NULL,
    PRIMARY KEY (uid, receiver)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS worklists (
    receiver  TEXT NOT NULL,
    uid       TEXT NOT NULL,
    keys      TEXT NOT NULL,
    locked    INTEGER NOT NULL,
    PRIMARY KEY (receiver, uid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver     TEXT NOT NULL,
    uid          TEXT NOT NULL,
    event_type   INTEGER NOT NULL,
    information  TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_receiver ON events (receiver, sequence);
CREATE TABLE IF NOT EXISTS delivered (receiver TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A work item as it is kept."""

    state: State
    transaction_uid: str
    model: dict[str, Any]


class Tables(Database):
    """What is kept of work items. Reads may come from any thread; changes happen inside :meth:`transaction`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA, "the work items", version=FORMAT)
        self._told: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[list[str]]:
        """All changes within, or none; the list given holds, afterwards, who has new events."""
        receivers: list[str] = []
        with self._lock:
            with self.change():
                self._told = []
                yield receivers
            receivers += dict.fromkeys(self._told)

    # --- items -------------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many there are."""
        return int(self.do("SELECT count(*) FROM workitems").fetchone()[0])

    def get(self, uid: str) -> Kept | None:
        """Give one."""
        row = self.do("SELECT state, transaction_uid, model FROM workitems WHERE uid=?", uid).fetchone()
        return Kept(row[0], row[1], json.loads(row[2])) if row else None

    def put(self, uid: str, model: str, state: State, transaction_uid: str) -> None:
        """Keep one, new or changed."""
        self.do(
            "INSERT INTO workitems (uid, state, transaction_uid, model) VALUES (?,?,?,?) ON CONFLICT (uid) DO UPDATE"
            " SET state=excluded.state, transaction_uid=excluded.transaction_uid, model=excluded.model",
            uid, state, transaction_uid, model,
        )  # fmt: skip

    def all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give every one with its UID, in the order of their making."""
        for uid, model in self.do("SELECT uid, model FROM workitems ORDER BY number").fetchall():
            yield uid, json.loads(model)

    def is_gone(self, uid: str) -> bool:
        """Whether there was one with that UID, which was deleted."""
        return self.do("SELECT 1 FROM gone WHERE uid=?", uid).fetchone() is not None

    def purge(self) -> int:
        """Delete those that are final and not locked."""
        where = "state IN (?,?) AND uid NOT IN (SELECT uid FROM subscriptions WHERE locked)"
        self.do(f"INSERT OR IGNORE INTO gone SELECT uid FROM workitems WHERE {where}", *FINAL)
        deleted = self.do(f"DELETE FROM workitems WHERE {where}", *FINAL).rowcount
        self.do("DELETE FROM subscriptions WHERE uid IN (SELECT uid FROM gone)")
        return deleted

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def subscribe(self, uid: str, receiver: str, *, locked: bool, again: bool = True) -> bool:
        """Subscribe an AE to an item; where it is already, `again` sets the lock anew. True where it wasn't so."""
        row = self.do("SELECT locked FROM subscriptions WHERE uid=? AND receiver=?", uid, receiver).fetchone()
        if row is not None and not again:
            return False
        self.do("INSERT OR REPLACE INTO subscriptions VALUES (?,?,?)", uid, receiver, int(locked))
        return True

    def unsubscribe(self, uid: str, receiver: str) -> bool:
        """End a subscription; False where there was none."""
        return self.do("DELETE FROM subscriptions WHERE uid=? AND receiver=?", uid, receiver).rowcount > 0

    def subscribers(self, uid: str) -> list[str]:
        """Who is subscribed to an item."""
        return [
            row[0]
            for row in self.do("SELECT receiver FROM subscriptions WHERE uid=? ORDER BY receiver", uid).fetchall()
        ]

    def subscribe_worklist(self, receiver: str, uid: str, keys: Sequence[Key], *, locked: bool) -> None:
        """Subscribe an AE to the items to come."""
        text = json.dumps([(key.column.name, key.matching, key.values) for key in keys])
        self.do("INSERT OR REPLACE INTO worklists VALUES (?,?,?,?)", receiver, uid, text, int(locked))

    def unsubscribe_worklist(self, receiver: str, uid: str) -> bool:
        """End a subscription to the worklist, and those to its items."""
        existed = self.suspend(receiver, uid)
        items = self.do("DELETE FROM subscriptions WHERE receiver=?", receiver).rowcount
        return existed or items > 0

    def suspend(self, receiver: str, uid: str) -> bool:
        """Subscribe an AE to no further items; of the worklist: neither to those that match."""
        filtered = "" if uid == GLOBAL else " AND uid=?"
        given = (receiver,) if uid == GLOBAL else (receiver, uid)
        return self.do(f"DELETE FROM worklists WHERE receiver=?{filtered}", *given).rowcount > 0

    def worklist_subscribers(self) -> list[tuple[str, tuple[Key, ...], bool]]:
        """Who is subscribed to the items to come, to those that match which keys, and with a deletion lock or not."""
        rows = self.do("SELECT receiver, keys, locked FROM worklists ORDER BY receiver, uid").fetchall()
        return [(receiver, _keys(text), bool(locked)) for receiver, text, locked in rows]

    def everybody(self) -> list[str]:
        """Who is subscribed to anything."""
        union = "SELECT receiver FROM subscriptions UNION SELECT receiver FROM worklists ORDER BY 1"
        return [row[0] for row in self.do(union).fetchall()]

    # --- events ------------------------------------------------------------------------------------------------------

    def keep_event(self, receiver: str, uid: str, event_type: int, information: Model) -> None:
        """Keep an event until it is delivered."""
        text = json.dumps(information, separators=(",", ":"))
        self.do("INSERT INTO events (receiver, uid, event_type, information) VALUES (?,?,?,?)",
                 receiver, uid, event_type, text)  # fmt: skip
        oldest = "SELECT sequence FROM events WHERE receiver=? ORDER BY sequence DESC LIMIT 1 OFFSET ?"
        self.do(f"DELETE FROM events WHERE receiver=? AND sequence <= ({oldest})", receiver, receiver, MAX_KEPT_EVENTS)
        self._told.append(receiver)

    def events(self, receiver: str, after: int | None, limit: int) -> list[tuple[int, str, int, dict[str, Any]]]:
        """The next events for an AE."""
        if after is None:
            after = self.acknowledged(receiver)
        rows = self.do(
            "SELECT sequence, uid, event_type, information FROM events WHERE receiver=? AND sequence>?"
            " ORDER BY sequence LIMIT ?", receiver, after, limit,
        ).fetchall()  # fmt: skip
        return [(sequence, uid, event_type, json.loads(text)) for sequence, uid, event_type, text in rows]

    def acknowledged(self, receiver: str) -> int:
        """How far the events for an AE have been delivered."""
        row = self.do("SELECT sequence FROM delivered WHERE receiver=?", receiver).fetchone()
        return int(row[0]) if row else 0

    def acknowledge(self, receiver: str, sequence: int) -> None:
        """Note how far the events for an AE have been delivered."""
        self.do(
            "INSERT INTO delivered VALUES (?,?) ON CONFLICT (receiver) DO UPDATE"
            " SET sequence=max(sequence, excluded.sequence)", receiver, sequence,
        )  # fmt: skip

    def waiting(self) -> list[str]:
        """Who has events that are not delivered."""
        rows = self.do(
            "SELECT DISTINCT receiver FROM events LEFT JOIN delivered USING (receiver)"
            " WHERE events.sequence > coalesce(delivered.sequence, 0) ORDER BY receiver"
        ).fetchall()
        return [row[0] for row in rows]


def _keys(text: str) -> tuple[Key, ...]:
    return tuple(Key(column(name), matching, tuple(values)) for name, matching, values in json.loads(text))
