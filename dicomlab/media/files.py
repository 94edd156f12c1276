"""Writing a File-set: instances under File IDs, octets unchanged; the DICOMDIR last, in one step."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.uid import generate_uid

from dicomlab.errors import DicomlabError, RemoteProtocolError, ServiceError
from dicomlab.media.dicomdir import RECORD_COLUMNS, Directory, Finding, Record, decode_dicomdir
from dicomlab.media.dicomdir_writer import Kept, Leaf, encode_dicomdir, kept_records
from dicomlab.media.fields import FILE_START
from dicomlab.media.file_ids import FileIds, is_file_id
from dicomlab.media.found import FileError, Found, Scan, examine, opened, patientless, trace_file
from dicomlab.media.header import read_dataset_row
from dicomlab.media.records import KEYS, SEQUENCES, VERIFIED_AT, record_type
from dicomlab.media.sequences import read_sequences
from dicomlab.model.columns import Column, columns
from dicomlab.model.matching import first
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Octets, Sink, Writer
from dicomlab.model.report import Outcome, Report
from dicomlab.model.trace import Channel, current
from dicomlab.part10.files import CHUNK_OCTETS, FileWriter, Parcel, Unfit
from dicomlab.part10.medium import medium_errors

DICOMDIR = "DICOMDIR"
_PLACE: tuple[Column, ...] = columns(("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
"""What says where an instance of a File-set lies."""
_KEYS: tuple[Column, ...] = columns((*(one.name for one in RECORD_COLUMNS), "SOPClassUID", "SOPInstanceUID"))
"""What the records of an index's instances are made of."""
ALREADY_THERE = "already in the File-set"
_CANNOT_UNDERSTAND = 0xC000


def read_directory(path: Path) -> Directory:
    """Read a DICOMDIR file.

    Raises
    ------
    RemoteProtocolError
        It is none, or broken.
    OSError
        It can't be opened.
    """
    with opened(path) as octets:
        return decode_dicomdir(bytes(octets))


