"""A DICOMDIR, read with suspicion. Bytes and values only: no I/O.

Source
------
PS3.3 Annex F (Basic Directory IOD), PS3.10 §8.6 (DICOMDIR).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from struct import Struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.file_ids import FileId
from dicomlab.media.lockstep import Indices, Values, gathered, numbers, trimmed, walk_in_step
from dicomlab.media.records import KEYS, VERIFIED_AT, keywords
from dicomlab.model.columns import Column, column, columns
from dicomlab.part10.charset import codecs_of, decode_text
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, decode_file_meta
from dicomlab.part10.walk import Octets, Walker, elements

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage: the SOP Class of a DICOMDIR."""
RECORD_COLUMNS: tuple[Column, ...] = columns(keywords())
"""The keys that records may hold."""
READ_KEYS: tuple[Column, ...] = columns(name for name in keywords() if name != VERIFIED_AT)
"""Those that are read back: every one that is no path through a sequence."""

_SEQUENCE = 0x00041220
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_CHARSET = column("SpecificCharacterSet")
_NEXT, _IN_USE, _LOWER, _TYPE, _FILE_ID, _CLASS, _INSTANCE, _SYNTAX = columns(
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
LINKS = (_NEXT, _IN_USE, _LOWER, _TYPE, _FILE_ID, _CLASS, _INSTANCE, _SYNTAX)
_HEAD = columns(("FileSetID", "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity", "FileSetConsistencyFlag"))
_NEAR = 8
"""Octets by which a single link may miss a record and still be taken for it."""
_NO_RECORD, _NOWHERE = -1, -2
_BY_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_MAX_FINDINGS = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a directory that somebody should know. Never holds a value of a patient."""

    record: str
    """The type of the record."""
    uid: str
    """Of the study, series or instance that it is about, ``""`` for a patient or none."""
    text: str


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


@dataclass(eq=False)
class Directory:
    """What a DICOMDIR says. Every record is there once, in the order of the file, reachable or not.

    It is kept by columns, as the octets that it came from and where each value lies in them; :attr:`records` makes
    objects of it.
    """

    file_set_id: str
    file_set_uid: str
    transfer_syntax_uid: str
    consistent: bool
    """What its File-set Consistency Flag claims."""
    octets: Octets = field(repr=False)
    """The whole file."""
    starts: Indices = field(repr=False)
    """Where each record's item tag lies, ascending."""
    bodies: tuple[Indices, Indices] = field(repr=False)
    """Where the elements of each record begin and end."""
    parents: Indices = field(repr=False)
    """The row of the record above each; -1 for roots and orphans."""
    orphans: NDArray[np.bool_] = field(repr=False)
    values: Mapping[int, Values] = field(repr=False)
    findings: tuple[Finding, ...]
    damaged: bool = False
    """Whether it is cut short, or lengths or links in it lie."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def in_use(self) -> NDArray[np.bool_]:
        """Which records are in use."""
        flags = np.ones(len(self), dtype=bool)
        if (found := self.values.get(_IN_USE.tag)) is not None:
            flags[found.rows] = self._numbers(found, 2) != 0
        return flags

    def texts(self, one: Column) -> tuple[Indices, Indices, NDArray[np.uint8]]:
        """The values of a text attribute as UTF-8, for whoever makes a table.

        Parameters
        ----------
        one : Column

        Returns
        -------
        (rows, offsets, octets)
            Which records have it, where each value begins (one offset more than rows), and the octets of all.
        """
        found = self.values.get(one.tag)
        none = np.zeros(0, dtype=np.int64)
        if found is None:
            return none, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
        buffer = np.frombuffer(self.octets, dtype=np.uint8)
        found = trimmed(buffer, found)
        some = found.lengths > 0
        if not some.all():
            found = Values(found.rows[some], found.starts[some], found.lengths[some])
        offsets, octets = gathered(buffer, found)
        if not ((octets > 127) | (octets == 0x1B)).any():
            return found.rows, offsets, octets
        parts = []
        for row, start, end in zip(found.rows.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            raw = octets[start:end].tobytes()
            if raw.isascii() and b"\x1b" not in raw:
                parts.append(raw)
                continue
            encodings = self._encodings.get(row, ()) if one.vr in _BY_CHARSET else ()
            parts.append(decode_text(raw, encodings or codecs_of([]), person=one.vr == "PN").encode("utf-8", "replace"))
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        return found.rows, offsets, np.frombuffer(b"".join(parts), dtype=np.uint8)

    @cached_property
    def _encodings(self) -> dict[int, tuple[str, ...]]:
        found = self.values.get(_CHARSET.tag)
        if found is None:
            return {}
        known: dict[bytes, tuple[str, ...]] = {}
        named = {}
        for row, start, length in zip(found.rows.tolist(), found.starts.tolist(), found.lengths.tolist(), strict=True):
            raw = bytes(self.octets[start : start + min(length, 256)])
            if raw not in known:
                known[raw] = codecs_of(raw.decode("latin-1").rstrip(" \0").split("\\"))
            named[row] = known[raw]
        return named

    def _numbers(self, found: Values, width: int) -> Indices:
        big = self.transfer_syntax_uid == EXPLICIT_BE
        return numbers(np.frombuffer(self.octets, dtype=np.uint8), found, width, big)

    def strings(self, one: Column) -> dict[int, str]:
        """The values of an attribute as text, by row; numbers are printed."""
        found = self.values.get(one.tag)
        if found is None:
            return {}
        if one.vr in ("US", "UL"):
            values = self._numbers(found, 2 if one.vr == "US" else 4)
            return dict(zip(found.rows.tolist(), map(str, values.tolist()), strict=True))
        rows, offsets, octets = self.texts(one)
        text, at = octets.tobytes(), offsets.tolist()
        return {
            row: text[start:end].decode("utf-8", "replace")
            for row, start, end in zip(rows.tolist(), at[:-1], at[1:], strict=True)
        }

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Every record as an object."""
        kinds, ids, classes, instances, syntaxes = map(self.strings, (_TYPE, _FILE_ID, _CLASS, _INSTANCE, _SYNTAX))
        keys: list[dict[str, Sequence[object]]] = [{} for _ in range(len(self))]
        for one in READ_KEYS:
            for row, value in self.strings(one).items():
                keys[row][one.name] = (int(value),) if one.vr in ("US", "UL") else tuple(value.split("\\"))
        starts = self.starts.tolist()
        return tuple(
            Record(
                starts[row],
                kinds.get(row, ""),
                starts[parent] if parent >= 0 else None,
                orphan,
                in_use,
                tuple(part.strip(" ") for part in ids[row].split("\\")) if row in ids else (),
                classes.get(row, ""),
                instances.get(row, ""),
                syntaxes.get(row, ""),
                keys[row],
            )
            for row, (parent, orphan, in_use) in enumerate(
                zip(self.parents.tolist(), self.orphans.tolist(), self.in_use.tolist(), strict=True)
            )
        )

    @property
    def leaves(self) -> tuple[Record, ...]:
        """The records in use that refer to a file."""
        return tuple(record for record in self.records if record.file_id and record.in_use)


def decode_dicomdir(octets: Octets) -> Directory:
    """Read a DICOMDIR, whatever its links and lengths say.

    Links are followed without recursion and each record once. One that leads to no record is followed to the nearest,
    if it misses by as much as others do (somebody edited a name without moving the links) or by a few octets.
    Records that no link reaches are kept as orphans; loops and stray offsets are findings. Where lengths lie, the next
    record is searched. Implicit VR and Big Endian, which the standard forbids and discs have, are read.

    Parameters
    ----------
    octets : bytes
        The whole file.

    Raises
    ------
    RemoteProtocolError
        Not a DICOMDIR, or cut short before its records.

    Source
    ------
    PS3.3 §F.2.2 (links), §F.3.2.2 (Directory Information Module).
    """
    meta = decode_file_meta(octets, final=True)
    if meta.sop_class_uid != DIRECTORY_CLASS:
        raise RemoteProtocolError("a DICOM file, but no DICOMDIR", section="PS3.10 §8.6", offset=132)
    known = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)
    syntax = meta.transfer_syntax_uid
    if syntax not in known:
        raise RemoteProtocolError(f"a DICOMDIR in transfer syntax {syntax[:64]}", section="PS3.10 §8.6", offset=132)
    walker = Walker(octets, syntax)
    head, at, end = _head(walker, syntax, meta.length)
    findings: list[Finding] = []
    starts, firsts, ends = _items(octets, syntax, at, end, findings)
    wanted = {one.tag for one in (*LINKS, *READ_KEYS, _CHARSET)}
    walked = walk_in_step(octets, syntax, firsts, ends, wanted)
    for row, text in sorted(walked.broken.items()):
        findings.append(
            Finding("", "", f"the record at octet {starts[row]} is broken, and kept as far as it goes: {text}")
        )
    directory = Directory(
        head(_HEAD[0]), meta.sop_instance_uid, syntax, head(_HEAD[2]) in ("", "0"), octets, starts, (firsts, ends),
        np.full(len(starts), _NO_RECORD), np.ones(len(starts), dtype=bool), walked.values, (),
    )  # fmt: skip
    findings = [*_follow(directory, int(head(_HEAD[1]) or 0)), *findings]
    directory.damaged = bool(findings)
    if (more := len(findings) - _MAX_FINDINGS) > 0:
        findings = [*findings[:_MAX_FINDINGS], Finding("", "", f"{more} findings more")]
    directory.findings = tuple(findings)
    return directory


