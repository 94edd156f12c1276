"""The archive's commitments: what it has answered to others, and an inbox for what others answer to us.

Source
------
PS3.4 Annex J (Storage Commitment Service Class); PS3.18 §13 (Storage Commitment Service).
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from pathlib import Path

from dicomlab.archive.database import Database
from dicomlab.dimse.commitment_scp import missing
from dicomlab.errors import ServiceError
from dicomlab.model.commitment import DUPLICATE_TRANSACTION, Committed, Reference
from dicomlab.model.protocols import Holdings

MAX_TRANSACTIONS = 10_000
"""Transactions that are remembered of each kind; the oldest are forgotten first."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS expected (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, instances TEXT NOT NULL, result TEXT
);
CREATE TABLE IF NOT EXISTS answered (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, result TEXT NOT NULL
);
"""


class CommitmentStore(Database):
    """Both kinds in one file. Satisfies ``Inbox`` and ``Commitments``; several processes may have it open.

    Parameters
    ----------
    path : Path
    holdings : Holdings, optional
        What can be committed to; an inbox alone needs none.
    """

    def __init__(self, path: Path, holdings: Holdings | None = None) -> None:
        super().__init__(path, _SCHEMA, "the commitments")
        self._holdings = holdings
        weakref.finalize(self, self._db.close)

    @property
    def place(self) -> str:
        """Where it is."""
        return str(self._path.absolute())

    def _forget_the_oldest(self, table: str) -> None:
        self.do(f"DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?", MAX_TRANSACTIONS)

    # --- the inbox ---------------------------------------------------------------------------------------------------

    def expect(self, uid: str, references: Sequence[Reference], /) -> None:
        """A transaction is about to be asked for."""
        self.do("INSERT OR IGNORE INTO expected (uid, instances) VALUES (?,?)", uid, json.dumps(list(references)))
        self._forget_the_oldest("expected")

    def take(self, uid: str, result: Committed, /) -> bool:
        """Take a result; of instances that were not asked for nothing is kept."""
        row = self.do("SELECT instances FROM expected WHERE uid=?", uid).fetchone()
        if row is None:
            return False
        asked = {(sop_class, instance) for sop_class, instance in json.loads(row[0])}
        kept = Committed(
            tuple(one for one in result.committed if one in asked),
            {one: reason for one, reason in result.failed.items() if one in asked},
        )
        self.do("UPDATE expected SET result=? WHERE uid=? AND result IS NULL", _text(kept), uid)
        return True

    def result(self, uid: str, /) -> Committed | None:
        """The result of a transaction, if it has come."""
        row = self.do("SELECT result FROM expected WHERE uid=?", uid).fetchone()
        return _read(row[0]) if row and row[0] else None

    # --- what we commit to -------------------------------------------------------------------------------------------

    def commit(self, uid: str, references: Sequence[Reference], /) -> Committed:
        """Answer a request for commitment, and remember the answer."""
        failed = missing(self._holdings, references) if self._holdings is not None else {}
        answer = Committed(tuple(one for one in references if one not in failed), failed)
        done = self.do("INSERT OR IGNORE INTO answered (uid, result) VALUES (?,?)", uid, _text(answer))
        if not done.rowcount:
            raise ServiceError("0131H Duplicate transaction UID", status=DUPLICATE_TRANSACTION)
        self._forget_the_oldest("answered")
        return answer

    def answered(self, uid: str, /) -> Committed | None:
        """What was answered to a transaction."""
        row = self.do("SELECT result FROM answered WHERE uid=?", uid).fetchone()
        return _read(row[0]) if row else None


def _text(result: Committed) -> str:
    failed = [(*one, reason) for one, reason in result.failed.items()]
    return json.dumps({"committed": list(result.committed), "failed": failed}, separators=(",", ":"))


def _read(text: str) -> Committed:
    found = json.loads(text)
    failed = {(sop_class, uid): int(reason) for sop_class, uid, reason in found["failed"]}
    return Committed(tuple((sop_class, uid) for sop_class, uid in found["committed"]), failed)
