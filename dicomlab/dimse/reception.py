"""Our own listening port, shared by whoever waits for something on it: what a C-MOVE sends, commitment reports.

Source
------
PS3.4 §C.4.2 (C-MOVE), Annex B (Storage), Annex J (storage commitment).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Self

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Message
from dicomlab.dimse.command import Value
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.listener import Caller, Listener
from dicomlab.dimse.normalized import NO_SUCH_EVENT, Done, Operation, serve_operation
from dicomlab.dimse.secure import PLAIN, Security
from dicomlab.dimse.serving import UNRECOGNIZED_OPERATION, Conversation, answered, decline
from dicomlab.dimse.storage import NOT_AUTHORISED, Taken, take_instance
from dicomlab.dimse.transaction import EVENT_TYPES, Result
from dicomlab.errors import RemoteProtocolError, ServiceError
from dicomlab.model.protocols import Arrival, Sink, Writer
from dicomlab.model.report import Outcome
from dicomlab.model.trace import Trace
from dicomlab.model.values import uid_like
from dicomlab.model.workitem import EVENTS

_log = logging.getLogger(__name__)

_TOLD = 8
"""Hosts that are told of, however many come."""
_REPORTED = (tables.COMMITMENT, tables.UPS_EVENT)
"""The services whose SCP comes to us with reports."""
_INVALID_ARGUMENT, _NO_SUCH_TRANSACTION = 0x0115, 0x0112

OnResult = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class Event:
    """An N-EVENT-REPORT about a work item: which one, what happened, and the Event Information."""

    uid: str
    number: int
    tree: Tree


OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Senders:
    """Who may come to our own port: the peer, by its AE title and address, and whoever was named beside it.

    Attributes
    ----------
    ae_title, host : str
        The peer's; without a host anybody may come.
    also : tuple of str
        Further addresses and networks, whatever those call themselves.
    """

    ae_title: str = ""
    host: str = ""
    also: tuple[str, ...] = ()

    def admit(self, caller: Caller) -> bool:
        """Whether that one may come."""
        if not self.host:
            return True
        address = _address(caller.host)
        if any(address in ip_network(one, strict=False) for one in self.also):
            return True
        return caller.ae_title == self.ae_title and address == _address(self.host)


def _address(host: str) -> object:
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


ANYBODY = Senders()


@dataclass(slots=True, eq=False)
class Expected:
    """Something that is waited for: instances of a C-MOVE, results of commitment transactions, events."""

    senders: Senders = ANYBODY
    wanted: Collection[str] = ()
    classes: Collection[str] = ()
    sink: Sink | None = None
    on_taken: Callable[[Taken], None] = lambda taken: None
    transactions: Collection[str] = ()
    on_result: OnResult = lambda result: None
    on_event: OnEvent | None = None


class Reception:
    """The port. Each ``with reception(...)`` on a port that is named shares one; the last to leave closes it."""

    def __init__(
        self, ae_title: str, host: str, port: int, *, security: Security = PLAIN, trace: Trace | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._expected: list[Expected] = []
        self._turned_away: set[str] = set()
        self.listener = Listener(
            self._run,
            self._offer,
            ae_title=ae_title,
            host=host,
            port=port,
            roles=lambda uid: uid in _REPORTED,
            admit=self._admit,
            security=security,
            trace=trace,
        )
        self.users = 0

    def expect(self, what: Expected) -> None:
        """Wait for something more."""
        with self._lock:
            self._expected.append(what)

    def forget(self, what: Expected) -> None:
        """Wait for it no more."""
        with self._lock:
            self._expected.remove(what)

    def _now(self) -> list[Expected]:
        with self._lock:
            return list(self._expected)

    # --- for the listener ------------------------------------------------------------------------------------------

    def _admit(self, caller: Caller) -> bool:
        if any(one.senders.admit(caller) for one in self._now()):
            return True
        if caller.host not in self._turned_away and len(self._turned_away) < _TOLD:
            self._turned_away.add(caller.host)
            text = "%s was turned away: nothing is expected from there; Node(..., senders=[%r]) lets it in"
            _log.warning(text, caller, caller.host)
        return False

    def _offer(self, uid: str) -> Collection[str]:
        if uid in tables.STORAGE or any(uid in one.classes for one in self._now()):
            return tables.SYNTAXES
        return tables.UNCOMPRESSED if uid in (tables.VERIFICATION, *_REPORTED) else ()

    def _run(self, association: Association, caller: Caller) -> None:
        while (message := association.receive()) is not None:
            name = message.command.name
            if name == "C-STORE-RQ":
                if not self._take(association, message, caller):
                    return
            elif name == "N-EVENT-REPORT-RQ" and message.context.abstract_syntax == tables.UPS_EVENT:
                answered(Conversation(association, caller), message, self._event)
            elif name == "N-EVENT-REPORT-RQ":
                take_report(association, message, self._on_result)
            elif name == "C-ECHO-RQ":
                decline(association, message, tables.SUCCESS)
            elif message.command.is_response:
                raise association.broken(f"{name} where a request was due", "PS3.7 §9.3")
            elif name != "C-CANCEL-RQ":
                decline(association, message, UNRECOGNIZED_OPERATION)

    def _take(self, association: Association, message: Message, caller: Caller) -> bool:
        """Take an instance for the one who waits for it; False where its place has failed."""
        uid = message.command.text("AffectedSOPInstanceUID")
        mine = [one for one in self._now() if one.sink is not None and one.senders.admit(caller)]
        found = next((one for one in mine if uid in one.wanted), mine[0] if mine else None)
        if found is None or found.sink is None:
            decline(association, message, NOT_AUTHORISED, "nobody asked for this instance")
            return True
        taken = take_instance(association, message, found.sink, caller.ae_title, found.wanted.__contains__)
        found.on_taken(taken)
        return not taken.fatal

    def _event(self, conversation: Conversation, message: Message) -> None:
        serve_operation(conversation, message, self._on_event)

    def _on_event(self, operation: Operation) -> Done:
        """Give an event to whoever waits for that peer's."""
        if operation.number not in EVENTS:
            raise ServiceError(f"no event {operation.number}", status=NO_SUCH_EVENT)
        event = Event(operation.instance_uid, operation.number, operation.tree)
        mine = [one.on_event for one in self._now() if one.on_event and one.senders.admit(operation.caller)]
        if not mine:
            raise ServiceError("nobody waits for events", status=NOT_AUTHORISED)
        for on_event in mine:
            on_event(event)
        return Done()

    def _on_result(self, result: Result) -> bool:
        found = next((one for one in self._now() if result.uid in one.transactions), None)
        if found is not None:
            found.on_result(result)
        return found is not None