def _head(walker: Walker, syntax: str, at: int) -> tuple[Callable[[Column], str], int, int]:
    """Read what stands before the records; find where these begin and end."""
    places: dict[int, tuple[int, int]] = {}
    order: Literal["big", "little"] = "big" if syntax == EXPLICIT_BE else "little"
    start = end = at
    while at < walker.size:
        if not any(bytes(walker.octets[at : at + 2])) and walker.padded(at):
            break
        tag, vr, value, length = walker.header(at, implicit=walker.implicit)
        if tag == _SEQUENCE:
            start, end = value, walker.size if length == _UNDEFINED else value + length
            break
        after = walker.after(tag, value, length, vr, implicit=walker.implicit, depth=0)
        places.setdefault(tag, (value, after))
        at = after
    if end > walker.size:
        missing = end - walker.size
        if start + 8 > walker.size:
            raise walker.broken(f"the records are announced, but {missing} octets of them are missing", start)

    def text(one: Column) -> str:
        if one.tag not in places:
            return ""
        value, after = places[one.tag]
        raw = bytes(walker.octets[value : min(after, value + 256)])
        if one.vr in ("US", "UL"):
            return str(int.from_bytes(raw, order)) if len(raw) in (2, 4) else ""
        return raw.decode("ascii", "replace").strip(" \0")

    return text, start, end


