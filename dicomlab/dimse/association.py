"""An association: messages over a connection, either end of it. One blocking thread reads; any thread may cancel.

Source
------
PS3.7 §6 (messages), §9.3 (DIMSE-C); PS3.8 §7 (association services).
"""

from __future__ import annotations

import mmap
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from dicomlab.dimse import pdu
from dicomlab.dimse.command import MAX_COMMAND, Command, Value, about_class, decode_command, encode_command
from dicomlab.dimse.connection import MAX_PDU, Connection, release_views
from dicomlab.dimse.identifier import MAX_IDENTIFIER
from dicomlab.dimse.items import Role, UserInformation
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.secure import SecureSocket
from dicomlab.dimse.state import Event, State
from dicomlab.errors import CommunicationError, Interrupted, RemoteProtocolError
from dicomlab.model.trace import Channel
from dicomlab.part10.contents import shrunk

CANCEL_GRACE_S = 3.0
"""How long a peer may take to end what was cancelled before it is aborted: an instance on its way may be large."""
_MOST_IN_MEMORY = 256 << 20
_GATHER = 60
"""Buffers in one system call."""
_MAPPED_OCTETS = 4 << 20
"""Octets of a mapped file that may be in memory because they were sent."""


class Context(NamedTuple):
    """An accepted presentation context. ``scp`` says whether the requestor plays the SCP role in it too."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    scp: bool = False


class Message(NamedTuple):
    """The command set of a message, and the context that it came on; its data set is read from the association."""

    context: Context
    command: Command


class Association(Connection):
    """One end of an association: messages over a connection. Parameters are those of :class:`Connection`."""

    def __init__(
        self,
        sock: socket.socket | SecureSocket,
        channel: Channel,
        *,
        endpoint: str,
        requestor: bool,
        timeout_s: float,
        max_pdu: int = MAX_PDU,
    ) -> None:
        super().__init__(sock, channel, endpoint=endpoint, requestor=requestor, timeout_s=timeout_s, max_pdu=max_pdu)
        self.contexts: Mapping[int, Context] = {}
        self.proposed: tuple[pdu.ProposedContext, ...] = ()
        self.answered: tuple[pdu.AnsweredContext, ...] = ()
        self.peer = UserInformation()
        self._values = memoryview(b"")
        self._at = 0
        self._unread: Context | None = None
        self._cancel: tuple[int, int] | None = None
        self._timer: threading.Timer | None = None
        self._message_id = 0

    @property
    def unread(self) -> bool:
        """Whether there is more of the data set of the message just received."""
        return self._unread is not None

    def next_message_id(self) -> int:
        """A Message ID that no unanswered request of this association has."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def context_for(
        self, abstract_syntax: str, transfer_syntax: str | None = None, *, scp: bool = False
    ) -> Context | None:
        """The first accepted context for a service, if there is one."""
        for context in self.contexts.values():
            fits = context.abstract_syntax == abstract_syntax and (context.scp or not scp)
            if fits and transfer_syntax in (None, context.transfer_syntax):
                return context
        return None

    # --- receiving -------------------------------------------------------------------------------------------------

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Wait for the next message and read its command set; None once the peer has released.

        What is unread of the data set before it is passed over.

        Raises
        ------
        Interrupted
            Aborted, connection lost, or nothing came for the timeout.
        RemoteProtocolError
            The peer broke the standard; it was told so by A-ABORT.
        """
        while self.unread:
            self._next_fragment()
        parts = bytearray()
        while True:
            value = self._next_value(timeout_s)
            if value is None:
                return None
            context_id, control, fragment = value
            context = self.contexts.get(context_id)
            if context is None:
                raise self.broken(f"a message on context {context_id}, which was not accepted", "PS3.8 §9.3.5.1")
            if not control & pdu.COMMAND:
                raise self.broken("a data set where a command set must come", "PS3.8 §E.2")
            if len(parts) + len(fragment) > MAX_COMMAND:
                raise self.broken(f"a command set beyond {MAX_COMMAND} octets", "PS3.7 §6.3.1")
            parts += fragment
            if control & pdu.LAST:
                break
        try:
            command = decode_command(parts)
        except RemoteProtocolError as error:
            self.abort(provider_reason=0)
            raise error
        self._unread = context if command.has_data else None
        return Message(context, command)

    def fragments(self) -> Iterator[Octets]:
        """Give the data set of the message just received as it comes; a fragment lives until the next one."""
        while self.unread:
            yield self._next_fragment()

    def _next_fragment(self) -> memoryview:
        value = self._next_value(None)
        if value is None:
            raise self.interrupted("released the association in the middle of a message")
        context_id, control, fragment = value
        if self._unread is None or control & pdu.COMMAND or context_id != self._unread.id:
            raise self.broken("a data set goes on as something else", "PS3.7 §6.3.1")
        if control & pdu.LAST:
            self._unread = None
        return fragment

    def data(self) -> bytes:
        """Read the whole data set of the message just received: an Identifier, at most 8 MiB."""
        parts = bytearray()
        while self.unread:
            parts += self._next_fragment()
            if len(parts) > MAX_IDENTIFIER:
                raise self.broken(f"an Identifier beyond {MAX_IDENTIFIER} octets", "PS3.4 §C.2.2")
        return bytes(parts)

    def whole_data(self) -> bytes:
        """Read the whole data set of the message just received into memory, an instance of at most 256 MiB."""
        parts = bytearray()
        while self.unread:
            parts += self._next_fragment()
            if len(parts) > _MOST_IN_MEMORY:
                raise self.broken(f"a data set beyond {_MOST_IN_MEMORY} octets, which is too much here", "PS3.7 §9.3")
        return bytes(parts)

    def _next_value(self, timeout_s: float | None) -> tuple[int, int, memoryview] | None:
        """The next presentation data value: context ID, control header, fragment; None once the peer has released."""
        while True:
            octets, at = self._values, self._at
            if at < len(octets):
                try:
                    context_id, control, start, self._at = pdu.value_at(octets, at)
                except RemoteProtocolError as error:
                    self.abort(provider_reason=6)
                    raise error
                return context_id, control, octets[start : self._at]
            octets = self.read_pdu(timeout_s)
            if octets[0] == pdu.P_DATA_TF:
                self._values, self._at = octets, pdu.HEADER_OCTETS
            elif octets[0] == pdu.RELEASE_RQ:
                self.step(Event.RELEASE_RESPONSE)
                self._transmit(pdu.encode(pdu.ReleaseReply()))
                self.close()
                return None
            else:
                raise self._unexpected(octets)

    def readable(self, timeout_s: float, *others: int) -> bool:
        """Wait until something has arrived that nobody has read yet: see :meth:`Connection.readable`."""
        if self._at < len(self._values):
            return True
        return super().readable(timeout_s, *others)

    # --- sending ---------------------------------------------------------------------------------------------------

    def send(self, context: Context, command: Command, data: Octets | None = None) -> None:
        """Send one message. `data` may be a view into a memory map; nothing of it is copied.

        Raises
        ------
        Interrupted
            The connection broke off, or the peer took nothing for the timeout.
        """
        if self.state is State.IDLE:
            raise self.interrupted("the association has ended")
        self.step(Event.DATA_REQUEST)
        with self._lock:
            self._send_message(context.id, encode_command(command), data)
        self._flush_cancel()

    def _send_message(self, context_id: int, command: bytes, data: Octets | None) -> None:
        room = (self.peer.max_pdu or MAX_PDU) - pdu.DATA_OVERHEAD
        if room < 1:
            raise self.broken(f"a maximum PDU length of {self.peer.max_pdu} leaves no room", "PS3.8 §D.1.1")
        batch: list[Octets] = []
        try:
            for part, kind in ((command, pdu.COMMAND), (data, 0)):
                if part is None:
                    continue
                at = kept = 0
                size = len(part)
                while at < size or at == 0:
                    end = min(at + room, size)
                    last = pdu.LAST if end == size else 0
                    batch += (pdu.data_header(context_id, kind | last, end - at), memoryview(part)[at:end])
                    at = end or 1
                    if len(batch) >= _GATHER:
                        self._hand_over(batch, part)
                        if at - kept > _MAPPED_OCTETS:
                            kept = at
                            _let_go(part)
            self._hand_over(batch, data)
            if shrunk(data):
                raise self._cut()
        finally:
            release_views(batch)

    def _hand_over(self, batch: list[Octets], source: Octets | None) -> None:
        if shrunk(source):
            raise self._cut()
        self._transmit(*batch)
        release_views(batch)

    def _cut(self) -> Interrupted:
        """What has left can't be taken back, but it is no whole message yet, or nobody has believed it."""
        self.abort()
        return self.interrupted("a file became shorter while it was sent, so the association was aborted")

    def answer(
        self, name: str, message_id: int, on_cancel: Callable[[int], None] | None = None, timeout_s: float | None = None
    ) -> Message:
        """Wait for the response `name` to our request `message_id`.

        With `on_cancel`, the Message ID of a C-CANCEL-RQ that comes before it is passed on (we perform an operation).

        Raises
        ------
        Interrupted, RemoteProtocolError
            As for :meth:`receive`; another message, or the answer to another request.
        """
        while True:
            message = self.receive(timeout_s)
            if message is None:
                raise self.interrupted(f"released the association where a {name} was due")
            command = message.command
            came = command.name
            if on_cancel is not None and came == "C-CANCEL-RQ":
                on_cancel(command.number("MessageIDBeingRespondedTo"))
                continue
            if came != name or command.number("MessageIDBeingRespondedTo") != message_id:
                number = command.number("MessageIDBeingRespondedTo")
                raise self.broken(f"{came} ({number}) where {name} ({message_id}) was due", "PS3.7 §9.3")
            return message

    def request(self, context: Context, name: str, data: Octets | None = None, **fields: Value) -> int:
        """Send a request with the next Message ID, and give that ID."""
        number = self.next_message_id()
        values: dict[str, Value] = {**about_class(name, context.abstract_syntax), "MessageID": number, **fields}
        self.send(context, Command.of(name, data=data is not None, **values), data)
        return number

    def cancel(self, context: Context, message_id: int, *, grace_s: float = CANCEL_GRACE_S) -> None:
        """Ask to end an operation, from any thread or a signal handler; abort if it does not end in time.

        Never waits: where a message is just being sent, its sender sends the C-CANCEL-RQ after it.

        Source
        ------
        PS3.7 §9.3.2.3 (C-CANCEL-FIND-RQ), §9.3.3.3, §9.3.4.3.
        """
        if self._timer is not None or self.state is not State.DATA_TRANSFER:
            return
        self._cancel = (context.id, message_id)
        self._timer = threading.Timer(grace_s, self.shut)
        self._timer.daemon = True
        self._timer.start()
        with suppress(CommunicationError):  # whoever reads will meet it
            self._flush_cancel()

    def cancel_ended(self) -> None:
        """What was cancelled has ended in time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._cancel = None

    def _flush_cancel(self) -> None:
        while self._cancel is not None and self._lock.acquire(blocking=False):
            try:
                asked, self._cancel = self._cancel, None
                if asked is not None and self.state is State.DATA_TRANSFER:
                    command = Command.of("C-CANCEL-RQ", MessageIDBeingRespondedTo=asked[1])
                    self._send_message(asked[0], encode_command(command), None)
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self.cancel_ended()
        super().close()


def _let_go(octets: Octets) -> None:
    """Have the pages of a mapped file counted as ours no more: what was sent is not needed again."""
    mapped = octets.obj if isinstance(octets, memoryview) else None
    if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)


def accepted(
    proposed: Sequence[pdu.ProposedContext], answered: Sequence[pdu.AnsweredContext], roles: Sequence[Role]
) -> dict[int, Context]:
    """The contexts that both ends may use, by ID (PS3.8 §9.3.3.2, PS3.7 §D.3.3.4)."""
    asked = {one.id: one for one in proposed}
    scp = {role.sop_class_uid for role in roles if role.scp}
    return {
        one.id: Context(
            one.id, asked[one.id].abstract_syntax, one.transfer_syntax, asked[one.id].abstract_syntax in scp
        )
        for one in answered
        if one.result == 0 and one.id in asked and one.transfer_syntax in asked[one.id].transfer_syntaxes
    }
