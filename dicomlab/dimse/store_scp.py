"""Storage as an SCP: what comes in is taken as it is, within limits, or handed to a function.

Source
------
PS3.4 Annex B (Storage), Table B.2-1 (statuses).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomlab.dimse import tables
from dicomlab.dimse.association import Message
from dicomlab.dimse.handlers import Asked, Handler, Handlers, status_of
from dicomlab.dimse.serving import Conversation, Service, decline
from dicomlab.dimse.storage import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, take_instance
from dicomlab.errors import ServiceError
from dicomlab.model.columns import Level
from dicomlab.model.faults import Faults
from dicomlab.model.matching import Row
from dicomlab.model.protocols import Arrival, Held, Holdings, Octets, Sink, Writer
from dicomlab.model.query import Query
from dicomlab.model.report import Outcome
from dicomlab.part10.files import CHUNK_OCTETS, FileWriter, Parcel, parcel_of_file

_CHECK_OCTETS = 64 << 20
"""How much is written between two looks at what room is left."""


def storage(holdings: Holdings, handlers: Handlers, faults: Faults, *, deflated: bool) -> Service:
    """The Storage service: every SOP Class of the registry, and those that a requestor says are of Storage."""

    def answer(conversation: Conversation, message: Message) -> None:
        association, caller = conversation.association, conversation.caller
        if faults.strikes("unavailable", "dimse") is not None:
            decline(association, message, OUT_OF_RESOURCES, "out of resources")
        elif faults.strikes("lie", "dimse") is not None:
            decline(association, message, tables.SUCCESS)
        elif (handler := handlers.get("C-STORE")) is not None:
            with tempfile.TemporaryDirectory(prefix="dicomlab-store-") as folder:
                usual = holdings.sink(caller.ae_title)
                sink = _HandlerSink(Path(folder), handler, conversation, message.context.transfer_syntax, usual)
                take_instance(association, message, sink, caller.ae_title)
        else:
            take_instance(association, message, holdings.sink(caller.ae_title), caller.ae_title)

    return Service(
        sop_classes=(*tables.STORAGE, tables.STORAGE_SERVICE_CLASS),
        requests=("C-STORE-RQ",),
        answer=answer,
        transfer_syntaxes=tables.SYNTAXES_DEFLATED if deflated else tables.SYNTAXES,
        requestor_may_provide=True,
    )


# --- limits ----------------------------------------------------------------------------------------------------------


def limited(holdings: Holdings, max_octets: int, free_octets: Callable[[], int] | None) -> Holdings:
    """The same holdings, whose sinks refuse (A700H) what is too large or has no room."""
    return _Limited(holdings, max_octets, free_octets or (lambda: max_octets))


@dataclass(frozen=True, slots=True)
class _Limited:
    holdings: Holdings
    max_octets: int
    free_octets: Callable[[], int]

    def search(self, query: Query) -> Iterator[Row]:
        return self.holdings.search(query)

    def select(self, level: Level, uids: Sequence[str]) -> list[Held]:
        return self.holdings.select(level, uids)

    def remove(self, held: Held) -> None:
        self.holdings.remove(held)

    def secure(self, held: Sequence[Held]) -> list[Held]:
        return self.holdings.secure(held)

    def sink(self, source: str) -> Sink:
        return _LimitedSink(self.holdings.sink(source), self)


@dataclass(frozen=True, slots=True)
class _LimitedSink:
    sink: Sink
    limits: _Limited

    def begin(self, arrival: Arrival) -> Writer:
        writer = _LimitedWriter(self.limits)
        writer.begin(self.sink, arrival)
        return writer

    def failed(self, sop_instance_uid: str, status: str) -> None:
        self.sink.failed(sop_instance_uid, status)


class _LimitedWriter:
    """Counts what is written to another writer."""

    def __init__(self, limits: _Limited) -> None:
        self._limits = limits
        self._octets, self._look_at = 0, _CHECK_OCTETS
        self._check_room()

    def begin(self, sink: Sink, arrival: Arrival) -> None:
        """Begin beneath, once there is room."""
        beneath = sink.begin(arrival)
        self._write, self.finish, self.abandon = beneath.write, beneath.finish, beneath.abandon

    def write(self, octets: Octets, /) -> None:
        """Take more octets, unless they are too many."""
        self._octets += len(octets)
        if self._octets > self._limits.max_octets:
            text = f"larger than the {self._limits.max_octets} octets that are taken here"
            raise ServiceError(text, status=OUT_OF_RESOURCES)
        if self._octets >= self._look_at:
            self._look_at += _CHECK_OCTETS
            self._check_room()
        self._write(octets)

    def _check_room(self) -> None:
        if self._limits.free_octets() < 1:
            raise ServiceError("no room left on the medium", status=OUT_OF_RESOURCES)


# --- a function in the place of the store ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _HandlerSink:
    """Gives each instance to a function, as a file that is there while the function runs."""

    folder: Path
    handler: Handler
    conversation: Conversation
    transfer_syntax_uid: str
    usual: Sink

    def begin(self, arrival: Arrival) -> Writer:
        return _HandlerWriter(self, arrival)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        self.usual.failed(sop_instance_uid, status)


class _HandlerWriter:
    def __init__(self, sink: _HandlerSink, arrival: Arrival) -> None:
        self._sink = sink
        self._file = FileWriter(sink.folder / "instance.dcm", arrival)
        self.write, self.abandon = self._file.write, self._file.abandon

    def finish(self) -> Outcome:
        """Ask the function; its status is the answer."""
        outcome, sink, arrival = self._file.finish(), self._sink, self._file.arrival
        asked = Asked(
            verb="C-STORE",
            caller=sink.conversation.caller,
            sop_class_uid=arrival.sop_class_uid,
            sop_instance_uid=arrival.sop_instance_uid,
            transfer_syntax_uid=sink.transfer_syntax_uid,
            path=self._file.path,
            usual=self._store,
        )
        status = status_of(sink.handler, asked)
        if status != tables.SUCCESS:
            raise ServiceError(tables.status_text(status, "STORE"), status=status)
        return outcome

    def _store(self) -> int:
        """Store it in the archive after all."""
        arrival, path = self._file.arrival, self._file.path
        writer = self._sink.usual.begin(arrival)
        try:
            parcel = parcel_of_file(path)
            if not isinstance(parcel, Parcel):
                raise ServiceError(f"cannot understand: {parcel.reason}", status=CANNOT_UNDERSTAND)
            with parcel.dataset() as octets:
                for start in range(0, len(octets), CHUNK_OCTETS):
                    writer.write(octets[start : start + CHUNK_OCTETS])
        except BaseException:
            writer.abandon()
            raise
        writer.finish()
        return tables.SUCCESS
