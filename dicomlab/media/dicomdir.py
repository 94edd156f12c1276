"""The DICOMDIR: written from rows of instances, read back with suspicion. Bytes and values only: no I/O.

Source
------
PS3.3 Annex F (Basic Directory IOD), PS3.10 §8.6 (DICOMDIR).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from struct import Struct

from pydicom.datadict import tag_for_keyword

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.file_ids import FileId
from dicomlab.media.header import DatasetReader
from dicomlab.media.records import (
    KEYS,
    NEVER,
    SEQUENCES,
    SYNTHETIC,
    SYNTHETIC_BY_VR,
    VERIFIED_AT,
    keywords,
    record_type,
)
from dicomlab.model.columns import Column, column, columns, read
from dicomlab.model.matching import first, order
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta, encode_file_meta
from dicomlab.part10.walk import Octets

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage: the SOP Class of a DICOMDIR."""
RECORD_COLUMNS: tuple[Column, ...] = columns(keywords())
"""What the writer wants to know of each instance."""

_IN_USE = 0xFFFF
_INACTIVE = 0x0000
_UTF8 = b"ISO_IR 192"
_LONG_VRS = frozenset({"SQ", "UC", "UT", "UR"})
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sxxL")
_ITEM = Struct("<HHL")
_U32 = Struct("<L")
_NUMBER = {"US": Struct("<H"), "UL": _U32}
_NEXT_AT, _LOWER_AT = 8, 30
"""Where the two offsets lie in a record, counted from the octet after its item tag and length."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One instance of a File-set, as its record needs it."""

    file_id: FileId
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    row: Mapping[str, Sequence[object]]
    """Raw values of :data:`RECORD_COLUMNS`."""
    sequences: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    """The items of sequences that its record repeats, as :mod:`~dicomlab.media.sequences` reads them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a directory that somebody should know. Never holds a value of a patient."""

    record: str
    """The type of the record."""
    uid: str
    """Of the study, series or instance that it is about, ``""`` for a patient or none."""
    text: str


# --- writing ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Record:
    body: bytearray
    children: list[_Record] = field(default_factory=list)
    offset: int = 0


def encode_dicomdir(
    leaves: Iterable[Leaf], *, file_set_uid: str, file_set_id: str = ""
) -> tuple[bytes, tuple[Finding, ...]]:
    """Write the DICOMDIR of a File-set; time and memory grow with the number of instances, not faster.

    Parameters
    ----------
    leaves : iterable of Leaf
        In any order; their records stand in the order that all paths share.
    file_set_uid : str
        Identifies the File-set for good.
    file_set_id : str, optional
        A readable name, at most 16 characters of CS.

    Returns
    -------
    (octets, findings)
        The whole file; and what had to be made up. A key that a record must hold (Type 1) and that the instance
        leaves empty gets a value in the record only: the instance is never touched.

    Source
    ------
    PS3.3 §F.3 (modules), §F.5 (records); PS3.10 Table 7.1-1.
    """
    builder = _Builder()
    for leaf in sorted(leaves, key=lambda one: order(one.row)):
        builder.add(leaf)
    return _assemble(builder.roots, file_set_uid, file_set_id), tuple(builder.findings)


