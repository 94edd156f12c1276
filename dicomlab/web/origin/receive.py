"""STOW-RS at the origin server: parts of a request into a sink, each judged before it is stored."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from dicomlab.errors import DicomlabError, Interrupted, RemoteProtocolError, ServiceError
from dicomlab.model.protocols import Arrival, Octets, Sink
from dicomlab.part10.files import CHUNK_OCTETS
from dicomlab.part10.meta import DEFLATED_LE, decode_file_meta
from dicomlab.web.datasets import NOT_ALLOWED, SERIES, SOP_CLASS, SOP_INSTANCE, STUDY, uids_of
from dicomlab.web.json_model import decode
from dicomlab.web.media_types import DICOM, DICOM_JSON, OCTETS, RELATED, MediaType, parse_content_type
from dicomlab.web.multipart import Begin, Data, Event, PartReader
from dicomlab.web.origin.assemble import Allowance, Bulk, assemble, identity
from dicomlab.web.resources import Resource
from dicomlab.web.store_answer import (
    CANNOT_UNDERSTAND,
    DATA_SET_MISMATCH,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SYNTAX_NOT_SUPPORTED,
    Failure,
    StoredInstance,
)
from dicomlab.web.xml_model import from_xml

MAX_PARTS = 10_000
MAX_METADATA = 64 << 20
"""Octets of one part of metadata."""
DICOM_XML = "application/dicom+xml"
METADATA_TYPES = frozenset({DICOM_JSON, DICOM_XML})
_IN_MEMORY = 4 << 20
_PART_TYPES = frozenset({DICOM, "", "*/*", "application/octet-stream"})


class Receiver:
    """Takes the body of one store request. A part is stored when the delimiter after it came, and it is whole.

    Instances sent as metadata and bulk values are stored when all has come: any part may be the one they need.

    Parameters
    ----------
    kind : MediaType
        The Content-Type of the request.
    sink : Sink
    base_url : str
        For the addresses of what was stored.
    study : str
        The study that all must be of; ``""`` for any.

    Source
    ------
    PS3.18 §10.5.
    """

    def __init__(self, kind: MediaType, sink: Sink, base_url: str, study: str, max_parts: int = MAX_PARTS) -> None:
        self._sink, self._base_url, self._study = sink, base_url, study
        self._reader = PartReader(kind.boundary, max_parts=max_parts) if kind.name == RELATED else None
        self._apart = _Apart(max_parts) if kind.part in METADATA_TYPES else None
        self._spool: IO[bytes] | None = None
        self._size = 0
        self._foreign = ""
        if self._reader is None:
            self._event(Begin({"content-type": DICOM}))
        self.stored: list[StoredInstance] = []
        self.failed: list[Failure] = []
        self.problem = ""
        """What is wrong with the body as a whole."""

    def feed(self, octets: bytes) -> None:
        """Take more of the body."""
        if self._reader is None:
            self._event(Data(octets))
        elif not self.problem:
            try:
                for event in self._reader.feed(octets):
                    self._event(event)
            except RemoteProtocolError as error:
                self._broken(str(error))

    def close(self) -> None:
        """The body has ended: what is incomplete now is not stored."""
        if self._reader is None:
            self._end()
        elif not self.problem:
            try:
                self._reader.close()
                self._assemble()
            except RemoteProtocolError as error:
                self._broken(str(error))

    def drop(self) -> None:
        """Let go of what will never be whole."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._apart is not None:
            self._apart.close()

    def _broken(self, problem: str) -> None:
        self.problem = problem
        if self._spool is not None or not self.stored:
            self.failed.append(Failure(CANNOT_UNDERSTAND))
        self.drop()

    def _event(self, event: Event) -> None:
        if isinstance(event, Begin):
            text = event.headers.get("content-type", "")
            name = parse_content_type(text).name if text else ""
            self._size = 0
            if self._apart is not None:
                self._apart.begin(parse_content_type(text or OCTETS), event.headers.get("content-location", ""))
                return
            self._foreign = "" if name in _PART_TYPES else name
            self._spool = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (closed at the end of the part)
        elif isinstance(event, Data):
            if self._apart is not None:
                self._apart.write(event.octets)
            elif self._spool is not None and not self._foreign:
                self._spool.write(event.octets)
                self._size += len(event.octets)
        else:
            self._end()

    def _end(self) -> None:
        """Judge and store one whole part."""
        spool, self._spool = self._spool, None
        if spool is None:
            return
        with spool:
            if self._foreign:
                self.failed.append(Failure(CANNOT_UNDERSTAND))
                return
            spool.seek(0)
            if self._size <= _IN_MEMORY:
                self._judge(spool.read())
            else:
                with mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as octets:
                    self._judge(octets, spool)

    def _assemble(self) -> None:
        """Put together and store what came as metadata and bulk values."""
        if self._apart is None:
            return
        with closing(self._apart) as apart:
            bulk = apart.bulk()
            allowance = Allowance(sum(one.size for one in bulk.values()))
            for model in apart.models():
                sop_class, uid = identity(model)
                try:
                    octets = assemble(model, bulk, self._base_url, allowance)
                except RemoteProtocolError as error:
                    self.failed.append(Failure(CANNOT_UNDERSTAND, uid, sop_class))
                    self.problem = self.problem or str(error)
                    continue
                self._judge(octets)

    def _judge(self, octets: bytes | memoryview, file: IO[bytes] | None = None) -> None:
        """Judge and store one instance; one that lies in a file is looked into by `octets`, and copied by reading."""
        try:
            meta = decode_file_meta(octets, final=True)
        except RemoteProtocolError:
            self.failed.append(Failure(CANNOT_UNDERSTAND))
            return
        file_meta = bytes(octets[: meta.length])
        arrival = Arrival(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, file_meta, "web")
        with memoryview(octets) as view, view[meta.length :] as data:
            if file is None:
                chunks: Iterator[Octets] = (data[at : at + CHUNK_OCTETS] for at in range(0, len(data), CHUNK_OCTETS))
            else:
                file.seek(meta.length)
                chunks = iter(partial(file.read, CHUNK_OCTETS), b"")
            failure = self._store(data, arrival, chunks)
        if failure:
            self.failed.append(Failure(failure, meta.sop_instance_uid, meta.sop_class_uid))

    def _store(self, data: memoryview, arrival: Arrival, chunks: Iterator[Octets]) -> int:
        """Store one instance; the reason why not, or 0."""
        syntax = arrival.transfer_syntax_uid
        if syntax in NOT_ALLOWED:
            return SYNTAX_NOT_SUPPORTED
        try:
            uids = uids_of(data, syntax)
        except RemoteProtocolError:
            return CANNOT_UNDERSTAND
        if syntax != DEFLATED_LE and (
            uids.get(SOP_INSTANCE) != arrival.sop_instance_uid or uids.get(SOP_CLASS) != arrival.sop_class_uid
        ):
            return DATA_SET_MISMATCH
        if self._study and uids.get(STUDY) != self._study:
            return PROCESSING_FAILURE
        try:
            writer = self._sink.begin(arrival)
            try:
                for chunk in chunks:
                    writer.write(chunk)
            except BaseException:
                writer.abandon()
                raise
            writer.finish()
        except ServiceError as error:
            return error.status & 0xFFFF or PROCESSING_FAILURE
        except Interrupted:
            return OUT_OF_RESOURCES
        except DicomlabError:
            return PROCESSING_FAILURE
        study, series = uids.get(STUDY, ""), uids.get(SERIES, "")
        url = self._base_url + Resource("retrieve", "instance", study, series, arrival.sop_instance_uid).path
        self.stored.append(
            StoredInstance(arrival.sop_class_uid, arrival.sop_instance_uid, url if study and series else "")
        )
        return 0