def _items(octets: Octets, syntax: str, at: int, end: int, findings: list[Finding]) -> tuple[Indices, Indices, Indices]:
    """Where each record lies: its item tag, its first element, the octet after its last."""
    starts: list[int] = []
    firsts: list[int] = []
    ends: list[int] = []
    unpack = Struct(">HHL" if syntax == EXPLICIT_BE else "<HHL").unpack_from
    size = min(end, len(octets))
    if end > size:
        findings.append(Finding("", "", f"the DICOMDIR is cut: {end - size} octets of its records are missing"))
    while at + 8 <= size:
        group, element, length = unpack(octets, at)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        first = at + 8
        after = first + length
        if tag == _ITEM and length == _UNDEFINED:
            after = _after_undefined(octets, syntax, first)
        if tag != _ITEM or after > size or after < first:
            findings.append(
                Finding("", "", f"the records end early, after {len(starts)}: octet {at} is not as announced")
            )
            if tag == _ITEM:  # its length lies: it ends where the next record begins
                after = _next_record(octets, syntax, first, size)
                starts.append(at)
                firsts.append(first)
                ends.append(after)
                at = after
            else:
                at = _next_record(octets, syntax, at + 1, size)
            if at < size:
                findings.append(Finding("", "", f"records were found again from octet {at} on"))
            continue
        starts.append(at)
        firsts.append(first)
        ends.append(after - 8 if length == _UNDEFINED else after)
        at = after
    return np.array(starts, dtype=np.int64), np.array(firsts, dtype=np.int64), np.array(ends, dtype=np.int64)


def _after_undefined(octets: Octets, syntax: str, first: int) -> int:
    """The octet after the Item Delimitation; -1 where there is none."""
    with suppress(RemoteProtocolError):
        for element in elements(memoryview(octets)[first:], syntax):
            if element.tag == _ITEM_END:
                return first + element.end
    return -1