class FileSetSink:
    """Where instances arrive that join a File-set. Satisfies ``Sink``; may be called from several threads.

    Each instance is looked at when it is whole, gets its File ID, and lies there at once; :meth:`close` writes the
    DICOMDIR over everything in the File-set. Until then the old DICOMDIR stands.

    Parameters
    ----------
    scan : Scan
        What the folder holds; grows with what arrives.
    channel : Channel
        Of the trace.
    """

    def __init__(self, scan: Scan, channel: Channel) -> None:
        self.findings: tuple[Finding, ...] = ()
        self._scan = scan
        self.root = scan.root
        self._channel = channel
        self._lock = threading.Lock()
        self._changed = False
        self._held = columns(scan.held)

    @cached_property
    def _ids(self) -> FileIds:
        """Gives out File IDs, knowing what is there."""
        ids = FileIds()
        for name, _, row in self._scan.instances.brief(_PLACE):
            ids.lies(name.split("/"), *(first(row, one.name) for one in _PLACE))
        for error in self._scan.errors:
            ids.take(error.path.split("/"))
        return ids

    def begin(self, arrival: Arrival) -> Writer:
        """Make room for one instance; one that is there already is not written again."""
        known = self._scan.instances.get(arrival.sop_instance_uid)
        if known is not None:
            return _Skipped(arrival, known)
        path = self.root / f".arriving-{secrets.token_hex(6)}"
        return _Arriving(self, FileWriter(path, arrival, root=self.root))

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Learn that an instance will not arrive: nothing to do, it never had a place."""

    def place(self, path: Path, outcome: Outcome) -> Outcome:
        """Give a whole file its File ID.

        Raises
        ------
        ServiceError
            It is no instance that a File-set can hold: broken, or without its UIDs.
        """
        with opened(path) as octets:
            found = examine(path, path.name, octets, self._held)
            start = bytes(octets[:FILE_START])
        if not isinstance(found, Found):
            text = found.message if isinstance(found, FileError) else "a DICOMDIR is no instance"
            raise ServiceError(f"can't join the File-set: {text}", status=_CANNOT_UNDERSTAND)
        with self._lock:
            known = self._scan.instances.get(found.sop_instance_uid)
            if known is not None:
                path.unlink()
                return replace(outcome, result="skipped", status=ALREADY_THERE, path=known.name)
            keys = (first(found.row, one.name) for one in _PLACE)
            target = self.root.joinpath(*self._ids.next(*keys))
            with medium_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            found.path, found.name = target, target.relative_to(self.root).as_posix()
            self._scan.instances[found.sop_instance_uid] = found
            self._changed = True
        trace_file(self._channel, "sent", f"written: {found.name}", start)
        return replace(outcome, path=found.name)

    def close(self) -> None:
        """Write the DICOMDIR, if something arrived or none is there.

        Raises
        ------
        Interrupted, Refused
            The medium is full, gone, or not to be written.
        """
        with self._lock:
            if self._changed or not (self.root / DICOMDIR).exists():
                self.findings = write_directory(self._scan, self._channel)
                self._changed = False


class _Arriving:
    """A file writer that asks for a place once the file is whole."""

    def __init__(self, sink: FileSetSink, writer: FileWriter) -> None:
        self._sink, self._writer = sink, writer

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""
        self._writer.write(octets)

    def finish(self) -> Outcome:
        """Look at it and put it in its place."""
        outcome = self._writer.finish()
        try:
            return self._sink.place(self._writer.path, outcome)
        except BaseException:
            with suppress(OSError):
                self._writer.path.unlink()
            raise

    def abandon(self) -> None:
        """Leave no trace of it."""
        self._writer.abandon()


class _Skipped:
    """Takes the octets of an instance that is there already, and forgets them."""

    def __init__(self, arrival: Arrival, known: Found) -> None:
        self._arrival, self._known = arrival, known

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""

    def finish(self) -> Outcome:
        """Say where it lies."""
        meta = self._known.meta
        return Outcome(
            self._arrival.sop_instance_uid,
            "skipped",
            ALREADY_THERE,
            meta.sop_class_uid,
            meta.transfer_syntax_uid,
            self._known.size - meta.length,
            self._known.name,
        )

    def abandon(self) -> None:
        """There is nothing to leave."""


def parcel_of(found: Found) -> Parcel | Unfit:
    """A file as it lies; its identity is that of the data set, whatever the File Meta Information says.

    One that lies in an archive, or lacks what stands in front of a data set, is opened when it is needed. One that only
    another reader understands is not given on.
    """
    if found.unfit:
        return Unfit(found.name, found.unfit)
    sop_class_uid = first(found.row, "SOPClassUID")
    meta = replace(found.meta, sop_class_uid=sop_class_uid, sop_instance_uid=found.sop_instance_uid)
    if not found.bare and found.path.is_file():
        return Parcel(meta, found.name, found.path, padding=found.padding, changed_ns=found.changed_ns)
    length = len(found.file_meta()) if found.bare else meta.length
    whole = length + found.size - meta.length
    return Parcel(replace(meta, length=length), found.name, opener=found.part10, whole=whole)


def copy(parcel: Parcel, sink: Sink, channel: Channel | None = None) -> Outcome:
    """Give one file to a sink in pieces, octet for octet; padding behind the data set stays behind.

    Raises
    ------
    ServiceError, Interrupted, Refused
        What the sink raises.
    OSError, ValueError
        The file can't be read (any more).
    """
    meta = parcel.meta
    with parcel.open() as octets:
        if channel is not None:
            trace_file(channel, "received", f"read: {parcel.name}", octets)
        start = bytes(octets[: meta.length])
        writer = sink.begin(Arrival(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, start))
        try:
            for at in range(meta.length, len(octets), CHUNK_OCTETS):
                writer.write(octets[at : at + CHUNK_OCTETS])
        except BaseException:
            writer.abandon()
            raise
        return writer.finish()


def fill(sink: FileSetSink, given: Iterable[Parcel | Unfit], control: Control, title: str) -> Report:
    """Copy into a File-set until done or cancelled; its DICOMDIR then lists what is there.

    Raises
    ------
    Interrupted, Refused
        The medium is full, gone, or not to be written; ``partial`` is the report so far, and the DICOMDIR is written
        even then if that is possible.
    """
    outcomes: list[Outcome] = []

    def report(note: str) -> Report:
        failed = sum(one.result == "failed" for one in outcomes)
        note = note or (f"{failed} could not be stored" if failed else "")
        return Report(title, tuple(outcomes), not note, note, folder=sink.root, trace=current())

    try:
        for one in given:
            if control.cancelled:
                break
            outcome = _stored(one, sink)
            outcomes.append(outcome)
            bad = outcome.result == "failed"
            control.advance(int(not bad), failed=int(bad), octets=outcome.octets)
        sink.close()
    except DicomlabError as error:
        with suppress(DicomlabError):
            sink.close()
        error.partial = report(str(error))
        error.trace = error.trace or current()
        raise
    return report("cancelled" if control.cancelled else "")


def _stored(one: Parcel | Unfit, sink: FileSetSink) -> Outcome:
    if isinstance(one, Unfit):
        return Outcome("", "failed", f"{one.name}: {one.reason}")
    meta = one.meta
    try:
        return copy(one, sink)
    except ServiceError as error:
        status = f"{error.status:04X}H {error}"
    except (OSError, ValueError) as error:
        status = f"can't be read: {getattr(error, 'strerror', None) or error}"
    return Outcome(meta.sop_instance_uid, "failed", status, meta.sop_class_uid, meta.transfer_syntax_uid)


def write_directory(scan: Scan, channel: Channel, dropped: Collection[str] = ()) -> tuple[Finding, ...]:
    """Write the DICOMDIR of a folder: to another name first, so that a half one is never seen.

    Files under names that no File ID can have (lower case, an extension) stay where they are and have no record,
    which is a finding. Of a readable DICOMDIR that is there already, the File-set keeps its ID and UID, and what is
    still there its records, octet for octet; so does what is gone without anybody having removed it.

    Parameters
    ----------
    scan : Scan
    channel : Channel
    dropped : collection of str
        SOP Instance UIDs that were removed on purpose.

    Raises
    ------
    Interrupted, Refused
        The medium is full, gone, or not to be written.

    Source
    ------
    PS3.10 §8.2, §8.4, §8.6.
    """
    path = scan.root / DICOMDIR
    file_set_id, file_set_uid = "", str(generate_uid(prefix=None))
    kept: Kept = {}
    leaves: list[Leaf] = []
    extra: list[Finding] = []
    if path.is_file():
        with suppress(RemoteProtocolError, OSError):
            before = read_directory(path)
            file_set_id, file_set_uid = before.file_set_id, before.file_set_uid or file_set_uid
            kept = kept_records(before)
            leaves += _gone(before, scan, dropped)
    held = frozenset(scan.held)
    for name, syntax, row in scan.instances.brief([one for one in _KEYS if one.name in held]):
        components = tuple(name.split("/"))
        if is_file_id(components):
            leaf = Leaf(components, first(row, "SOPClassUID"), first(row, "SOPInstanceUID"), syntax, row)
            find = partial(scan.instances.__getitem__, leaf.sop_instance_uid)
            leaves.append(completed(leaf, held, find, extra, kept=kept))
        else:
            extra.append(Finding("", first(row, "SOPInstanceUID"), "its name is no File ID: it has no record"))
    for found in patientless(scan):
        components = tuple(found.name.split("/"))
        if is_file_id(components):
            syntax = found.meta.transfer_syntax_uid
            leaf = Leaf(components, first(found.row, "SOPClassUID"), found.sop_instance_uid, syntax, found.row)
            leaves.append(completed(leaf, held, partial(replace, found), extra, kept=kept))
    octets, findings = encode_dicomdir(leaves, file_set_uid=file_set_uid, file_set_id=file_set_id, kept=kept)
    part = path.with_name(f".{DICOMDIR}.{secrets.token_hex(4)}.part")
    try:
        with medium_errors(path):
            part.write_bytes(octets)
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    trace_file(channel, "sent", f"written: {DICOMDIR}", octets)
    if path not in scan.directories:
        scan.directories.append(path)
    return (*findings, *extra)


def _gone(before: Directory, scan: Scan, dropped: Collection[str]) -> Iterator[Leaf]:
    """The records of files that are not there (any more): nobody asked to forget them."""
    by_offset = {record.offset: record for record in before.records}
    for record in before.leaves:
        uid = record.sop_instance_uid
        if not uid or uid in scan.instances or uid in dropped or not is_file_id(record.file_id):
            continue
        if scan.root.joinpath(*record.file_id).exists():
            continue  # another file lies there now
        row: dict[str, Sequence[object]] = {"SOPInstanceUID": (uid,)}
        one: Record | None = record
        seen: set[int] = set()
        while one is not None and one.offset not in seen:
            seen.add(one.offset)
            row = {**one.keys, **row}
            one = by_offset.get(one.parent) if one.parent is not None else None
        if row.get("StudyInstanceUID") and row.get("SeriesInstanceUID"):
            yield Leaf(record.file_id, record.sop_class_uid, uid, record.transfer_syntax_uid, row)


def completed(
    leaf: Leaf, held: frozenset[str], find: Callable[[], Found], findings: list[Finding], *, kept: Kept | None = None
) -> Leaf:
    """A leaf with everything that its record holds; its file is opened only where the index does not have all of it.

    Parameters
    ----------
    leaf : Leaf
        With the row of the index.
    held : set of str
        Columns that the index has.
    find : callable
        Gives the instance.
    findings : list of Finding
        Gets what can't be read.
    kept : mapping, optional
        Records that are written as they were: of these nothing need be read.
    """
    kind = record_type(leaf.sop_class_uid)
    wanted, repeated = _beyond(kind, held)
    if not wanted and not repeated:
        return leaf
    if kept and (kind, "\\".join(leaf.file_id), leaf.sop_instance_uid, leaf.transfer_syntax_uid) in kept:
        return leaf
    found = find()
    try:
        with found.opened() as octets:
            dataset = octets[found.meta.length :]
            row = {**leaf.row, **read_dataset_row(dataset, found.meta, wanted)}
            sequences = read_sequences(dataset, found.meta, repeated) if repeated else {}
    except (RemoteProtocolError, ServiceError, OSError, ValueError) as error:
        findings.append(Finding(kind, leaf.sop_instance_uid, f"its sequences could not be repeated: {error}"))
        return leaf
    return replace(leaf, row=row, sequences=sequences)


@lru_cache(maxsize=64)
def _beyond(kind: str, held: frozenset[str]) -> tuple[tuple[Column, ...], tuple[tuple[str, int], ...]]:
    """What a record of that type holds and the index does not: columns, and sequences that it repeats."""
    names = [keyword for keyword, _ in KEYS[kind]]
    every = columns([*names, VERIFIED_AT] if kind == "SR DOCUMENT" else names)
    repeated = [(keyword, tag) for keyword, _ in SEQUENCES.get(kind, ()) if (tag := tag_for_keyword(keyword))]
    return tuple(one for one in every if one.name not in held), tuple(repeated)
