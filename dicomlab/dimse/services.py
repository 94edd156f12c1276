"""What we answer, as an SCP: Verification, Storage, and Query/Retrieve over whatever holds instances.

Source
------
PS3.4 Annex A (Verification), B (Storage), C (Query/Retrieve).
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_tree
from dicomlab.dimse.listener import Listener
from dicomlab.dimse.negotiation import Peer
from dicomlab.dimse.request import RetrieveRequest, read_find, read_retrieve
from dicomlab.dimse.storage import Taken, batches, fitting, recode, send_instance, take_instance
from dicomlab.errors import CommunicationError, RemoteProtocolError, ServiceError
from dicomlab.model.address import AEAddress, OwnAE
from dicomlab.model.columns import Level
from dicomlab.model.protocols import Arrival, Held, Holdings, Sink, Writer
from dicomlab.model.report import Outcome
from dicomlab.model.trace import Trace

Destination = Callable[[str], tuple[str, int] | None]
"""Where the AE of a C-MOVE listens; None for an unknown one."""

_UNKNOWN_DESTINATION, _NO_SUBOPERATION, _SOME_FAILED = 0xA801, 0xA702, 0xB000
_CANNOT_PROCESS, _UNRECOGNIZED_OPERATION, _WRONG_CLASS = 0xC000, 0x0211, 0x0122
_MOST_WAITING = 0xFFFF

_ROOT_OF: dict[str, tuple[Level, str]] = {uid: (root, verb) for (root, verb), uid in tables.MODELS.items()}


def serve(
    holdings: Holdings,
    *,
    ae_title: str,
    host: str = "127.0.0.1",
    port: int = 0,
    destination: Destination,
    deflated: bool = False,
) -> Listener:
    """Open a port that answers for an archive.

    Parameters
    ----------
    holdings : Holdings
        What it holds.
    ae_title : str
        What it is called; whoever calls somebody else is rejected.
    host : str
        The interface; only this machine can reach the default.
    port : int
        0: a free one.
    destination : callable
        Where the AE of a C-MOVE listens, None for an unknown one.
    deflated : bool
        Whether to take Deflated Explicit VR Little Endian, of which a little can become a lot.

    Returns
    -------
    Listener
        Has ``host``, ``port``, ``ae_title`` and ``close()``.

    Raises
    ------
    Unreachable
        The port can't be opened.
    """
    storage = tables.SYNTAXES_DEFLATED if deflated else tables.SYNTAXES

    def offer(uid: str) -> Collection[str]:
        if uid in tables.STORAGE:
            return storage
        return tables.UNCOMPRESSED if uid in _ROOT_OF or uid == tables.VERIFICATION else ()

    provider = _Provider(holdings, ae_title, destination)
    return Listener(provider.run, offer, ae_title=ae_title, host=host, port=port, roles=tables.STORAGE.__contains__)


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
    trace : Trace, optional
        Where what crosses is recorded.

    Raises
    ------
    Unreachable
        The port can't be opened.
    """

    def offer(uid: str) -> Collection[str]:
        if uid in tables.STORAGE or uid in classes:
            return tables.SYNTAXES
        return tables.UNCOMPRESSED if uid == tables.VERIFICATION else ()

    shared = _Shared(sink)

    def run(association: Association, calling: str) -> None:
        while (message := association.receive()) is not None:
            if message.command.name == "C-STORE-RQ":
                taken = take_instance(association, message, shared, calling, wanted.__contains__)
                on_taken(taken)
                if taken.fatal:
                    return
            else:
                _verify_or_decline(association, message)

    with Listener(run, offer, ae_title=ae_title, host=host, port=port, trace=trace) as listener:
        yield listener