def _next_record(octets: Octets, syntax: str, at: int, end: int) -> int:
    """Where the next item begins that starts with (0004,1400); `end` if there is none."""
    big = syntax == EXPLICIT_BE
    item, link = (b"\xff\xfe\xe0\x00", b"\x00\x04\x14\x00") if big else (b"\xfe\xff\x00\xe0", b"\x04\x00\x00\x14")
    found = re.compile(re.escape(item) + b".{4}" + re.escape(link), re.DOTALL).search(octets, at, end)
    return found.start() if found else end


# --- links ----------------------------------------------------------------------------------------------------------


def _follow(directory: Directory, root: int) -> Iterator[Finding]:
    """Follow the links from the root; fill in ``parents`` and ``orphans``."""
    starts = directory.starts
    targets = [_link(directory, one) for one in (_NEXT, _LOWER)]
    everything = np.concatenate(([root], *targets))
    rows, findings = _resolved(everything, starts)
    yield from findings
    first, following, lower = int(rows[0]), rows[1 : len(starts) + 1].tolist(), rows[len(starts) + 1 :].tolist()
    parents = [_NO_RECORD] * len(starts)
    visited = bytearray(len(starts))
    waiting = [(first, _NO_RECORD)]
    while waiting:
        at, parent = waiting.pop()
        while at >= 0:
            if visited[at]:
                yield Finding("", "", f"two links lead to octet {starts[at]}")
                break
            visited[at] = 1
            parents[at] = parent
            if lower[at] >= 0:
                waiting.append((lower[at], at))
            at = following[at]
    directory.parents[:] = parents
    directory.orphans[:] = np.frombuffer(bytes(visited), dtype=np.uint8) == 0
    if orphans := int(directory.orphans.sum()):
        yield Finding("", "", f"no link leads to {orphans} of {len(starts)} records")


def _link(directory: Directory, one: Column) -> Indices:
    links = np.zeros(len(directory), dtype=np.int64)
    if (found := directory.values.get(one.tag)) is not None:
        links[found.rows] = directory._numbers(found, 4)
    return links


def _resolved(targets: Indices, starts: Indices) -> tuple[Indices, list[Finding]]:
    """The row that each link leads to: -1 for none, -2 where no record starts."""
    rows = np.full(len(targets), _NO_RECORD)
    linked = np.flatnonzero(targets)
    if not len(starts) or not len(linked):
        return rows, []
    wanted = targets[linked]
    place = np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)
    exact = starts[place] == wanted
    rows[linked] = np.where(exact, place, _NOWHERE)
    if exact.all():
        return rows, []
    stray, aim, after = linked[~exact], wanted[~exact], place[~exact]
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(starts[before] - aim) <= np.abs(starts[after] - aim), before, after)
    miss = starts[nearest] - aim
    often = Counter(miss.tolist())
    shifts = sorted(
        shift for shift, times in often.items() if times > 1 or abs(shift) <= _NEAR or targets[0] + shift in starts
    )
    findings = []
    taken = np.isin(miss, shifts)
    rows[stray[taken]] = nearest[taken]
    for shift in shifts[:10]:
        findings.append(Finding("", "", f"{often[shift]} links miss their records by {shift} octets, and are followed"))
    for octet in aim[~taken][:100].tolist():
        findings.append(Finding("", "", f"a link leads to octet {octet}, where no record starts"))
    return rows, findings


def above(directory: Directory, kinds: Mapping[int, str]) -> dict[str, Indices]:
    """For each record, the row of the patient, study and series that it stands below (or is); -1 for none.

    Parameters
    ----------
    directory : Directory
    kinds : mapping
        The type of each record, by row.

    Source
    ------
    PS3.3 Table F.4-1.
    """
    types = np.zeros(len(directory), dtype=np.int8)
    for level, kind in enumerate(("PATIENT", "STUDY", "SERIES"), start=1):
        types[[row for row, name in kinds.items() if name == kind]] = level
    found = {}
    for level, kind in enumerate(("PATIENT", "STUDY", "SERIES"), start=1):
        at = np.arange(len(directory))
        for _ in range(5):  # no record stands lower than that
            climb = (at >= 0) & (types[at] != level)
            if not climb.any():
                break
            at = np.where(climb, np.where(at >= 0, directory.parents[at], _NO_RECORD), at)
        found[kind] = np.where((at >= 0) & (types[at] == level), at, _NO_RECORD)
    return found


assert all(column(keyword) in RECORD_COLUMNS for keys in KEYS.values() for keyword, _ in keys)
