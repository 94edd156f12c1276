"""What a DICOMDIR says against what is really in the folder. Pure: no I/O.

Source
------
PS3.10 §8.6 (the DICOMDIR refers to the files of its File-set), PS3.11 (each general profile: to all of them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.dicomdir import Directory, Finding, Record, key_text
from dicomlab.media.file_ids import relative_path
from dicomlab.media.records import KEYS
from dicomlab.model.columns import column


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a DICOMDIR and a folder agree."""

    agreeing: int
    """Records whose file is there with the UIDs that the record names."""
    missing: int
    """Records whose file is not there, or leads out of the folder."""
    mismatched: int
    """Records whose file holds another instance, or none."""
    unlisted: int
    """Instances in the folder that no record refers to."""
    findings: tuple[Finding, ...]

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
        A name that differs in its case, or by the ``;1`` of a raw ISO 9660 disc, is found, and is a finding.

    Source
    ------
    PS3.10 §8.6; PS3.12 Annex F (file names on CD-R).
    """
    loose = {_loose(name): name for name in held}
    findings: list[Finding] = []
    agreeing = missing = mismatched = 0
    referred: set[str] = set()
    for record in directory.leaves:
        uid = record.sop_instance_uid
        try:
            name = relative_path(record.file_id).as_posix()
        except RemoteProtocolError as error:
            missing += 1
            findings.append(Finding(record.type, uid, str(error)))
            continue
        actual = name if name in held else loose.get(_loose(name))
        if actual is None:
            missing += 1
            findings.append(Finding(record.type, uid, f"its file {name} is not there"))
            continue
        referred.add(actual)
        if held[actual] != uid:
            mismatched += 1
            what = f"holds instance {held[actual]}" if held[actual] else "is no readable instance"
            findings.append(Finding(record.type, uid, f"its file {name} {what}"))
            continue
        agreeing += 1
        if actual != name:
            findings.append(Finding(record.type, uid, f"its file {name} is called {actual}"))
    unlisted = [name for name, uid in held.items() if uid and name not in referred]
    findings += [Finding("", held[name], f"no record refers to {name}") for name in unlisted]
    return Comparison(agreeing, missing, mismatched, len(unlisted), tuple(findings))


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