class _Shared:
    """A sink for several threads: instances are begun and finished one at a time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def begin(self, arrival: Arrival) -> Writer:
        with self._lock:
            writer = self._sink.begin(arrival)
        return _SharedWriter(writer, self._lock)

    def failed(self, sop_instance_uid: str, status: str) -> None:
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


def _verify_or_decline(association: Association, message: Message) -> None:
    """Answer a C-ECHO; anything else is an operation that we don't recognize (0211H)."""
    command = message.command
    if command.name == "C-CANCEL-RQ":
        return  # what it cancels has ended meanwhile
    if command.is_response or not command.name.endswith("-RQ"):
        raise association.broken(f"{command.name} where a request was due", "PS3.7 §9.3")
    association.send(
        message.context, command.response(tables.SUCCESS if command.name == "C-ECHO-RQ" else _UNRECOGNIZED_OPERATION)
    )


class _Provider:
    """The SCP of one archive."""

    def __init__(self, holdings: Holdings, ae_title: str, destination: Destination) -> None:
        self._holdings, self._ae_title, self._destination = holdings, ae_title, destination

    def run(self, association: Association, calling: str) -> None:
        """Serve one association."""
        sink = self._holdings.sink(calling)
        while (message := association.receive()) is not None:
            name = message.command.name
            root, verb = _ROOT_OF.get(message.context.abstract_syntax, ("study", ""))
            if name == "C-STORE-RQ" and message.context.abstract_syntax in tables.STORAGE:
                take_instance(association, message, sink, calling)
            elif name in ("C-FIND-RQ", "C-GET-RQ", "C-MOVE-RQ") and name != f"C-{verb}-RQ":
                association.send(message.context, message.command.response(_WRONG_CLASS))
            elif name == "C-FIND-RQ":
                self._find(association, message, root)
            elif name in ("C-GET-RQ", "C-MOVE-RQ"):
                self._retrieve(association, message, root, calling)
            else:
                _verify_or_decline(association, message)

    def _find(self, association: Association, message: Message, root: Level) -> None:
        context, command = message
        octets = association.data()
        try:
            request = read_find(octets, context.transfer_syntax, root)
            pending = tables.PENDING[request.ignored]
            for match in self._holdings.search(request.query):
                if association.waiting() and _cancelled(association):
                    association.send(context, command.response(tables.CANCEL))
                    return
                answer = encode_tree(request.answer(match, self._ae_title), context.transfer_syntax)
                association.send(context, command.response(pending, data=True), answer)
        except ServiceError as error:
            status = error.status or _CANNOT_PROCESS
            association.send(context, command.response(status, data=False, ErrorComment=str(error)[:64]))
        else:
            association.send(context, command.response(tables.SUCCESS))

    def _retrieve(self, association: Association, message: Message, root: Level, calling: str) -> None:
        context, command = message
        octets = association.data()
        moving = command.name == "C-MOVE-RQ"
        try:
            request = read_retrieve(octets, context.transfer_syntax, root)
            where = self._destination(command.text("MoveDestination")) if moving else None
            if moving and where is None:
                text = f"{command.text('MoveDestination')} is not known here"
                raise ServiceError(text, status=_UNKNOWN_DESTINATION)
            work = _Suboperations(association, message, self._select(request))
        except ServiceError as error:
            association.send(context, command.response(error.status or _CANNOT_PROCESS, ErrorComment=str(error)[:64]))
            return
        if where is not None:
            peer = Peer(AEAddress(command.text("MoveDestination"), *where), OwnAE(self._ae_title))
            work.move(peer, (calling, command.number("MessageID")))
        else:
            work.get()

    def _select(self, request: RetrieveRequest) -> list[Held]:
        found = self._holdings.select(request.level, request.uids)
        for level, uid in request.above:
            if level != "patient":
                found = [one for one in found if getattr(one, f"{level}_instance_uid") == uid]
        return found


def _cancelled(association: Association) -> bool:
    """Whether what has just come in is a C-CANCEL-RQ; nothing else may come during an operation."""
    message = association.receive()
    if message is not None and message.command.name != "C-CANCEL-RQ":
        raise association.broken(f"{message.command.name} during another operation", "PS3.7 §D.3.3.3")
    return True