class _Builder:
    """Grows the tree of records, instance by instance."""

    def __init__(self) -> None:
        self.roots: list[_Record] = []
        self.findings: list[Finding] = []
        self._patients: dict[str, _Record] = {}
        self._studies: dict[str, tuple[str, _Record]] = {}
        self._series: dict[tuple[str, str], _Record] = {}
        self._counts: Counter[str] = Counter()

    def add(self, leaf: Leaf) -> None:
        """Add the record of one instance, and those above it that are not there yet."""
        study_uid, series_uid = first(leaf.row, "StudyInstanceUID"), first(leaf.row, "SeriesInstanceUID")
        patient_id = first(leaf.row, "PatientID")
        known = self._studies.get(study_uid)
        if known is None:
            # who has no Patient ID is a patient of his own in each study; the ID is made up from the study's UID
            made_up = "" if patient_id else "NOID" + hashlib.sha256(study_uid.encode()).hexdigest()[:12].upper()
            patient = self._patients.get(patient_id or made_up)
            if patient is None:
                patient = self._record("PATIENT", "", leaf.row, {"PatientID": made_up})
                self._patients[patient_id or made_up] = patient
                self.roots.append(patient)
            study = self._record("STUDY", study_uid, leaf.row, {})
            patient.children.append(study)
            self._studies[study_uid] = patient_id, study
        else:
            owner, study = known
            if owner != patient_id:
                text = "instances of this study name different patients; all stand below the first"
                self.findings.append(Finding("STUDY", study_uid, text))
        series = self._series.get((study_uid, series_uid))
        if series is None:
            number = str(len(study.children) + 1)
            series = self._record("SERIES", series_uid, leaf.row, {"SeriesNumber": number})
            study.children.append(series)
            self._series[study_uid, series_uid] = series
        number = str(len(series.children) + 1)
        kind = record_type(leaf.sop_class_uid)
        series.children.append(self._record(kind, leaf.sop_instance_uid, leaf.row, {"InstanceNumber": number}, leaf))

    def _record(
        self, kind: str, uid: str, row: Mapping[str, Sequence[object]], made_up: Mapping[str, str],
        leaf: Leaf | None = None,
    ) -> _Record:  # fmt: skip
        body = bytearray(_element("OffsetOfTheNextDirectoryRecord", 0))
        body += _element("RecordInUseFlag", _IN_USE)
        body += _element("OffsetOfReferencedLowerLevelDirectoryEntity", 0)
        body += _element("DirectoryRecordType", kind)
        if leaf is not None:
            body += _element("ReferencedFileID", "\\".join(leaf.file_id))
            body += _element("ReferencedSOPClassUIDInFile", leaf.sop_class_uid)
            body += _element("ReferencedSOPInstanceUIDInFile", leaf.sop_instance_uid)
            body += _element("ReferencedTransferSyntaxUIDInFile", leaf.transfer_syntax_uid)
        keys: dict[int, bytes] = {}
        for keyword, need in KEYS[kind]:
            one = column(keyword)
            value = key_text(one, row)
            if not value and need == 1:
                value = made_up.get(keyword) or SYNTHETIC.get(keyword) or SYNTHETIC_BY_VR.get(one.vr, "UNKNOWN")
                self.findings.append(Finding(kind, uid, f"{keyword} is empty or unreadable: {value!r} in the record"))
            if value or need < 3:
                keys[one.tag] = _element(keyword, value)
        for keyword, need in SEQUENCES.get(kind, ()):
            items = leaf.sequences.get(keyword, ()) if leaf is not None else ()
            if not items and need == 1:
                self.findings.append(
                    Finding(kind, uid, f"no {keyword}, which the record must have and nobody can make up")
                )
            elif items or need == 2:
                keys[tag_for_keyword(keyword) or 0] = _sequence(keyword, items)
        if kind == "SR DOCUMENT" and first(row, "VerificationFlag") == "VERIFIED":
            moments = [str(one) for one in row.get(VERIFIED_AT, ()) if one]
            keys[column("VerificationDateTime").tag] = _element("VerificationDateTime", max(moments, default=NEVER))
        octets = b"".join(keys[tag] for tag in sorted(keys))
        if not octets.isascii():
            body += _element("SpecificCharacterSet", _UTF8.decode())
        return _Record(body + octets)


def _assemble(roots: list[_Record], file_set_uid: str, file_set_id: str) -> bytes:
    meta = encode_file_meta(DIRECTORY_CLASS, file_set_uid, EXPLICIT_LE)
    head = bytearray(_element("FileSetID", file_set_id))
    first_at = len(meta) + len(head) + _SHORT.size
    head += _element("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity", 0)
    last_at = len(meta) + len(head) + _SHORT.size
    head += _element("OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity", 0)
    head += _element("FileSetConsistencyFlag", 0)
    ordered: list[_Record] = []
    waiting = list(reversed(roots))
    while waiting:  # depth first: each record is followed by those below it
        record = waiting.pop()
        ordered.append(record)
        waiting += reversed(record.children)
    at = start = len(meta) + len(head) + _LONG.size
    for record in ordered:
        record.offset = at
        at += _ITEM.size + len(record.body)
    _link(roots)
    for record in ordered:
        _link(record.children)
        if record.children:
            _U32.pack_into(record.body, _LOWER_AT, record.children[0].offset)
    out = bytearray(meta + head)
    out += _LONG.pack(0x0004, 0x1220, b"SQ", at - start)
    for record in ordered:
        out += _ITEM.pack(0xFFFE, 0xE000, len(record.body))
        out += record.body
    if roots:
        _U32.pack_into(out, first_at, roots[0].offset)
        _U32.pack_into(out, last_at, roots[-1].offset)
    return bytes(out)


