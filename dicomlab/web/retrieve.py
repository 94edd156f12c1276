"""WADO-RS: instances as they lie on the server, into a sink, as they come."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dicomlab.errors import DicomlabError, Interrupted, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Sink, Wanted, Writer
from dicomlab.part10.meta import NeedMore, decode_file_meta
from dicomlab.part10.wholeness import Passing
from dicomlab.web.http import Answer, Conversation, Site
from dicomlab.web.media_types import DICOM, OCTETS, RELATED
from dicomlab.web.multipart import Begin, Data, End, Event, PartReader
from dicomlab.web.resources import Resource
from dicomlab.web.streams import Streams

SERIES_AT_ONCE = 4
"""From how many wanted instances of a series on the series is asked for as a whole."""


TRIES_EACH = 2
"""How often an instance is asked for whose answer breaks off."""
T = TypeVar("T")


_WITHOUT = "the server answered without the instance"
NOT_TAKEN = frozenset({400, 406})
"""What servers answer to media types that they don't give."""


class _SinkFailed(Exception):
    """The place where instances arrive failed, not the server: it carries the error to the caller unchanged."""

    def __init__(self, cause: DicomlabError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _OneAtATime:
    """A sink that several streams share: places are made and kept by one thread at a time. Satisfies ``Sink``."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._lock = sink, threading.Lock()

    def begin(self, arrival: Arrival) -> Writer:
        with self._lock:
            return self._sink.begin(arrival)

    def finish(self, writer: Writer) -> None:
        with self._lock:
            writer.finish()

    def failed(self, sop_instance_uid: str, status: str) -> None:
        with self._lock:
            self._sink.failed(sop_instance_uid, status)


@dataclass(slots=True)
class _Incoming:
    """One part on its way into the sink: File Meta Information first, then the data set as it comes."""

    sink: _OneAtATime
    source: str
    wanted: frozenset[str]
    _head: bytes = b""
    _writer: Writer | None = None
    uid: str = ""
    _refused: bool = False
    """Whether nobody asked for it, or the sink did not want it."""
    _passing: Passing = field(default_factory=Passing)
    """Sees whether the data set itself is whole."""

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
        if self.uid not in self.wanted:  # a series was asked for as a whole where a part of it is wanted
            self._refused = True
            return
        file_meta = bytes(head[: meta.length])
        syntax = meta.transfer_syntax_uid
        self._passing = Passing(syntax)
        arrival = Arrival(meta.sop_class_uid, self.uid, syntax, file_meta, self.source, self._passing)
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
            self._passing.feed(octets)
            try:
                self._writer.write(octets)
            except DicomlabError as error:
                raise _SinkFailed(error) from error

    def finish(self) -> str:
        """End it; what it lacks, although its part was whole."""
        if self._writer is None:
            self.take(b"", final=True)  # a part as short as its File Meta Information, or broken
        if self._writer is not None and (lack := self._passing.lack()):
            self.abandon()
            return lack
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                self.sink.finish(writer)
        except ServiceError as error:
            self.sink.failed(self.uid, str(error))
        except DicomlabError as error:
            raise _SinkFailed(error) from error
        return ""

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None


@dataclass(frozen=True, slots=True)
class _Said:
    """How a server declined: its status line, and what that means."""

    line: str
    error: DicomlabError


class Retriever:
    """Delivers instances over one conversation, or over several at once.

    Parameters
    ----------
    site : Site
    sink : Sink
        Called by one thread at a time but for the octets of its writers.
    control : Control
    accepts : sequence of str
        The Accept header, or several; the next is tried where the server doesn't take one.
    streams : int
        Conversations at once, at most.
    """

    def __init__(self, site: Site, sink: Sink, control: Control, accepts: Sequence[str], streams: int = 1) -> None:
        self._site, self._sink, self._control = site, _OneAtATime(sink), control
        self._accepts, self._streams = accepts, streams
        self._wanted: frozenset[str] = frozenset()
        self._arrived: set[str] = set()
        self._torn: dict[str, str] = {}

    def deliver(self, wanted: Sequence[Wanted]) -> None:
        """Fetch series by series; what a series answer lacks is asked for instance by instance.

        Whatever a server sends, only what is wanted comes into the sink.
        """
        self._wanted = frozenset(one.sop_instance_uid for one in wanted)
        series: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
        for one in wanted:
            series[one.study_instance_uid, one.series_instance_uid].append(one)
        whole = [theirs for theirs in series.values() if len(theirs) >= SERIES_AT_ONCE]
        try:
            self._each(whole, self._deliver_series)
            self._each([one for one in wanted if one.sop_instance_uid not in self._arrived], self._deliver_one)
        except _SinkFailed as failure:
            raise failure.cause from failure.cause.__cause__
        except DicomlabError:
            if not self._control.cancelled:
                raise

    def _each(self, units: Sequence[T], work: Callable[[Conversation, T], None]) -> None:
        if units:
            streams = min(self._streams, len(units))
            Streams(self._site, self._control, work, streams, break_off=True).run(units)

    # --- what is asked for -------------------------------------------------------------------------------------------

    def _deliver_series(self, http: Conversation, wanted: Sequence[Wanted]) -> None:
        first = wanted[0]
        resource = Resource("retrieve", "series", first.study_instance_uid, first.series_instance_uid)
        why = "the server left them out"
        try:
            if said := self._fetch(http, resource):
                why = str(said.error)
        except (Interrupted, RemoteProtocolError) as error:
            if self._control.cancelled:
                raise
            why = str(error)
        if missing := sum(one.sop_instance_uid not in self._arrived for one in wanted):
            http.channel.note(f"{missing} instances are missing ({why[:200]}); one by one")

    def _deliver_one(self, http: Conversation, one: Wanted) -> None:
        uid = one.sop_instance_uid
        resource = Resource("retrieve", "instance", one.study_instance_uid, one.series_instance_uid, uid)
        for tries_left in reversed(range(TRIES_EACH)):
            try:
                if said := self._fetch(http, resource):
                    self._sink.failed(uid, said.line)
                    return
                break
            except Interrupted as error:
                if self._control.cancelled or not tries_left:
                    raise
                http.channel.note(f"{uid} broke off ({str(error)[:200]}); asking again")
            except RemoteProtocolError as error:
                if self._control.cancelled:
                    raise
                self._sink.failed(uid, str(error))
                return
        if uid not in self._arrived:
            lack = self._torn.get(uid)
            self._sink.failed(uid, f"the server sent a part of it: {lack}" if lack else _WITHOUT)

    def _fetch(self, http: Conversation, resource: Resource) -> _Said | None:
        """Fetch one resource; what the server said where it declined. Raise where it would say that of all."""
        said: _Said | None = None
        for accept in self._accepts:
            with http.request("GET", resource.path, accept=accept) as answer:
                if answer.status == 204:
                    return None
                if answer.status in (200, 206):
                    self._take(answer)
                    return None
                try:
                    answer.refuse()
                except (Refused, ServiceError) as error:
                    if answer.status in (401, 403):
                        raise
                    said = _Said(answer.status_line, error)
                if answer.status not in NOT_TAKEN:
                    return said
        return said

    def _take(self, answer: Answer) -> None:
        """Read one answer into the sink; a part counts only when the delimiter after it came."""
        incoming: _Incoming | None = None
        try:
            for event in events(answer):
                if isinstance(event, Begin):
                    if self._control.cancelled:  # however much of it is here already
                        return
                    incoming = _Incoming(self._sink, self._site.url, self._wanted)
                elif incoming is None:
                    continue
                elif isinstance(event, Data):
                    incoming.take(event.octets)
                else:
                    if lack := incoming.finish():
                        self._torn[incoming.uid] = lack
                    else:
                        self._arrived.add(incoming.uid)
                    incoming = None
        finally:
            if incoming is not None:
                incoming.abandon()


def events(answer: Answer, *, any_type: bool = False) -> Iterator[Event]:
    """Read a body as parts: multipart, or the single part that some servers send instead.

    Parameters
    ----------
    answer : Answer
    any_type : bool
        Parts may be of any media type, not of instances only.

    Raises
    ------
    RemoteProtocolError
        Another media type, or a multipart that breaks the rules.
    Interrupted
        The body broke off; a multipart without its closing delimiter did.
    """
    kind = answer.media_type
    if kind is None or (kind.name not in (RELATED, DICOM, OCTETS) and not any_type):
        name = "no media type" if kind is None else kind.name
        raise RemoteProtocolError(f"an answer of {name} where {RELATED} was due", section="PS3.18 §10.4.3")
    if kind.name != RELATED:
        location = answer.headers.get("Content-Location", "")
        yield Begin({"content-type": str(kind), "content-location": location})
        yield from map(Data, answer.chunks())
        _require_framed(answer)
        yield End()
        return
    reader = PartReader(kind.boundary)
    for count in answer.chunks_into(reader.room):
        yield from reader.filled(count)
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