@dataclass
class _Suboperations:
    """The C-STOREs that one C-GET or C-MOVE causes, and their count."""

    association: Association
    message: Message
    held: list[Held]
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)
    cancelled: bool = False
    comment: str = ""

    def get(self) -> None:
        """Send everything on the association that asked (PS3.4 §C.4.3.3)."""
        for one in self.held:
            if self._asked_to_stop():
                break
            self._store(self.association, one, None, scp=True)
        self._end()

    def move(self, peer: Peer, originator: tuple[str, int]) -> None:
        """Send everything to somebody else, on as many associations as the contexts need (PS3.4 §C.4.2.3)."""
        for proposals, dealt in batches(self.held, lambda one: (one.sop_class_uid, one.transfer_syntax_uid)):
            if self._asked_to_stop():
                break
            left = list(dealt)
            try:
                with peer.associate(proposals) as other:
                    while left and not self._asked_to_stop():
                        self._store(other, left[0], originator)
                        del left[0]
            except (CommunicationError, RemoteProtocolError) as error:
                if isinstance(error, CommunicationError) and error.endpoint == self.association.endpoint:
                    raise
                self.comment = str(error)
                self.failed += [one.sop_instance_uid for one in left]
        self._end()

    def _store(self, other: Association, one: Held, originator: tuple[str, int] | None, *, scp: bool = False) -> None:
        fit = fitting(other, one.sop_class_uid, one.transfer_syntax_uid, scp=scp)
        status = _CANNOT_PROCESS
        if fit is None:
            self.comment = f"no context accepted for {one.transfer_syntax_uid}"
        else:
            try:
                status = self._send(other, fit.context, one, originator, anew=fit.recode)
            except (OSError, ServiceError, ValueError) as error:
                self.comment = str(error) if isinstance(error, ServiceError) else "a file can't be read"
        kind = tables.category(status)
        self.completed += kind == "success"
        self.warned += kind == "warning"
        if kind not in ("success", "warning"):
            self.failed.append(one.sop_instance_uid)
        if not self.cancelled:
            self._respond(tables.PENDING[0])

    def _send(
        self, other: Association, context: Context, one: Held, originator: tuple[str, int] | None, *, anew: bool
    ) -> int:
        on_cancel = self._cancel if originator is None else None
        with (
            one.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            view[one.meta_length :] as octets,
        ):
            data = recode(octets, one.transfer_syntax_uid, context.transfer_syntax) if anew else octets
            status, comment = send_instance(
                other, context, one.sop_instance_uid, data, originator=originator, on_cancel=on_cancel
            )
        self.comment = comment or self.comment
        return status

    def _cancel(self) -> None:
        self.cancelled = True

    def _asked_to_stop(self) -> bool:
        if not self.cancelled and self.association.waiting():
            self.cancelled = _cancelled(self.association)
        return self.cancelled

    def _end(self) -> None:
        done = self.completed + self.warned + len(self.failed)
        if self.cancelled and done < len(self.held):
            self._respond(tables.CANCEL)
        elif not self.failed and not self.warned:
            self._respond(tables.SUCCESS)
        else:
            self._respond(_SOME_FAILED if self.completed or self.warned else _NO_SUBOPERATION)

    def _respond(self, status: int) -> None:
        """Tell how many are left, done, failed and done with a warning (PS3.7 §9.1.3, §9.1.4)."""
        counts: dict[str, int | str] = {
            "NumberOfCompletedSuboperations": self.completed,
            "NumberOfFailedSuboperations": len(self.failed),
            "NumberOfWarningSuboperations": self.warned,
        }
        left = len(self.held) - self.completed - self.warned - len(self.failed)
        if status in (*tables.PENDING, tables.CANCEL):
            counts["NumberOfRemainingSuboperations"] = left
        counts = {name: min(int(number), _MOST_WAITING) for name, number in counts.items()}
        data: bytes | None = None
        context, command = self.message
        if status not in tables.PENDING and self.failed:
            counts["ErrorComment"] = self.comment[:64]
            data = encode_tree({FAILED_SOP_INSTANCE_UID_LIST: ("UI", list(self.failed))}, context.transfer_syntax)
        self.association.send(context, command.response(status, data=data is not None, **counts), data)