def _link(siblings: Sequence[_Record]) -> None:
    for one, following in pairwise(siblings):
        _U32.pack_into(one.body, _NEXT_AT, following.offset)


def key_text(one: Column, row: Mapping[str, Sequence[object]]) -> str:
    """What a key of a record says, ``""`` where the instance says nothing that can be read."""
    raws = [raw for raw in row.get(one.name, ()) if raw is not None]
    if one.multiple:
        return "\\".join(str(raw).strip(" ") for raw in raws)
    cell = read(one, raws[:1])[0] if raws else None
    if cell is None:
        return ""
    if one.vr == "DA" and isinstance(cell, datetime):
        return cell.strftime("%Y%m%d")
    if one.vr == "TM":
        return str(cell).replace(":", "").removesuffix(".000000")
    if one.vr in ("IS", "US", "UL"):
        return str(cell) if len(str(cell)) <= 12 else ""
    return str(raws[0]).strip(" \0").replace("\\", "/")


def _element(keyword: str, value: str | int) -> bytes:
    one = column(keyword)
    tag, vr = one.tag, one.vr
    if vr in _NUMBER:
        octets = _NUMBER[vr].pack(int(value))
    else:
        octets = str(value).encode("utf-8", "replace")
        octets += (b"\0" if vr == "UI" else b" ") * (len(octets) % 2)
    header = _LONG if vr in _LONG_VRS else _SHORT
    if vr not in _LONG_VRS and len(octets) > 0xFFFE:
        octets = octets[:1024]  # no key of a record is that long: PN has 64 characters for each group
    return header.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(octets)) + octets


