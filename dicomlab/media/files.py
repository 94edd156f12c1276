"""Writing a File-set: instances under File IDs, octets unchanged; the DICOMDIR last, in one step."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pydicom.datadict import tag_for_keyword
from pydicom.uid import generate_uid

from dicomlab.errors import DicomlabError, RemoteProtocolError, ServiceError
from dicomlab.media.dicomdir import RECORD_COLUMNS, Directory, Finding, Leaf, decode_dicomdir, encode_dicomdir
from dicomlab.media.file_ids import FileIds, is_file_id
from dicomlab.media.found import FileError, Found, Scan, examine, opened, trace_file
from dicomlab.media.records import SEQUENCES, record_type
from dicomlab.media.sequences import read_sequences
from dicomlab.model.columns import columns
from dicomlab.model.matching import first
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Octets, Sink, Writer
from dicomlab.model.report import Outcome, Report
from dicomlab.model.trace import Channel, current
from dicomlab.part10.files import CHUNK_OCTETS, FileWriter, Parcel, Unfit, medium_errors
from dicomlab.part10.meta import PREFIX_END

DICOMDIR = "DICOMDIR"
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
        self._ids = FileIds()
        self._changed = False
        scan.require(RECORD_COLUMNS)
        self._held = columns(scan.held)
        for found in scan.instances.values():
            components = PurePosixPath(found.name).parts
            keys = (first(found.row, n) for n in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
            self._ids.lies(components, *keys)
        for error in scan.errors:
            self._ids.take(PurePosixPath(error.path).parts)

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
            start = bytes(octets[:PREFIX_END])
        if not isinstance(found, Found):
            text = found.message if isinstance(found, FileError) else "a DICOMDIR is no instance"
            raise ServiceError(f"can't join the File-set: {text}", status=_CANNOT_UNDERSTAND)
        with self._lock:
            known = self._scan.instances.get(found.sop_instance_uid)
            if known is not None:
                path.unlink()
                return replace(outcome, result="skipped", status=ALREADY_THERE, path=known.name)
            keys = (first(found.row, n) for n in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
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
        return Parcel(meta, found.name, found.path, padding=found.padding)
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
    with opened(parcel.path) if parcel.path is not None else parcel.open() as file:
        octets = file[: parcel.size]
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


def write_directory(scan: Scan, channel: Channel) -> tuple[Finding, ...]:
    """Write the DICOMDIR of a folder: to another name first, so that a half one is never seen.

    Files under names that no File ID can have (lower case, an extension) stay where they are and have no record,
    which is a finding. The File-set keeps its ID and UID if it has a readable DICOMDIR.

    Raises
    ------
    Interrupted, Refused
        The medium is full, gone, or not to be written.

    Source
    ------
    PS3.10 §8.2, §8.6.
    """
    scan.require(RECORD_COLUMNS)
    path = scan.root / DICOMDIR
    file_set_id, file_set_uid = "", str(generate_uid(prefix=None))
    if path.is_file():
        with suppress(RemoteProtocolError, OSError):
            before = read_directory(path)
            file_set_id, file_set_uid = before.file_set_id, before.file_set_uid or file_set_uid
    leaves: list[Leaf] = []
    extra: list[Finding] = []
    for found in scan.instances.values():
        components = PurePosixPath(found.name).parts
        if is_file_id(components):
            uids = (first(found.row, "SOPClassUID"), found.sop_instance_uid, found.meta.transfer_syntax_uid)
            leaves.append(Leaf(components, *uids, found.row, _sequences(found, extra)))
        else:
            extra.append(Finding("", found.sop_instance_uid, "its name is no File ID: it has no record"))
    octets, findings = encode_dicomdir(leaves, file_set_uid=file_set_uid, file_set_id=file_set_id)
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


def _sequences(found: Found, findings: list[Finding]) -> dict[str, tuple[bytes, ...]]:
    """What the record repeats of the sequences of its instance; most kinds of records repeat none."""
    kind = record_type(first(found.row, "SOPClassUID"))
    wanted = [(keyword, tag) for keyword, _ in SEQUENCES.get(kind, ()) if (tag := tag_for_keyword(keyword))]
    if not wanted:
        return {}
    try:
        with opened(found.path) as octets:
            return read_sequences(octets[found.meta.length :], found.meta, wanted)
    except (RemoteProtocolError, OSError, ValueError) as error:
        findings.append(Finding(kind, found.sop_instance_uid, f"its sequences could not be repeated: {error}"))
        return {}