def take_report(association: Association, message: Message, on_result: Callable[[Result], bool]) -> None:
    """Take the report of a commitment (N-EVENT-REPORT-RQ) and answer it.

    Parameters
    ----------
    association, message : Association, Message
    on_result : callable
        Says whether the transaction is one of ours.

    Source
    ------
    PS3.4 §J.3.3.
    """
    context, command = message
    octets = association.data() if command.has_data else b""
    about: dict[str, Value] = {"EventTypeID": command.number("EventTypeID")}
    if uid_like(uid := command.text("AffectedSOPInstanceUID")):
        about["AffectedSOPInstanceUID"] = uid
    status = NO_SUCH_EVENT
    if about["EventTypeID"] in EVENT_TYPES:
        try:
            known = on_result(Result.decode(octets, context.transfer_syntax))
            status = tables.SUCCESS if known else _NO_SUCH_TRANSACTION
        except RemoteProtocolError:
            status = _INVALID_ARGUMENT
    association.send(context, command.response(status, data=False, **about))


class Lease:
    """A share in a port; ``close`` gives it back, and the last one closes the port. May be called twice."""

    _open: dict[tuple[str, str, int], Reception] = {}  # noqa: RUF012  (one for the process, guarded)
    _guard = threading.Lock()

    def __init__(
        self,
        what: Expected,
        ae_title: str,
        host: str,
        port: int,
        *,
        grace_s: float = 0.0,
        security: Security = PLAIN,
        trace: Trace | None = None,
    ) -> None:
        self._what, self._grace_s = what, grace_s
        self._key = (ae_title, host, port)
        with self._guard:
            shared = self._open.get(self._key) if port else None
            self.reception = shared or Reception(ae_title, host, port, security=security, trace=trace)
            if port:
                self._open[self._key] = self.reception
            self.reception.users += 1
            self.reception.expect(what)
        self._closed = False

    @property
    def listener(self) -> Listener:
        """The port itself."""
        return self.reception.listener

    def close(self) -> None:
        """Wait no more."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self.reception.forget(self._what)
            self.reception.users -= 1
            last = not self.reception.users
            if last:
                self._open.pop(self._key, None)
        if last:
            self.reception.listener.close(self._grace_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def receiving(
    sink: Sink,
    *,
    ae_title: str,
    host: str,
    port: int = 0,
    wanted: Collection[str],
    classes: Collection[str] = (),
    on_taken: Callable[[Taken], None],
    senders: Senders = ANYBODY,
    security: Security = PLAIN,
    trace: Trace | None = None,
) -> Iterator[Listener]:
    """Listen for what a C-MOVE sends to ourselves, and only that, while the block runs.

    Parameters
    ----------
    sink : Sink
        Where it arrives; called from one thread at a time.
    ae_title, host, port : str, str, int
        What the mover knows us as.
    wanted : collection of str
        The SOP Instance UIDs that may come.
    classes : collection of str
        SOP Classes to be taken beside those of the standard.
    on_taken : callable
        Told of each instance that came, taken or not; it runs in the thread of the association.
    senders : Senders
        Who may come.
    security : Security
        Whether those speak TLS.
    trace : Trace, optional
        Where what crosses is recorded.

    Raises
    ------
    UsageError, Unreachable
        TLS without a certificate of our own; the port can't be opened.
    """
    what = Expected(senders, wanted, classes, Shared(sink), on_taken)
    with Lease(what, ae_title, host, port, security=security, trace=trace) as lease:
        yield lease.listener


class Shared:
    """A sink for several threads: instances are begun and finished one at a time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def begin(self, arrival: Arrival) -> Writer:
        """Make room for one instance."""
        with self._lock:
            writer = self._sink.begin(arrival)
        return _SharedWriter(writer, self._lock)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Learn that an instance will not arrive."""
        with self._lock:
            self._sink.failed(sop_instance_uid, status)


class _SharedWriter:
    """A writer of such a sink."""

    def __init__(self, writer: Writer, lock: threading.Lock) -> None:
        self._writer, self._lock = writer, lock
        self.write = writer.write

    def finish(self) -> Outcome:
        with self._lock:
            return self._writer.finish()

    def abandon(self) -> None:
        with self._lock:
            self._writer.abandon()
