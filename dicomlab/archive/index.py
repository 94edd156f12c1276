"""The archive's index: one row of SQLite for each stored SOP Instance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomlab.archive.database import Database
from dicomlab.model.columns import STANDARD, UNIQUE_KEY, Level, columns
from dicomlab.model.protocols import Held

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (
    sop_instance_uid     TEXT PRIMARY KEY,
    series_instance_uid  TEXT NOT NULL,
    study_instance_uid   TEXT NOT NULL,
    patient_id           TEXT NOT NULL,
    sop_class_uid        TEXT NOT NULL,
    transfer_syntax_uid  TEXT NOT NULL,
    meta_length          INTEGER NOT NULL,
    size                 INTEGER NOT NULL,
    path                 TEXT NOT NULL UNIQUE,
    sha256               TEXT NOT NULL,
    header               TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_series ON instances (series_instance_uid);
CREATE INDEX IF NOT EXISTS by_study ON instances (study_instance_uid);
CREATE INDEX IF NOT EXISTS by_patient ON instances (patient_id);
"""

_COLUMN: dict[Level, str] = {
    "patient": "patient_id",
    "study": "study_instance_uid",
    "series": "series_instance_uid",
    "instance": "sop_instance_uid",
}
_UIDS_PER_STATEMENT = 500

INDEXED = columns(dict.fromkeys(name for names in STANDARD.values() for name in names))
"""The columns whose raw values the index holds; others are read from the files when somebody asks."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One indexed instance: where it lies, the digest of its data set, and the raw values of the indexed columns."""

    held: Held
    patient_id: str
    sha256: str
    header: dict[str, list[Any]]


class Index(Database):
    """The table of what is stored, shared by all threads of the archive."""

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(path, _SCHEMA, "the index", version=FORMAT, durable=False)
        self._folder = folder

    def __len__(self) -> int:
        return int(self.do("SELECT count(*) FROM instances").fetchone()[0])

    def totals(self) -> dict[str, int]:
        """How much is stored: patients, studies, series, instances, octets."""
        row = self.do(
            "SELECT count(DISTINCT patient_id), count(DISTINCT study_instance_uid),"
            " count(DISTINCT series_instance_uid), count(*), coalesce(sum(size), 0) FROM instances"
        ).fetchone()
        return dict(zip(("patients", "studies", "series", "instances", "octets"), row, strict=True))

    def add(self, entry: Entry) -> None:
        """Add one instance, or put it in the place of the one with its UID."""
        held = entry.held
        self.do(
            "INSERT OR REPLACE INTO instances VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            held.sop_instance_uid,
            held.series_instance_uid,
            held.study_instance_uid,
            entry.patient_id,
            held.sop_class_uid,
            held.transfer_syntax_uid,
            held.meta_length,
            held.size,
            held.path.relative_to(self._folder).as_posix(),
            entry.sha256,
            json.dumps(entry.header),
        )

    def get(self, sop_instance_uid: str) -> Entry | None:
        """Look one instance up."""
        row = self.do("SELECT * FROM instances WHERE sop_instance_uid=?", sop_instance_uid).fetchone()
        return self._entry(row) if row else None

    def select(self, narrow: dict[Level, Sequence[str]]) -> list[Entry]:
        """Give the entries whose unique keys are among those given, by level; no level given: all of them."""
        level = max(narrow, key=list(_COLUMN).index, default=None)
        if level is None:
            return [self._entry(row) for row in self.do("SELECT * FROM instances").fetchall()]
        found: list[Entry] = []
        uids = list(dict.fromkeys(narrow[level]))
        for start in range(0, len(uids), _UIDS_PER_STATEMENT):
            some = uids[start : start + _UIDS_PER_STATEMENT]
            marks = ",".join("?" * len(some))
            rows = self.do(f"SELECT * FROM instances WHERE {_COLUMN[level]} IN ({marks})", *some).fetchall()
            found += map(self._entry, rows)
        sets = {one: set(wanted) for one, wanted in narrow.items()}
        return [e for e in found if all(_unique(e, one) in wanted for one, wanted in sets.items())]

    def sizes(self) -> dict[str, int]:
        """Give the relative paths of all files that are indexed, and their octets."""
        return dict(self.do("SELECT path, size FROM instances").fetchall())

    def forget(self, relative: str) -> None:
        """Take the entry of a file that is gone out."""
        self.do("DELETE FROM instances WHERE path=?", relative)

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        sop, series, study, patient, sop_class, syntax, meta, size, path, sha256, header = row
        held = Held(self._folder / path, study, series, sop, sop_class, syntax, meta, size)
        return Entry(held, patient, sha256, json.loads(header))


def _unique(entry: Entry, level: Level) -> str:
    held = entry.held
    return {
        "PatientID": entry.patient_id,
        "StudyInstanceUID": held.study_instance_uid,
        "SeriesInstanceUID": held.series_instance_uid,
        "SOPInstanceUID": held.sop_instance_uid,
    }[UNIQUE_KEY[level]]
