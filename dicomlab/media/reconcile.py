"""What a DICOMDIR says against what is really in the folder. Pure: no I/O.

Source
------
PS3.10 §8.6 (the DICOMDIR refers to the files of its File-set), PS3.11 (each general profile: to all of them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.dicomdir import Directory, Finding, Record
from dicomlab.media.dicomdir_writer import key_text
from dicomlab.media.file_ids import relative_path
from dicomlab.media.records import KEYS
from dicomlab.model.columns import column

Status = Literal["ok", "case", "orphan", "missing", "leads_out", "mismatch", "unreadable", "unlisted"]
"""What became of one record or one file.

========== ========================================================================================
status     meaning
========== ========================================================================================
ok         the file is there and holds the instance that the record names
case       the same, under a name that differs in its case or by what a raw ISO 9660 disc appends
orphan     the same, but no link in the DICOMDIR leads to the record
missing    the file is not there
leads_out  the File ID leads out of the folder: it was not followed
mismatch   the file holds another instance
unreadable the file is no readable instance
unlisted   an instance in the folder that no record refers to
========== ========================================================================================
"""
_AGREEING = frozenset({"ok", "case", "orphan"})


@dataclass(frozen=True, slots=True)
class Match:
    """One record and its file, or a file without record."""

    status: Status
    record: str
    """The type of the record; ``""`` for none."""
    uid: str
    """SOP Instance UID, by the record where there is one."""
    path: str
    """Where the record says that it lies."""
    actual: str
    """Where it lies."""
    found_uid: str
    """What lies there."""
    text: str
    """The same in a sentence; ``""`` where all is well."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a DICOMDIR and a folder agree."""

    matches: tuple[Match, ...]

    def _count(self, *statuses: str) -> int:
        return sum(match.status in statuses for match in self.matches)

    @property
    def agreeing(self) -> int:
        """Records whose file is there with the UIDs that the record names."""
        return self._count(*_AGREEING)

    @property
    def missing(self) -> int:
        """Records whose file is not there, or leads out of the folder."""
        return self._count("missing", "leads_out")

    @property
    def mismatched(self) -> int:
        """Records whose file holds another instance, or none."""
        return self._count("mismatch", "unreadable")

    @property
    def unlisted(self) -> int:
        """Instances in the folder that no record refers to."""
        return self._count("unlisted")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is not as it should be."""
        return tuple(Finding(match.record, match.uid, match.text) for match in self.matches if match.text)

    @property
    def ok(self) -> bool:
        """Whether they agree in everything."""
        return not (self.missing or self.mismatched or self.unlisted)


def compare(directory: Directory, held: Mapping[str, str]) -> Comparison:
    """Compare records with files.

    Parameters
    ----------
    directory : Directory
    held : mapping
        Relative path of every file listed to its SOP Instance UID, ``""`` for a file that is no instance.

    Returns
    -------
    Comparison
        One match for each record that refers to a file, and one for each instance that no record refers to.

    Source
    ------
    PS3.10 §8.6; PS3.12 Annex F (file names on CD-R).
    """
    loose = {_loose(name): name for name in held}
    matches = [_matched(record, held, loose) for record in directory.leaves]
    referred = {match.actual for match in matches if match.actual}
    matches += [
        Match("unlisted", "", uid, "", name, uid, f"no record refers to {name}")
        for name, uid in held.items()
        if uid and name not in referred
    ]
    return Comparison(tuple(matches))


def _matched(record: Record, held: Mapping[str, str], loose: Mapping[str, str]) -> Match:
    uid = record.sop_instance_uid
    try:
        name = relative_path(record.file_id).as_posix()
    except RemoteProtocolError as error:
        return Match("leads_out", record.type, uid, "/".join(record.file_id)[:200], "", "", str(error))
    actual = name if name in held else loose.get(_loose(name))
    if actual is None:
        return Match("missing", record.type, uid, name, "", "", f"its file {name} is not there")
    found = held[actual]
    if not found:
        return Match("unreadable", record.type, uid, name, actual, "", f"its file {name} is no readable instance")
    if found != uid:
        return Match("mismatch", record.type, uid, name, actual, found, f"its file {name} holds instance {found}")
    if actual != name:
        return Match("case", record.type, uid, name, actual, found, f"its file {name} is called {actual}")
    return Match("orphan" if record.orphan else "ok", record.type, uid, name, actual, found, "")


def differences(directory: Directory, rows: Mapping[str, Mapping[str, Sequence[object]]]) -> Iterator[Finding]:
    """Find the keys of records that say something else than the instance they were taken from.

    What a writer had to make up is among them: a key that a record must hold and that the instance leaves empty.

    Parameters
    ----------
    directory : Directory
    rows : mapping
        SOP Instance UID to raw values of :data:`~dicomlab.media.dicomdir.RECORD_COLUMNS`.

    Source
    ------
    PS3.3 §F.5 (keys of each record type).
    """
    records = {record.offset: record for record in directory.records}
    seen: set[int] = set()
    for leaf in directory.leaves:
        row = rows.get(leaf.sop_instance_uid)
        record: Record | None = leaf
        while row is not None and record is not None and record.offset not in seen:
            seen.add(record.offset)
            for keyword, _ in KEYS.get(record.type, ()):
                one = column(keyword)
                in_record, in_instance = key_text(one, record.keys), key_text(one, row)
                if in_record != in_instance:
                    text = "is another than in the instance" if in_instance else "stands in the record only"
                    text = text if in_record else "is missing in the record"
                    yield Finding(record.type, leaf.sop_instance_uid, f"{keyword} {text}")
            record = records.get(record.parent) if record.parent is not None else None


def _loose(name: str) -> str:
    return "/".join(part.partition(";")[0].rstrip(".") for part in name.casefold().split("/"))