class _Apart:
    """Parts that wait until all have come: metadata and bulk values, in one spool."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._spool = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (closed by close)
        self._parts: list[tuple[MediaType, str, int, int]] = []

    def begin(self, kind: MediaType, location: str) -> None:
        at = self._spool.tell()
        self._parts.append((kind, location, at, at))

    def write(self, octets: Octets) -> None:
        self._spool.write(octets)
        kind, location, start, _ = self._parts[-1]
        self._parts[-1] = kind, location, start, self._spool.tell()

    def close(self) -> None:
        self._spool.close()

    def _reader(self, start: int, end: int) -> Callable[[], bytes]:
        def octets() -> bytes:
            self._spool.seek(start)
            return self._spool.read(end - start)

        return octets

    def bulk(self) -> Mapping[str, Bulk]:
        """The bulk values by Content-Location."""
        found: dict[str, Bulk] = {}
        for kind, location, start, end in self._parts:
            if kind.name not in METADATA_TYPES and location:
                before, size = (found[location].parts, found[location].size) if location in found else ((), 0)
                found[location] = Bulk(kind, (*before, self._reader(start, end)), size + end - start)
        return found

    def models(self) -> Iterator[Mapping[str, Any]]:
        """The data sets of the metadata.

        Raises
        ------
        RemoteProtocolError
            It can't be read.
        """
        for kind, _, start, end in self._parts:
            if kind.name not in METADATA_TYPES:
                continue
            if end - start > MAX_METADATA:
                raise RemoteProtocolError(f"metadata of more than {MAX_METADATA >> 20} MiB", section="PS3.18 §10.5")
            octets = self._reader(start, end)()
            found = [from_xml(octets)] if kind.name == DICOM_XML else decode(octets)
            models = found if isinstance(found, list) else [found]
            if not all(isinstance(one, dict) for one in models):
                raise RemoteProtocolError("metadata is an array of data sets", section="PS3.18 §F.2.1")
            if len(models) > self._most:
                raise RemoteProtocolError(f"metadata of more than {self._most} instances", section="PS3.18 §10.5")
            yield from models
