"""A DICOMDIR, written from rows of instances; time and memory grow with their number, not faster. No I/O.

Source
------
PS3.3 Annex F (Basic Directory IOD), PS3.10 §8.6 (DICOMDIR).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from struct import Struct

from pydicom.datadict import tag_for_keyword

from dicomlab.media.dicomdir import DIRECTORY_CLASS, Directory, Finding
from dicomlab.media.file_ids import FileId
from dicomlab.media.records import (
    KEYS,
    NEVER,
    ROOT_TYPES,
    SEQUENCES,
    SYNTHETIC,
    SYNTHETIC_BY_VR,
    VERIFIED_AT,
    record_type,
)
from dicomlab.model.columns import Column, column, read
from dicomlab.model.matching import first, order
from dicomlab.part10.meta import EXPLICIT_LE, encode_file_meta

_IN_USE = 0xFFFF
_UTF8 = "ISO_IR 192"
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
    """Raw values of :data:`~dicomlab.media.dicomdir.RECORD_COLUMNS`."""
    sequences: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    """The items of sequences that its record repeats, as :mod:`~dicomlab.media.sequences` reads them."""


Kept = Mapping[tuple[str, ...], bytes]
"""Records of a DICOMDIR that is being updated, octet for octet, by what they stand for: see :func:`kept_records`."""


@dataclass(slots=True)
class _Record:
    body: bytearray
    children: list[_Record] = field(default_factory=list)
    offset: int = 0


def encode_dicomdir(
    leaves: Iterable[Leaf], *, file_set_uid: str, file_set_id: str = "", kept: Kept | None = None
) -> tuple[bytes, tuple[Finding, ...]]:
    """Write the DICOMDIR of a File-set.

    Parameters
    ----------
    leaves : iterable of Leaf
        In any order; their records stand in the order that all paths share.
    file_set_uid : str
        Identifies the File-set for good.
    file_set_id : str, optional
        A readable name, at most 16 characters of CS.
    kept : mapping, optional
        Records that are taken as they are: what :func:`kept_records` found in the DICOMDIR that this one replaces.

    Returns
    -------
    (octets, findings)
        The whole file; and what had to be made up. A key that a record must hold (Type 1) and that the instance
        leaves empty gets a value in the record only: the instance is never touched.

    Source
    ------
    PS3.3 §F.3 (modules), §F.5 (records); PS3.10 Table 7.1-1.
    """
    builder = _Builder(kept or {})
    for leaf in sorted(leaves, key=lambda one: order(one.row)):
        builder.add(leaf)
    return _assemble(builder.roots, file_set_uid, file_set_id), tuple(builder.findings)


def kept_records(directory: Directory) -> Kept:
    """The records of a DICOMDIR that can be written again as they stand, icons, private keys and all.

    Parameters
    ----------
    directory : Directory
        In any transfer syntax; of one that is not in Explicit VR Little Endian, no record can be kept.

    Returns
    -------
    mapping
        ``("PATIENT", PatientID)``, ``("STUDY", StudyInstanceUID)``, ``("SERIES", SeriesInstanceUID)``, or for a leaf
        its type, File ID, SOP Instance UID and transfer syntax, to the octets of the record.

    Source
    ------
    PS3.10 §8.4 (File-set Updater), PS3.3 §F.3.2.2.
    """
    if directory.transfer_syntax_uid != EXPLICIT_LE:
        return {}
    found: dict[tuple[str, ...], bytes] = {}
    upper = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
    starts, ends = directory.bodies
    for record, start, end in zip(directory.records, starts.tolist(), ends.tolist(), strict=True):
        body = bytes(directory.octets[start:end])
        if not record.in_use or len(body) % 2 or body[:8] + body[12:20] + body[22:30] != _LINK_HEADERS:
            continue
        if record.file_id:
            name = "\\".join(record.file_id)
            key: tuple[str, ...] = (record.type, name, record.sop_instance_uid, record.transfer_syntax_uid)
        elif record.type in upper and (uid := str(record.keys.get(upper[record.type], ("",))[0])):
            key = (record.type, uid)
        else:
            continue
        found.setdefault(key, body)
    return found


class _Builder:
    """Grows the tree of records, instance by instance."""

    def __init__(self, kept: Kept) -> None:
        self.roots: list[_Record] = []
        self.findings: list[Finding] = []
        self._kept = kept
        self._patients: dict[str, _Record] = {}
        self._studies: dict[str, tuple[str, _Record]] = {}
        self._series: dict[tuple[str, str], _Record] = {}

    def add(self, leaf: Leaf) -> None:
        """Add the record of one instance, and those above it that are not there yet."""
        kind = record_type(leaf.sop_class_uid)
        if kind in ROOT_TYPES:
            self.roots.append(self._leaf(kind, leaf, len(self.roots) + 1))
            return
        study_uid, series_uid = first(leaf.row, "StudyInstanceUID"), first(leaf.row, "SeriesInstanceUID")
        patient_id = first(leaf.row, "PatientID")
        known = self._studies.get(study_uid)
        if known is None:
            # who has no Patient ID is a patient of his own in each study; the ID is made up from the study's UID
            made_up = "" if patient_id else "NOID" + hashlib.sha256(study_uid.encode()).hexdigest()[:12].upper()
            patient = self._patients.get(patient_id or made_up)
            if patient is None:
                patient = self._upper("PATIENT", patient_id or made_up, "", leaf.row, {"PatientID": made_up})
                self._patients[patient_id or made_up] = patient
                self.roots.append(patient)
            study = self._upper("STUDY", study_uid, study_uid, leaf.row, {})
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
            series = self._upper("SERIES", series_uid, series_uid, leaf.row, {"SeriesNumber": number})
            study.children.append(series)
            self._series[study_uid, series_uid] = series
        series.children.append(self._leaf(kind, leaf, len(series.children) + 1))

    def _upper(
        self, kind: str, key: str, uid: str, row: Mapping[str, Sequence[object]], made_up: Mapping[str, str]
    ) -> _Record:
        if (body := self._kept.get((kind, key))) is not None:
            return _unlinked(body)
        return _Record(bytearray(_start(kind) + self._keys(kind, uid, row, made_up, {})))

    def _leaf(self, kind: str, leaf: Leaf, number: int) -> _Record:
        name = "\\".join(leaf.file_id)
        if self._kept:
            key = (kind, name, leaf.sop_instance_uid, leaf.transfer_syntax_uid)
            if (kept := self._kept.get(key)) is not None:
                return _unlinked(kept)
        body = bytearray(_start(kind))
        body += _put(0x1500, b"CS", name.encode("ascii", "replace"), b" ")
        body += _put(0x1510, b"UI", leaf.sop_class_uid.encode("ascii", "replace"), b"\0")
        body += _put(0x1511, b"UI", leaf.sop_instance_uid.encode("ascii", "replace"), b"\0")
        body += _put(0x1512, b"UI", leaf.transfer_syntax_uid.encode("ascii", "replace"), b"\0")
        made_up = {"InstanceNumber": str(number)}
        body += self._keys(kind, leaf.sop_instance_uid, leaf.row, made_up, leaf.sequences)
        return _Record(body)

    def _keys(
        self, kind: str, uid: str, row: Mapping[str, Sequence[object]], made_up: Mapping[str, str],
        sequences: Mapping[str, tuple[bytes, ...]],
    ) -> bytes:  # fmt: skip
        keys: list[tuple[int, bytes]] = []
        for one, need in _columns_of(kind):
            value = key_text(one, row)
            if not value and need == 1:
                keyword = one.name
                value = made_up.get(keyword) or SYNTHETIC.get(keyword) or SYNTHETIC_BY_VR.get(one.vr, "UNKNOWN")
                self.findings.append(Finding(kind, uid, f"{keyword} is empty or unreadable: {value!r} in the record"))
            if value or need < 3:
                keys.append((one.tag, _element(one, value)))
        for keyword, need in SEQUENCES.get(kind, ()):
            items = sequences.get(keyword, ())
            if not items and need == 1:
                text = f"no {keyword}, which the record must have and nobody can make up"
                self.findings.append(Finding(kind, uid, text))
            elif items or need == 2:
                keys.append((tag_for_keyword(keyword) or 0, _sequence(keyword, items)))
        if kind == "SR DOCUMENT" and first(row, "VerificationFlag") == "VERIFIED":
            moments = [str(one) for one in row.get(VERIFIED_AT, ()) if one]
            verified = column("VerificationDateTime")
            keys.append((verified.tag, _element(verified, max(moments, default=NEVER))))
        if len(keys) > 1:
            keys.sort()
        octets = b"".join(octets for _, octets in keys)
        return octets if octets.isascii() else _element(column("SpecificCharacterSet"), _UTF8) + octets


@lru_cache(maxsize=256)
def _columns_of(kind: str) -> tuple[tuple[Column, int], ...]:
    return tuple((column(keyword), need) for keyword, need in KEYS[kind])


def _put(number: int, vr: bytes, octets: bytes, pad: bytes) -> bytes:
    """One element of group 0004 with a short length."""
    if len(octets) % 2:
        octets += pad
    return _SHORT.pack(0x0004, number, vr, len(octets)) + octets


@lru_cache(maxsize=256)
def _start(kind: str) -> bytes:
    """What every record begins with: its two links, still zero, its flag and its type."""
    return (
        _put(0x1400, b"UL", bytes(4), b"")
        + _put(0x1410, b"US", _IN_USE.to_bytes(2, "little"), b"")
        + _put(0x1420, b"UL", bytes(4), b"")
        + _put(0x1430, b"CS", kind.encode("ascii"), b" ")
    )


_LINK_HEADERS = _start("IMAGE")[:8] + _start("IMAGE")[12:20] + _start("IMAGE")[22:30]


def _unlinked(body: bytes) -> _Record:
    copy = bytearray(body)
    _U32.pack_into(copy, _NEXT_AT, 0)
    _U32.pack_into(copy, _LOWER_AT, 0)
    return _Record(copy)


def _assemble(roots: list[_Record], file_set_uid: str, file_set_id: str) -> bytes:
    meta = encode_file_meta(DIRECTORY_CLASS, file_set_uid, EXPLICIT_LE)
    head = bytearray(_element(column("FileSetID"), file_set_id))
    first_at = len(meta) + len(head) + _SHORT.size
    head += _put(0x1200, b"UL", bytes(4), b"")
    last_at = len(meta) + len(head) + _SHORT.size
    head += _put(0x1202, b"UL", bytes(4), b"")
    head += _put(0x1212, b"US", bytes(2), b"")
    ordered: list[_Record] = []
    waiting = list(reversed(roots))
    while waiting:  # depth first: each record is followed by those below it
        record = waiting.pop()
        ordered.append(record)
        if record.children:
            waiting += reversed(record.children)
    at = start = len(meta) + len(head) + _LONG.size
    for record in ordered:
        record.offset = at
        at += _ITEM.size + len(record.body)
    _link(roots)
    for record in ordered:
        if record.children:
            _link(record.children)
            _U32.pack_into(record.body, _LOWER_AT, record.children[0].offset)
    if roots:
        head[first_at - len(meta) : first_at - len(meta) + 4] = _U32.pack(roots[0].offset)
        head[last_at - len(meta) : last_at - len(meta) + 4] = _U32.pack(roots[-1].offset)
    parts = [meta, bytes(head), _LONG.pack(0x0004, 0x1220, b"SQ", at - start)]
    for record in ordered:
        parts.append(_ITEM.pack(0xFFFE, 0xE000, len(record.body)))
        parts.append(record.body)  # type: ignore[arg-type]  # join takes it as it is
    return b"".join(parts)


def _link(siblings: Sequence[_Record]) -> None:
    for one, following in pairwise(siblings):
        _U32.pack_into(one.body, _NEXT_AT, following.offset)


def key_text(one: Column, row: Mapping[str, Sequence[object]]) -> str:
    """What a key of a record says, ``""`` where the instance says nothing that can be read.

    Source
    ------
    PS3.3 §F.5 (keys of each record type); PS3.5 §6.2 (value representations).
    """
    raws = row.get(one.name)
    if not raws:
        return ""
    if one.vr == "IS" and type(raws[0]) is str and len(raws[0]) <= 12 and raws[0].isdecimal() and raws[0].isascii():
        return raws[0]  # as nearly all of them are
    raws = [raw for raw in raws if raw is not None]
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


def _element(one: Column, value: str) -> bytes:
    tag, vr = one.tag, one.vr
    if vr in _NUMBER:
        octets = _NUMBER[vr].pack(int(value))
    else:
        octets = value.encode("utf-8", "replace")
        octets += (b"\0" if vr == "UI" else b" ") * (len(octets) % 2)
    header = _LONG if vr in _LONG_VRS else _SHORT
    if vr not in _LONG_VRS and len(octets) > 0xFFFE:
        octets = octets[:1024]  # no key of a record is that long: PN has 64 characters for each group
    return header.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(octets)) + octets


def _sequence(keyword: str, items: Sequence[bytes]) -> bytes:
    content = b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
    tag = tag_for_keyword(keyword) or 0
    return _LONG.pack(tag >> 16, tag & 0xFFFF, b"SQ", len(content)) + content