def _sequence(keyword: str, items: Sequence[bytes]) -> bytes:
    content = b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
    tag = tag_for_keyword(keyword) or 0
    return _LONG.pack(tag >> 16, tag & 0xFFFF, b"SQ", len(content)) + content


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One directory record as it stands in a DICOMDIR."""

    offset: int
    """Octets from the start of the file to its item tag."""
    type: str
    parent: int | None
    """The offset of the record above it; None for roots and orphans."""
    orphan: bool
    """No link leads to it."""
    in_use: bool
    file_id: FileId
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    keys: Mapping[str, Sequence[object]]
    """Raw values of its keys."""


@dataclass(frozen=True, slots=True)
class Directory:
    """What a DICOMDIR says. Every record is there once, in the order of the file, reachable or not."""

    file_set_id: str
    file_set_uid: str
    consistent: bool
    """What its File-set Consistency Flag claims."""
    records: tuple[Record, ...]
    findings: tuple[Finding, ...]

    @property
    def leaves(self) -> tuple[Record, ...]:
        """The records in use that refer to a file."""
        return tuple(record for record in self.records if record.file_id and record.in_use)


_HEAD = columns(
    (
        "FileSetID",
        "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity",
        "FileSetConsistencyFlag",
    )
)
_LINKS = columns(
    (
        "OffsetOfTheNextDirectoryRecord",
        "RecordInUseFlag",
        "OffsetOfReferencedLowerLevelDirectoryEntity",
        "DirectoryRecordType",
        "ReferencedFileID",
        "ReferencedSOPClassUIDInFile",
        "ReferencedSOPInstanceUIDInFile",
        "ReferencedTransferSyntaxUIDInFile",
    )
)
_READ_KEYS = tuple(one for one in RECORD_COLUMNS if len(one.path) == 1)
_SEQUENCE = 0x00041220


def decode_dicomdir(octets: Octets) -> Directory:
    """Read a DICOMDIR, whatever its links say.

    Links are followed without recursion and each record once; an offset that misses by the same shift as the first
    is followed with that shift; records that no link reaches are kept as orphans; loops and stray offsets are
    findings. Implicit VR and Big Endian, which the standard forbids and discs have, are read.

    Parameters
    ----------
    octets : bytes
        The whole file.

    Raises
    ------
    RemoteProtocolError
        Not a DICOMDIR, or cut short.

    Source
    ------
    PS3.3 §F.2.2 (links), §F.3.2.2 (Directory Information Module).
    """
    meta = decode_file_meta(octets, final=True)
    if meta.sop_class_uid != DIRECTORY_CLASS:
        raise RemoteProtocolError("a DICOM file, but no DICOMDIR", section="PS3.10 §8.6", offset=132)
    dataset = memoryview(octets)[meta.length :]
    reader = DatasetReader(dataset, meta.transfer_syntax_uid, {_SEQUENCE, *(one.tag for one in _HEAD)})
    file_set_id, root, flag = (_one(reader, one) for one in _HEAD)
    found: dict[int, Record] = {}
    links: dict[int, tuple[int, int]] = {}
    sequence = reader.element(_SEQUENCE)
    tags = {one.tag for one in (*_LINKS, *_READ_KEYS)}
    broken: list[Finding] = []
    try:
        for at, item in reader.items(sequence, tags) if sequence is not None else ():
            offset = meta.length + at
            found[offset], links[offset] = _record_of(offset, item)
    except RemoteProtocolError as error:
        broken.append(Finding("", "", f"the records end early, after {len(found)}: {error}"))
    records, findings = _followed(found, links, _int(root))
    findings += broken
    return Directory(str(file_set_id or ""), meta.sop_instance_uid, _int(flag) == 0, records, tuple(findings))


def _record_of(offset: int, item: DatasetReader) -> tuple[Record, tuple[int, int]]:
    following, flag, lower, kind, _, sop_class, sop_instance, syntax = (_one(item, one) for one in _LINKS)
    keys = {one.name: values for one in _READ_KEYS if (values := item.values(one, one.path))}
    file_id = tuple(str(part).strip(" ") for part in item.values(_LINKS[4], _LINKS[4].path))
    record = Record(
        offset,
        str(kind or ""),
        None,
        True,
        flag != _INACTIVE,
        file_id,
        str(sop_class or ""),
        str(sop_instance or ""),
        str(syntax or ""),
        keys,
    )
    return record, (_int(following), _int(lower))


def _one(reader: DatasetReader, one: Column) -> object | None:
    values = reader.values(one, one.path)
    return values[0] if values else None


def _int(value: object | None) -> int:
    return value if isinstance(value, int) else 0


def _followed(
    found: dict[int, Record], links: Mapping[int, tuple[int, int]], root: int
) -> tuple[tuple[Record, ...], list[Finding]]:
    """Follow the links from the root; mark what they reach."""
    findings: list[Finding] = []
    shift = 0
    if root and found and root not in found:
        nearest = min(found, key=lambda offset: abs(offset - root))
        shift = nearest - root
        findings.append(Finding("", "", f"the offset of the first record misses by {shift} octets; so may all"))
    waiting: list[tuple[int, int | None]] = [(root, None)] if root else []
    visited: set[int] = set()
    while waiting:
        target, parent = waiting.pop()
        offset = target if target in found else target + shift
        if offset not in found:
            findings.append(Finding("", "", f"a link leads to octet {target}, where no record starts"))
            continue
        record = found[offset]
        if offset in visited:
            findings.append(Finding(record.type, record.sop_instance_uid, f"two links lead to octet {offset}"))
            continue
        visited.add(offset)
        found[offset] = replace(record, parent=parent, orphan=False)
        following, lower = links[offset]
        if following:
            waiting.append((following, parent))
        if lower:
            waiting.append((lower, offset))
    if orphans := len(found) - len(visited):
        findings.append(Finding("", "", f"no link leads to {orphans} of {len(found)} records"))
    return tuple(found.values()), findings
