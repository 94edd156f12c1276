"""The rules of a File-set and of a profile, each checked on what the DICOMDIR and the index say. No I/O.

Source
------
PS3.10 §8 (File-sets), PS3.3 Annex F (DICOMDIR), PS3.11 §D.3, §H.3, §J.3 (general purpose profiles).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydicom._uid_dict import UID_dictionary

from dicomlab.media.dicomdir import Directory, Record
from dicomlab.media.dicomdir_writer import key_text
from dicomlab.media.file_ids import is_file_id
from dicomlab.media.profiles import Profile
from dicomlab.media.reconcile import Comparison
from dicomlab.media.records import KEYS, ROOT_TYPES
from dicomlab.model.columns import column
from dicomlab.part10.meta import EXPLICIT_LE

Severity = Literal["error", "warning", "note"]

_ABOVE = {"PATIENT": "", "STUDY": "PATIENT", "SERIES": "STUDY", **dict.fromkeys(ROOT_TYPES, "")}
_FREE = frozenset({"PRIVATE", "MRDR"})
_UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
_AGREE = frozenset({"ok", "case"})


@dataclass(frozen=True, slots=True)
class Breach:
    """One rule that something breaks."""

    severity: Severity
    section: str
    """Where the standard says so."""
    path: str
    """Of the file, ``""`` for the File-set as a whole."""
    uid: str
    text: str


def directory_breaches(directory: Directory, path: str) -> Iterator[Breach]:
    """Check a DICOMDIR by itself.

    Parameters
    ----------
    directory : Directory
    path : str
        Its name, for the breaches.

    Source
    ------
    PS3.3 §F.3, §F.4, §F.5; PS3.10 §8.6.
    """
    if directory.transfer_syntax_uid != EXPLICIT_LE:
        yield Breach("error", "PS3.10 §8.6", path, "", "the DICOMDIR is not in Explicit VR Little Endian")
    if not directory.consistent:
        yield Breach("warning", "PS3.3 §F.3.2.2", path, "", "the DICOMDIR says of itself that it may be inconsistent")
    for finding in directory.findings:
        yield Breach("error", "PS3.3 §F.2.2", path, finding.uid, finding.text)
    records = {record.offset: record for record in directory.records}
    seen: Counter[tuple[str, str]] = Counter()
    for record in directory.records:
        if not record.in_use or record.type in _FREE:
            continue
        yield from _record_breaches(record, records, path)
        key = _UNIQUE.get(record.type)
        uid = str(record.keys.get(key, ("",))[0]) if key else record.sop_instance_uid
        seen[record.type if key else "instance", uid] += 1
    for (kind, uid), times in seen.items():
        if times > 1 and uid:
            what = "one Patient ID" if kind == "PATIENT" else f"one UID ({uid})"
            text = f"{times} {kind} records have {what}"
            yield Breach("error", "PS3.11 §D.3.3", path, "" if kind == "PATIENT" else uid, text)


def _record_breaches(record: Record, records: Mapping[int, Record], path: str) -> Iterator[Breach]:
    uid = record.sop_instance_uid
    where = f"the {record.type} record at octet {record.offset}"
    if record.type not in KEYS:
        yield Breach("error", "PS3.3 §F.4", path, uid, f"{where} is of no type that PS3.3 knows")
        return
    parent = records.get(record.parent) if record.parent is not None else None
    wanted = _ABOVE.get(record.type, "SERIES")
    if not record.orphan and (parent.type if parent else "") != wanted:
        above = f"below {parent.type}" if parent else "at the root"
        yield Breach(
            "error", "PS3.3 §F.4", path, uid, f"{where} stands {above}, not {f'below {wanted}' if wanted else 'there'}"
        )
    for keyword, need in KEYS[record.type]:
        if need == 1 and not key_text(column(keyword), record.keys):
            yield Breach("error", "PS3.3 §F.5", path, uid, f"{where} has no {keyword}, which it must")
    if record.type in _UNIQUE:
        return
    if not record.file_id:
        yield Breach("error", "PS3.3 §F.3.2.2", path, uid, f"{where} refers to no file")
    elif not is_file_id(record.file_id):
        name = "/".join(record.file_id)[:200]
        yield Breach(
            "error", "PS3.10 §8.2", path, uid, f"{name} is no File ID: 1 to 8 names of 1 to 8 of A-Z, 0-9 and _"
        )


def agreement_breaches(compared: Comparison, wanted: Profile | None) -> Iterator[Breach]:
    """Check that records and files agree.

    Parameters
    ----------
    compared : Comparison
    wanted : Profile or None
        A profile wants every instance listed.

    Source
    ------
    PS3.10 §8.6; PS3.11 §D.3.3.
    """
    for match in compared.matches:
        if match.status in _AGREE and not match.text:
            continue
        lenient = match.status == "case" or (match.status == "unlisted" and wanted is None)
        section = "PS3.11 §D.3.3" if match.status == "unlisted" else "PS3.10 §8.6"
        text = match.text or "no link in the DICOMDIR leads to its record"
        yield Breach("warning" if lenient else "error", section, match.actual or match.path, match.uid, text)


def profile_breaches(wanted: Profile, instances: Sequence[tuple[str, str, str]]) -> Iterator[Breach]:
    """Check the transfer syntaxes of a profile.

    Parameters
    ----------
    wanted : Profile
    instances : sequence of (path, SOP Instance UID, Transfer Syntax UID)

    Source
    ------
    PS3.11 §D.3.1, §H.3.1, §J.3.1.
    """
    for path, uid, syntax in instances:
        if syntax not in wanted.transfer_syntaxes:
            name = UID_dictionary.get(syntax, (syntax,))[0]
            yield Breach("error", wanted.source, path, uid, f"{wanted.name} allows no {name}")
