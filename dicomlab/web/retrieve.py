"""WADO-RS: instances as they lie on the server, into a sink, as they come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicomlab.errors import DicomlabError, Interrupted, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Sink, Wanted, Writer
from dicomlab.part10.meta import NeedMore, decode_file_meta
from dicomlab.web.http import Answer, Conversation
from dicomlab.web.media_types import DICOM, OCTETS, RELATED, multipart_of
from dicomlab.web.multipart import Begin, Data, End, Event, PartReader
from dicomlab.web.resources import Resource

SERIES_AT_ONCE = 4
"""From how many wanted instances of a series on the series is asked for as a whole."""


class _SinkFailed(Exception):
    """The place where instances arrive failed, not the server: it carries the error to the caller unchanged."""

    def __init__(self, cause: DicomlabError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class _Incoming:
    """One part on its way into the sink: File Meta Information first, then the data set as it comes."""

    sink: Sink
    source: str
    _head: bytes = b""
    _writer: Writer | None = None
    uid: str = ""
    _refused: bool = False
    """Whether the sink did not want it."""

    def take(self, octets: bytes | memoryview, *, final: bool = False) -> None:
        if self._refused:
            return
        if self._writer is not None:
            self._write(octets)
            return
        head = octets if not self._head else self._head + octets
        try:
            meta = decode_file_meta(head, final=final)
        except NeedMore:
            self._head = bytes(head)
            return
        self.uid = meta.sop_instance_uid
        file_meta = bytes(head[: meta.length])
        arrival = Arrival(meta.sop_class_uid, self.uid, meta.transfer_syntax_uid, file_meta, self.source)
        try:
            self._writer = self.sink.begin(arrival)
        except ServiceError as error:
            self.sink.failed(self.uid, str(error))
            self._refused = True
            return
        except DicomlabError as error:
            raise _SinkFailed(error) from error
        self._head = b""
        self._write(memoryview(head)[meta.length :])

    def _write(self, octets: bytes | memoryview) -> None:
        if len(octets) and self._writer is not None:
            try:
                self._writer.write(octets)
            except DicomlabError as error:
                raise _SinkFailed(error) from error

    def finish(self) -> str:
        """End it as whole; its UID."""
        if self._writer is None:
            self.take(b"", final=True)  # a part as short as its File Meta Information, or broken
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.finish()
        except ServiceError as error:
            self.sink.failed(self.uid, str(error))
        except DicomlabError as error:
            raise _SinkFailed(error) from error
        return self.uid

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None


class Retriever:
    """Delivers instances over one conversation."""

    def __init__(self, http: Conversation, sink: Sink, control: Control, transfer_syntax: str) -> None:
        self._http, self._sink, self._control = http, sink, control
        self._accept = multipart_of(DICOM, transfer_syntax)
        self._arrived: set[str] = set()
        self._status = ""
        """The status line of the last answer, where it was an error."""

    def deliver(self, wanted: Sequence[Wanted]) -> None:
        """Fetch series by series; what a series answer lacks is asked for instance by instance."""
        series: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
        for one in wanted:
            series[one.study_instance_uid, one.series_instance_uid].append(one)
        with self._control.on_cancel(self._http.shut):
            try:
                for (study, uid), instances in series.items():
                    if self._control.cancelled:
                        return
                    self._deliver_series(study, uid, instances)
            except _SinkFailed as failure:
                raise failure.cause from failure.cause.__cause__
            except DicomlabError:
                if not self._control.cancelled:
                    raise

    def _deliver_series(self, study: str, uid: str, wanted: Sequence[Wanted]) -> None:
        broken: DicomlabError | None = None
        if len(wanted) >= SERIES_AT_ONCE:
            try:
                self._fetch(Resource("retrieve", "series", study, uid))
            except (Interrupted, RemoteProtocolError, Refused, ServiceError) as error:
                if self._control.cancelled or self._hopeless:
                    raise
                broken = error
        missing = [one for one in wanted if one.sop_instance_uid not in self._arrived]
        if missing and len(wanted) >= SERIES_AT_ONCE:
            why = str(broken) if broken else "the server left them out"
            self._http.channel.note(f"{len(missing)} instances are missing ({why[:200]}); one by one")
        for one in missing:
            if self._control.cancelled:
                return
            self._deliver_one(one)

    def _deliver_one(self, one: Wanted) -> None:
        uid = one.sop_instance_uid
        try:
            self._fetch(Resource("retrieve", "instance", one.study_instance_uid, one.series_instance_uid, uid))
        except (Refused, ServiceError, RemoteProtocolError) as error:
            if self._control.cancelled or self._hopeless:
                raise
            self._sink.failed(uid, self._status or str(error))
            return
        if uid not in self._arrived:
            self._sink.failed(uid, "the server answered without the instance")

    @property
    def _hopeless(self) -> bool:
        """Whether asking for single instances would fail the same way."""
        return self._status[:3] in ("401", "403")

    def _fetch(self, resource: Resource) -> None:
        self._status = ""
        with self._http.request("GET", resource.path, accept=self._accept) as answer:
            if answer.status == 204:
                return
            if answer.status not in (200, 206):
                self._status = answer.status_line
                answer.refuse()
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        """Read one answer into the sink; a part counts only when the delimiter after it came."""
        incoming: _Incoming | None = None
        try:
            for event in events(answer):
                if isinstance(event, Begin):
                    incoming = _Incoming(self._sink, self._http.site.url)
                elif incoming is None:
                    continue
                elif isinstance(event, Data):
                    incoming.take(event.octets)
                else:
                    uid = incoming.finish()
                    self._arrived.add(uid)
                    incoming = None
        finally:
            if incoming is not None:
                incoming.abandon()


def events(answer: Answer) -> Iterator[Event]:
    """Read a body as parts: multipart, or the single part that some servers send instead.

    Raises
    ------
    RemoteProtocolError
        Another media type, or a multipart that breaks the rules.
    Interrupted
        The body broke off; a multipart without its closing delimiter did.
    """
    kind = answer.media_type
    if kind is None or kind.name not in (RELATED, DICOM, OCTETS):
        name = "no media type" if kind is None else kind.name
        raise RemoteProtocolError(f"an answer of {name} where {RELATED} was due", section="PS3.18 §10.4.3")
    if kind.name != RELATED:
        yield Begin({"content-type": kind.name})
        yield from map(Data, answer.chunks())
        _require_framed(answer)
        yield End()
        return
    reader = PartReader(kind.boundary)
    for chunk in answer.chunks():
        yield from reader.feed(chunk)
    try:
        reader.close()
    except RemoteProtocolError as error:
        raise Interrupted(str(error), endpoint=answer.url) from error


def _require_framed(answer: Answer) -> None:
    """A single part is whole only where its end is marked: by its length, or by the last chunk."""
    if "Content-Length" not in answer.headers and answer.headers.get("Transfer-Encoding", "").lower() != "chunked":
        raise RemoteProtocolError(
            "a single part without Content-Length: nobody can tell whether it is whole", section="RFC 9112 §8"
        )
